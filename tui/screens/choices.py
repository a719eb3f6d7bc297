"""What the pickers offer: conversations and passages, models on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from mlxqwen.errors import MlxqwenError

from ..store import Store
from ..units import size
from ..views import one_line
from ..widgets.sidebar import conversation_line
from .picker import Choice, Source

if TYPE_CHECKING:
    from .chat import ChatScreen

_WIDTH = 65


def chats(chat: ChatScreen) -> Source:
    """Titles that contain what is wanted, then passages; the value is ``CONVERSATION:MESSAGE``."""

    async def found(wanted: str) -> Sequence[Choice]:
        current = chat.session.conversation.id if chat.session.conversation else None
        recent = await chat.recent()
        titled = [item for item in recent if wanted.lower() in item.title.lower()]
        choices = [
            Choice(
                f"{item.id}:",
                conversation_line(item, item.id == current, chat.clock(), _WIDTH),
            )
            for item in titled[:50]
        ]
        try:
            hits = await chat.archive.call(Store.search, wanted) if wanted.strip() else []
        except MlxqwenError as error:
            chat.say(str(error), "error")
            hits = []
        for hit in hits:
            label = Content.assemble(
                (f"{one_line(hit.title)}  ", "$text-muted"), one_line(hit.passage)
            )
            choices.append(Choice(f"{hit.conversation_id}:{hit.message_id}", label))
        return choices

    return found


def local(chat: ChatScreen) -> Source:
    """Models on this machine whose name contains what is wanted; the value is the name."""

    async def found(wanted: str) -> Sequence[Choice]:
        if not wanted:
            await chat.read_models()
        choices: list[Choice] = []
        for model in chat.models.values():
            if wanted.lower() in model.name.lower():
                bits = f"{model.bits:g}-bit" if model.bits else ""
                style = "bold $text-primary" if model.name == chat.session.model else ""
                label = Content.assemble(
                    (one_line(model.name), style),
                    (f"   {size(model.bytes)} {bits} {model.source}", "$text-muted"),
                )
                choices.append(Choice(model.name, label))
        return choices

    return found
