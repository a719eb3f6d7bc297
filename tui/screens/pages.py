"""How pages of text are laid out by hand: a head, and words that keep clear of it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len

Piece = tuple[str, str]
"""Text and its style."""


def hanging(
    head: Sequence[Piece], indent: int, text: str, width: int, style: str = ""
) -> list[Piece]:
    """``head``, and ``text`` in lines that begin ``indent`` cells from the left, up to ``width``.

    A head longer than that has lines of its own.
    """
    lines = wrap(text, max(8, width - indent), break_on_hyphens=False)
    taken = sum(cell_len(piece) for piece, _ in head)
    parts: list[Piece] = list(head)
    if head and taken >= indent:
        parts.append(("\n", ""))
    elif head:
        parts += [(" " * (indent - taken), ""), (lines.pop(0) if lines else "", style), ("\n", "")]
    return parts + [(f"{' ' * indent}{line}\n", style) for line in lines]
