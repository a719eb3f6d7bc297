"""Text shown as it is written: what a person typed, and a model's thinking."""

from __future__ import annotations

from .line import Line, Span
from .text import clean, expand_tabs, wrap


class PlainText:
    """A growing plain text, wrapped; lines of finished paragraphs are wrapped once per width."""

    def __init__(self, text: str = "", style: str = "") -> None:
        self._text = clean(text)
        self._style = style
        self._pieces: list[str] = []
        self._width = 0
        self._lines: list[Line] = []
        self._frozen = 0  # lines that no further text can change
        self._cut = 0  # characters those lines stand for

    @property
    def text(self) -> str:
        """The cleaned text so far."""
        if self._pieces:
            self._text += "".join(self._pieces)
            self._pieces.clear()
        return self._text

    def append(self, piece: str) -> None:
        """Add the next piece of the text."""
        self._pieces.append(clean(piece))

    def lines(self, width: int) -> list[Line]:
        """All lines at `width` cells; the same list each time, changed in place."""
        text = self.text
        if width != self._width:
            self._width, self._frozen, self._cut = width, 0, 0
        del self._lines[self._frozen :]
        cut = text.rfind("\n") + 1
        if cut > self._cut:
            self._extend(text[self._cut : cut - 1])
            self._cut, self._frozen = cut, len(self._lines)
        if cut < len(text):
            self._extend(text[cut:])
        return self._lines

    def tail(self, width: int, count: int) -> list[Line]:
        """The last `count` lines, at a cost that does not grow with the text."""
        start = max(0, len(self.text) - count * (width + 1))
        window = PlainText(self.text[start:].strip("\n"), self._style)
        return window.lines(width)[-count:]

    def _extend(self, text: str) -> None:
        for spans, join in wrap((Span(expand_tabs(text), self._style),), self._width):
            self._lines.append(Line(spans, 0, join))
