"""What the pickers offer: models on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from ..units import size
from ..views import one_line
from .picker import Choice, Source

if TYPE_CHECKING:
    from .chat import ChatScreen


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
