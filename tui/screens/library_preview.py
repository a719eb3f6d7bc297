"""A message among its neighbours, as the library shows it beside the list."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from ..findings import Shown
from ..markdown.text import clean
from ..marks import Marked
from ..views import model_label
from ..words import say
from .library_rows import styled

NEIGHBOUR = 260
"""Characters shown of the messages before and after the one that was found."""
MATCH = "bold $background on $accent"


def preview(shown: Sequence[Shown], message_id: int | None) -> Content:
    """``shown`` one below the other, ``message_id`` at its full length and the others in brief."""
    parts: list[Content | str] = []
    for message in shown:
        here = message.message_id == message_id
        if parts:
            parts.append("\n\n")
        parts += [_header(message, here), "\n"]
        text = message.text if here else _brief(message.text)
        cleaned = tuple((clean(run), match) for run, match in text)
        parts.append(styled(cleaned, "" if here else "$text-muted", MATCH).rstrip())
    return Content.assemble(*parts)


def _header(message: Shown, here: bool) -> Content:
    you = message.role == "user"
    name = say("chat.you") if you else model_label(message.model_id) or message.role.capitalize()
    colour = "$text-secondary" if you else "$text-primary"
    return Content.assemble((f"{'▸ ' if here else ''}{name}", f"bold {colour}"))


def _brief(text: Marked) -> Marked:
    whole = "".join(run for run, _ in text).strip()
    lines = whole.splitlines()
    head = "\n".join(lines[:4])[:NEIGHBOUR]
    return ((head + ("…" if len(head) < len(whole) else ""), False),)
