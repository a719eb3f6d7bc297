"""A rendered line: spans of text with style names, so that a theme change re-renders nothing.

A style name is a space-separated list of the names in `STYLES`, the later winning; whoever
paints a line decides what a name looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rich.cells import cell_len

STYLES: tuple[str, ...] = (
    "strong",
    "em",
    "strike",
    "heading",
    "heading-minor",
    "inline-code",
    "code",
    "frame",
    "label",
    "link",
    "url",
    "quote",
    "marker",
    "done-mark",
    "math",
    "html",
    "dim",
    "table-head",
    "syn-keyword",
    "syn-string",
    "syn-number",
    "syn-comment",
    "syn-name",
    "syn-builtin",
    "syn-inserted",
    "syn-deleted",
)
"""Every style name the renderer uses; a painter must know them all."""


class Span(NamedTuple):
    """A run of text in one style; `style` is "" or names from `STYLES` joined by spaces."""

    text: str
    style: str = ""


@dataclass(frozen=True, eq=False)
class Line:
    """One screen line.

    `margin` is how many leading spans are decoration (indent, frame, quote bar) and never copied.
    `join` is what stands between this line and the next in copied text: a newline, or a space or
    nothing where the renderer wrapped a longer line.
    `code` is the number of the code block whose frame begins here, 0 elsewhere.
    Compared and hashed by identity, so that a line can key the cache of what was painted for it.
    """

    spans: tuple[Span, ...] = ()
    margin: int = 0
    join: str = "\n"
    code: int = 0

    @cached_property
    def cells(self) -> int:
        """Width in terminal cells."""
        return sum(cell_len(span.text) for span in self.spans)

    @cached_property
    def text(self) -> str:
        """All the text, decoration included."""
        return "".join(span.text for span in self.spans)

    @cached_property
    def margin_length(self) -> int:
        """Characters of decoration at the start of `text`."""
        return sum(len(span.text) for span in self.spans[: self.margin])

    @property
    def content(self) -> str:
        """The text a copy contains."""
        return self.text[self.margin_length :]

    def indented(self, spans: tuple[Span, ...]) -> Line:
        """This line behind the decoration `spans`."""
        return Line(spans + self.spans, len(spans) + self.margin, self.join, self.code)


BLANK = Line()
