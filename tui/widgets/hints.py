"""A line of keys and what they do; whole phrases go to the next line where it is too narrow."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

_GAP = "   "


class Hints(Widget):
    """Phrases such as ``e edit``: the key, then what it does."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._phrases: list[Content] = []

    def present(self, text: str) -> None:
        """Show ``text``: phrases with two spaces between them."""
        pairs = [phrase.partition(" ") for phrase in text.split("  ")]
        self._phrases = [
            Content.assemble((key, "bold $text-secondary"), (space + meaning, "$text-muted"))
            for key, space, meaning in pairs
        ]
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the phrases need."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The lines."""
        return Content("\n").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Content]:
        lines = [Content()]
        for phrase in self._phrases:
            longer = Content.assemble(lines[-1], _GAP, phrase) if lines[-1] else phrase
            if lines[-1] and longer.cell_length > width:
                lines.append(phrase)
            else:
                lines[-1] = longer
        return lines
