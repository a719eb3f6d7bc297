"""Actions on the answer: stop it, ask for another, go on with it, fold its thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def stop(chat: ChatScreen, argument: str) -> None:
    """Stop the answer; with none, go back to the prompt."""
    if not chat.session.stop():
        chat.prompt.focus()


async def regenerate(chat: ChatScreen, argument: str) -> None:
    """Another answer to the last question."""
    await chat.session.regenerate()


async def continue_(chat: ChatScreen, argument: str) -> None:
    """Go on with an answer that was cut off."""
    await chat.session.continue_()


async def fold(chat: ChatScreen, argument: str) -> None:
    """Thoughts in or out of sight."""
    chat.transcript.toggle_thinking()
