"""Tables of plain lines, aligned by the cells of a terminal: some characters take two."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A line for each row, its cells two blanks apart; those of columns ``right`` end flush."""
    from rich.cells import cell_len

    if not rows:
        return []
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells: list[str] = []
        for number, (text, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - cell_len(text))
            cells.append(gap + text if number in right else text + gap)
        lines.append("  ".join(cells).rstrip())
    return lines
