"""Tables fitted to the width: columns shrink, cells wrap, and very narrow ones become lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len

from .line import BLANK, Line, Span
from .text import wrap

Spans = tuple[Span, ...]
Align = Literal["left", "center", "right"]
MIN_COLUMN = 4
"""Narrower than this a column is not readable, and the table becomes a list of records."""
_GAP = Span(" │ ", "frame")


def _natural(cell: Spans) -> int:
    text = "".join([span.text for span in cell])
    return max(map(cell_len, text.split("\n")))


def column_widths(natural: Sequence[int], room: int) -> list[int] | None:
    """Share `room` cells among columns: those that ask for no more than an even share get what
    they ask for, the rest divide what is left. None when a column would be under `MIN_COLUMN`.
    """
    widths = [0] * len(natural)
    left = list(range(len(natural)))
    while left:
        share = room // len(left)
        modest = [column for column in left if natural[column] <= share]
        if not modest:
            if share < MIN_COLUMN:
                return None
            extra = room - share * len(left)
            for place, column in enumerate(left):
                widths[column] = share + (place < extra)
            break
        for column in modest:
            widths[column] = natural[column]
            room -= natural[column]
        left = [column for column in left if column not in modest]
    return widths


def _padded(cell: Spans, cells: int, width: int, align: Align) -> list[Span]:
    gap = max(0, width - cells)
    before = {"left": 0, "center": gap // 2, "right": gap}[align]
    parts = [Span(" " * before)] if before else []
    parts.extend(cell)
    if gap > before:
        parts.append(Span(" " * (gap - before)))
    return parts


class TableRenderer:
    """Renders tables; keeps what it wrapped, because an open table is rendered at every tick."""

    def __init__(self, limit: int = 4096) -> None:
        self._wrapped: dict[tuple[Spans, int], list[tuple[Spans, int]]] = {}
        self._limit = limit

    def lines(
        self,
        head: Sequence[Spans],
        rows: Sequence[Sequence[Spans]],
        align: Sequence[Align],
        width: int,
    ) -> list[Line]:
        """Lines of a table of at most `width` cells. Every row has as many cells as `head`."""
        table = [head, *rows]
        natural = [max(_natural(row[column]) for row in table) for column in range(len(head))]
        widths = column_widths(natural, width - 3 * (len(head) - 1))
        if widths is None:
            return self._records(head, rows, width)
        cells = [[self._cell(cell, widths[i]) for i, cell in enumerate(row)] for row in table]
        rule = Line((Span("─┼─".join("─" * size for size in widths), "frame"),))
        ruled = any(len(cell) > 1 for row in cells[1:] for cell in row)
        result: list[Line] = []
        for number, row in enumerate(cells):
            if number == 1 or (number > 1 and ruled):
                result.append(rule if number == 1 else Line(rule.spans))
            result.extend(self._row(row, widths, align))
        if len(cells) == 1:
            result.append(rule)
        return result

    def _row(
        self, row: Sequence[list[tuple[Spans, int]]], widths: Sequence[int], align: Sequence[Align]
    ) -> list[Line]:
        result: list[Line] = []
        for level in range(max(map(len, row))):
            spans: list[Span] = []
            for column, cell in enumerate(row):
                if column:
                    spans.append(_GAP)
                part, cells = cell[level] if level < len(cell) else ((), 0)
                spans.extend(_padded(part, cells, widths[column], align[column]))
            result.append(Line(tuple(spans)))
        return result

    def _records(
        self, head: Sequence[Spans], rows: Sequence[Sequence[Spans]], width: int
    ) -> list[Line]:
        result: list[Line] = []
        for row in rows or [[() for _ in head]]:
            if result:
                result.append(BLANK)
            for name, value in zip(head, row, strict=True):
                for spans, join in wrap((*name, Span(": "), *value), width):
                    result.append(Line(spans, 0, join))
        return result

    def _cell(self, cell: Spans, width: int) -> list[tuple[Spans, int]]:
        key = (cell, width)
        found = self._wrapped.get(key)
        if found is None:
            if len(self._wrapped) >= self._limit:
                self._wrapped.clear()
            found = [
                (spans, sum(cell_len(span.text) for span in spans))
                for spans, _ in wrap(cell, width)
            ]
            self._wrapped[key] = found
        return found
