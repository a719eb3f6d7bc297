"""From lines with style names to the strips a terminal shows, in the colours of the theme."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from ..markdown.line import Line

GUTTER = "   "
HEAD_GUTTER = " "
"""What stands left of a message's text, and of its header."""


class Painter:
    """Paints lines for one widget and remembers what it painted."""

    def __init__(self, widget: Widget, prefix: str) -> None:
        self._widget = widget
        self._prefix = prefix  # of the component classes
        self._styles: dict[str, Style] = {}
        self._strips: LRUCache[tuple[Line, int, bool], Strip] = LRUCache(1024)

    def forget_styles(self) -> None:
        """The theme changed."""
        self._styles.clear()
        self._strips.clear()

    def forget_strips(self) -> None:
        """The width or the selection changed."""
        self._strips.clear()

    def style(self, names: str) -> Style:
        """The style of space-separated `names` over the widget's own."""
        style = self._styles.get(names)
        if style is None:
            style = self._widget.rich_style
            for name in names.split():
                component = f"{self._prefix}{name}"
                style += self._widget.get_component_rich_style(component, partial=True)
            self._styles[names] = style
        return style

    def blank(self, width: int) -> Strip:
        """A line below everything."""
        return Strip.blank(width, self.style(""))

    def strip(
        self,
        line: Line,
        row: int,
        width: int,
        *,
        head: bool,
        marked: bool,
        selection: Selection | None,
    ) -> Strip:
        """`line` as row `row` of the selection, `width` cells wide.

        `head` lines stand further left; `marked` ones have a bar. The row and the character
        offsets travel in the segments' metadata, which is where the screen looks for them.
        """
        key = (line, row, marked)
        cached = self._strips.get(key)
        if cached is not None:
            return cached
        gutter = HEAD_GUTTER if head else GUTTER
        bar = "┃" + gutter[1:] if marked else gutter
        segments = [Segment(bar, self.style("cursor"))]
        segments += [Segment(text, self.style(names)) for text, names in line.spans]
        if selection is not None and (span := selection.get_span(row)) is not None:
            segments = self._selected(segments, line, len(gutter), span)
        strip = Strip(segments, len(gutter) + line.cells)
        strip = strip.adjust_cell_length(width, self.style(""))
        strip = strip.apply_offsets(-len(gutter), row)
        self._strips[key] = strip
        return strip

    def _selected(
        self, segments: list[Segment], line: Line, gutter: int, span: tuple[int, int]
    ) -> list[Segment]:
        length = len(line.text)
        start = max(span[0], line.margin_length) + gutter
        end = (length if span[1] == -1 else min(span[1], length)) + gutter
        chosen = self._widget.screen.get_component_rich_style("screen--selection")
        result: list[Segment] = []
        offset = 0
        for text, style, _ in segments:
            left, right = max(start - offset, 0), max(end - offset, 0)
            marked = style + chosen if style else chosen
            cut = (
                (text[:left], style),
                (text[left:right], marked),
                (text[max(left, right) :], style),
            )
            result += [Segment(part, part_style) for part, part_style in cut if part]
            offset += len(text)
        return result
