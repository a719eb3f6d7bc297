"""Text selection in a view whose line numbers shift while heights are being measured.

The rows given to the screen's selection are `message index * ROW_SPAN + line`: they order as
lines do, and stay valid when a message above turns out taller than was guessed.
"""

from __future__ import annotations

import re

from rich.cells import split_graphemes
from textual.geometry import Offset
from textual.selection import Selection

from .transcript_layout import Layout

_WORD = re.compile(r"[\w\-.@/]+")
ROW_SPAN = 1 << 24
"""More lines than a message can have."""


def selected_text(layout: Layout, selection: Selection) -> str:
    """What a copy of `selection` contains: no padding, no frames, wrapped lines joined.

    Messages wholly inside that nobody has looked at contribute their source text, so that
    copying a long conversation does not render all of it.
    """
    count = len(layout.messages)
    first = 0 if selection.start is None else selection.start.y // ROW_SPAN
    last = count - 1 if selection.end is None else min(selection.end.y // ROW_SPAN, count - 1)
    parts: list[str] = []
    for index in range(first, last + 1):
        message = layout.messages[index]
        if index not in layout.laid_out and first < index < last:
            parts.append(f"{message.view.header}\n{message.text}\n\n")
            continue
        if index not in layout.laid_out:
            layout.measure(index)
        for row in range(message.height):
            span = selection.get_span(index * ROW_SPAN + row)
            if span is None:
                continue
            line = message.line(row)
            start, end = span
            whole = end == -1 or end >= len(line.text)
            text = line.text[max(start, line.margin_length) : None if whole else end]
            parts.append(text.rstrip() if whole and line.join == "\n" else text)
            parts.append(line.join if whole else "")
    return "".join(parts)


def word_at(layout: Layout, place: Offset) -> Selection:
    """The word at `place`, given as (cell, row)."""
    index, row = divmod(place.y, ROW_SPAN)
    text = layout.messages[index].line(row).text
    cells = at = 0
    for start, _, width in split_graphemes(text)[0]:
        if cells > place.x:
            break
        at = start
        cells += width
    for match in _WORD.finditer(text):
        if match.start() <= at < match.end():
            return Selection(Offset(match.start(), place.y), Offset(match.end(), place.y))
    return Selection(Offset(at, place.y), Offset(at + 1, place.y))
