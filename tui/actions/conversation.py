"""Actions on the open conversation as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import adjust
from .tune import tell

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def new(chat: ChatScreen, argument: str) -> None:
    """An empty chat."""
    chat.prompt.focus()
    await chat.new()


async def fork(chat: ChatScreen, argument: str) -> None:
    """Go on in a copy; this chat stays as it is."""
    tell(chat, await adjust.fork(chat.session, argument))


async def rename(chat: ChatScreen, argument: str) -> None:
    """Another title; without one, the prompt is prepared for it."""
    conversation = chat.session.conversation
    empty = not chat.prompt.text.strip() and chat.composer.editing is None
    if conversation and not argument.strip() and empty:
        chat.prompt.load_text(f"/rename {' '.join(conversation.title.split())}")
        chat.prompt.move_cursor(chat.prompt.document.end)
        chat.prompt.focus()
        return
    tell(chat, await adjust.rename(chat.session, argument))


async def pin(chat: ChatScreen, argument: str) -> None:
    """At the top, or no longer."""
    tell(chat, await adjust.pin(chat.session, argument))


async def delete(chat: ChatScreen, argument: str) -> None:
    """Hide the open chat; it can be brought back."""
    tell(chat, await adjust.delete(chat.session, argument))


async def undo(chat: ChatScreen, argument: str) -> None:
    """Bring back the chat deleted last."""
    tell(chat, await adjust.undo(chat.session, argument))
