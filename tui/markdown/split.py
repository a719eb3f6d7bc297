"""Where a growing Markdown text can be cut so that nothing before the cut changes any more."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.token import Token

from .parser import closing, fence_closed, parse_blocks

# Closed by a blank line, or by their own last line.
_CLOSED_BY_BLANK = frozenset({"paragraph_open", "table_open", "blockquote_open", "math_block"})
_CLOSED_BY_ITSELF = frozenset({"heading_open", "hr"})


def safe_cut(text: str) -> int:
    """The length of a prefix of `text` whose blocks no continuation of `text` can change.

    For every continuation c, blocks(text + c) = blocks(text[:cut]) + blocks(text[cut:] + c).
    Only link reference definitions reach across a cut; they change no block, only how the text
    inside is read, and the caller passes them on and renders the whole text once at its end.

    Complete lines are parsed. Every top-level block but the last is final, because the line that
    ended it is complete; the last is final when a blank line, or its own form, closes it. Lists
    and indented code reach over blank lines, so they end only where another block begins.
    """
    end = text.rfind("\n") + 1
    return _cut(text, end, parse_blocks(text[:end])) if end else 0


def _cut(text: str, end: int, tokens: Sequence[Token]) -> int:
    last = previous_end = 0
    index = 0
    while index < len(tokens):
        if index and (span := tokens[last].map) is not None:
            previous_end = span[1]
        last = index
        index = closing(tokens, index) + 1
    if not tokens or (span := tokens[last].map) is None:
        return 0
    lines = text[:end].split("\n")[:-1]
    first, after = span
    token = tokens[last]
    # A table's map excludes nothing; a list's may include the blank lines after it.
    closed = (
        token.type in _CLOSED_BY_ITSELF
        or (token.type in _CLOSED_BY_BLANK and after < len(lines) and not lines[after].strip())
        or (token.type == "fence" and fence_closed(token))
    )
    if closed:
        if after < len(lines) and not lines[after].strip():
            after += 1
        return sum(map(len, lines[:after])) + after
    # Lines between two blocks without a blank one are a link reference definition, whose title
    # may still be going on in what looks like the last block.
    if first > previous_end and lines[first - 1].strip():
        return 0
    return sum(map(len, lines[:first])) + first
