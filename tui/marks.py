"""Text with what matches a search marked in it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

Marked = tuple[tuple[str, bool], ...]
"""Text in runs; true for those that match."""


def marked(text: str) -> Marked:
    """SQLite's marks as runs; a text that holds such characters itself is only marked oddly."""
    runs: list[tuple[str, bool]] = []
    inside = False
    for piece in re.split("([\x02\x03])", text):
        if piece in ("\x02", "\x03"):
            inside = piece == "\x02"
        elif piece:
            runs.append((piece, inside))
    return tuple(runs)


def mark_literally(text: str, pattern: str) -> Marked:
    """Mark what SQLite's ``LIKE`` finds by ``pattern``, a text with its escapes between two %."""
    wanted = re.sub(r"\\([\\%_])", r"\1", pattern[1:-1])
    parts = re.split(f"({re.escape(wanted)})", text, flags=re.IGNORECASE)
    return tuple((part, bool(index % 2)) for index, part in enumerate(parts) if part)


def around(text: Marked, before: int, length: int) -> Marked:
    """``length`` characters of ``text``, beginning ``before`` its first match or at a line."""
    start = 0
    for run, match in text:
        if match:
            break
        start += len(run)
    else:
        start = 0
    begin = max(0, start - before)
    if begin:
        whole = "".join(run for run, _ in text)
        line = whole.find("\n", begin, start)
        begin = line + 1 if line >= 0 else begin
    cut: list[tuple[str, bool]] = [("…", False)] if begin else []
    at = 0
    for run, match in text:
        piece = run[max(0, begin - at) : max(0, begin + length - at)]
        if piece:
            cut.append((piece, match))
        at += len(run)
    if at > begin + length:
        cut.append(("…", False))
    return tuple(cut)


def mark_folded(text: str, wanted: str) -> Marked:
    """Mark every ``wanted`` in ``text`` without regard to case and accents."""
    folded: list[str] = []
    source: list[int] = []  # where in `text` each folded character comes from
    for place, character in enumerate(text):
        for part in fold(character):
            folded.append(part)
            source.append(place)
    source.append(len(text))
    whole, wanted = "".join(folded), fold(wanted)
    runs: list[tuple[str, bool]] = []
    done = 0
    at = whole.find(wanted) if wanted else -1
    while at >= 0:
        start, end = source[at], source[at + len(wanted) - 1] + 1
        if start > done:
            runs.append((text[done:start], False))
        runs.append((text[max(start, done) : end], True))
        done = end
        at = whole.find(wanted, at + len(wanted))
    if done < len(text):
        runs.append((text[done:], False))
    return tuple(runs)


@lru_cache(8192)  # titles, asked for again with every letter of a search
def fold(text: str) -> str:
    """``text`` without case and accents, to compare."""
    parts = unicodedata.normalize("NFD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))
