# ruff: noqa: RUF001 (the punctuation of East Asian text is what this module is about)
"""Untrusted text: made harmless, measured in terminal cells, wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, split_graphemes

from .line import Span

# C0 but for tab and newline, DEL, C1; embeddings, overrides and isolates of the bidirectional
# algorithm; line and paragraph separators; surrogates, which no terminal encoding can carry;
# interlinear annotation and the deprecated format characters.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u206f\u2028\u2029\ufff9-\ufffb\ud800-\udfff]"
)
TAB_SIZE = 4


def _harmless(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code == 0x0D:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if code in (0x2028, 0x2029):
        return "\n"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000:
        return "\ufffd"
    return ""


def clean(text: str) -> str:
    """Model text with nothing left that a terminal could act on.

    C0 controls become their visible pictures (ESC is ␛), C1 controls and lone surrogates U+FFFD,
    carriage returns and bidirectional overrides vanish, Unicode line separators become newlines;
    tab and newline stay. Works character by character, so cleaning the pieces of a stream equals
    cleaning the whole.
    """
    return _UNSAFE.sub(_harmless, text)


def expand_tabs(text: str) -> str:
    """Tabs to spaces, by columns of `TAB_SIZE`."""
    return text.expandtabs(TAB_SIZE) if "\t" in text else text


_WIDE = (
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u3099-\u30ff"
    "\u3105-\u31ff\u3220-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff"
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003fffd"
)
# East Asian line breaking, the part that shows: a line does not begin with closing
# punctuation or a small kana and does not end with an opening bracket.
_CLOSING = (
    "、。，．・：；？！）］｝〕〉》」』】〗〙〟’”…ー々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ％"
)
_OPENING = "（［｛〔〈《「『【〖〘〝‘“"
_TOKEN = re.compile(
    f"[{_OPENING}]*[{_WIDE}][{_CLOSING}]*"
    f"|[^\\s{_WIDE}{_OPENING}]+[{_CLOSING}]*"
    f"|[{_OPENING}]+[^\\s{_WIDE}{_OPENING}]*"
    r"|\s+"
)


def wrap_ranges(text: str, width: int) -> list[tuple[int, int, str]]:
    """Break one line of text into lines of at most `width` cells.

    Returns (start, end, join) per line, character offsets into `text`; join is " " where the
    break swallowed white space, "" where it cut a word or stands between two wide characters,
    and "\\n" for the last. A grapheme wider than `width` has a line of its own.
    """
    if (len(text) <= width and text.isascii()) or (
        len(text) <= 2 * width and cell_len(text) <= width
    ):
        return [(0, len(text), "\n")]
    width = max(width, 1)
    lines: list[tuple[int, int, str]] = []
    start = end = used = pending = 0
    ascii_only = text.isascii()
    for token in _TOKEN.finditer(text):
        first, last = token.span()
        word = token[0]
        cells = last - first if ascii_only or word.isascii() else cell_len(word)
        if word.isspace():
            pending = cells
            if end == start and not lines:  # indentation of the very first line
                pending = 0
                if cells < width:
                    used, end = cells, last
                else:
                    start = end = last
            continue
        if used + pending + cells > width and end > start:
            lines.append((start, end, " " if first > end else ""))
            start = end = first
            used = 0
        elif end == start and lines:
            start = first
        else:
            used += pending
        pending = 0
        if used + cells > width:  # longer than a line: cut between graphemes
            for piece_start, piece_end, piece_cells in split_graphemes(word)[0]:
                if used + piece_cells > width and first + piece_start > start:
                    lines.append((start, first + piece_start, ""))
                    start = first + piece_start
                    used = 0
                used += piece_cells
                end = first + piece_end
        else:
            used += cells
            end = last
    lines.append((start, end, "\n"))
    return lines


def slice_spans(spans: Sequence[Span], ranges: Sequence[tuple[int, int]]) -> list[tuple[Span, ...]]:
    """The parts of `spans` inside each of `ranges` (ascending, not overlapping)."""
    result: list[tuple[Span, ...]] = []
    index = 0
    offset = 0  # where spans[index] begins
    for start, end in ranges:
        part: list[Span] = []
        while index < len(spans) and offset + len(spans[index].text) <= start:
            offset += len(spans[index].text)
            index += 1
        probe, at = index, offset
        while probe < len(spans) and at < end:
            text, style = spans[probe]
            piece = text[max(start - at, 0) : end - at]
            if piece:
                part.append(Span(piece, style))
            at += len(text)
            probe += 1
        result.append(tuple(part))
    return result


def wrap(spans: Sequence[Span], width: int) -> Iterator[tuple[tuple[Span, ...], str]]:
    """Spans, which may hold newlines, as lines of at most `width` cells with their `join`."""
    text = "".join([span.text for span in spans])
    offset = 0
    ranges: list[tuple[int, int]] = []
    joins: list[str] = []
    for part in text.split("\n"):
        for start, end, join in wrap_ranges(part, width):
            ranges.append((offset + start, offset + end))
            joins.append(join)
        offset += len(part) + 1
    return zip(slice_spans(spans, ranges), joins, strict=True)
