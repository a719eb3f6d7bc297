"""Actions that open another page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def help(chat: ChatScreen, argument: str) -> None:
    """All keys and commands."""
    from ..screens.help import HelpScreen

    chat.app.push_screen(HelpScreen())


async def quit(chat: ChatScreen, argument: str) -> None:
    """Save, let the engine go, leave."""
    await chat.app.action_quit()
