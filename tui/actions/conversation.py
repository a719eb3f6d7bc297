"""Actions on the open conversation as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlxqwen.errors import MlxqwenError

from ..store import Store
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def new(chat: ChatScreen, argument: str) -> None:
    """An empty chat."""
    chat.prompt.focus()
    await chat.new()


async def delete(chat: ChatScreen, argument: str) -> None:
    """Hide the open chat; it can be brought back."""
    if chat.session.conversation:
        await delete_conversation(chat, chat.session.conversation.id)


async def delete_conversation(chat: ChatScreen, conversation_id: int) -> None:
    """Hide one, and leave it if it is still the one open when that is done."""
    try:
        await chat.archive.call(Store.delete, conversation_id)
    except MlxqwenError as error:
        chat.say(str(error), "error")
        return
    await chat.new(conversation_id)
    chat.say(say("chat.deleted"), "information")


async def undo(chat: ChatScreen, argument: str) -> None:
    """Bring back the chat deleted last."""
    try:
        conversation = await chat.archive.call(Store.undo_delete)
    except MlxqwenError as error:
        chat.say(str(error), "error")
        return
    if conversation:
        await chat.open(conversation.id)
