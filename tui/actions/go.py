"""Actions that open another page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def models(chat: ChatScreen, argument: str) -> None:
    """Another model on this machine."""
    from ..screens.choices import local
    from ..screens.picker import Picker

    def chosen(name: str | None) -> None:
        if name:
            chat.session.choose_model(name)

    chat.app.push_screen(Picker(say("models.title"), say("models.hint"), local(chat)), chosen)


async def help(chat: ChatScreen, argument: str) -> None:
    """All keys and commands."""
    from ..screens.help import HelpScreen

    chat.app.push_screen(HelpScreen())


async def quit(chat: ChatScreen, argument: str) -> None:
    """Save, let the engine go, leave."""
    await chat.app.action_quit()
