"""CommonMark with tables, strikethrough and mathematics that is left as it is written.

Blocks are parsed first; the inline text of each is parsed on demand (`parse_inline`), so that
the open end of a stream can be parsed again and again without repeating the costly half.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

Environment = MutableMapping[str, Any]
"""What markdown-it carries from block to block; "references" holds the link definitions."""

_CLOSERS = {"$$": "$$", "\\[": "\\]"}
_CONTAINERS = ["paragraph", "reference", "blockquote", "list"]
# The rule of pandoc: no space inside the dollars, no digit after them, so that prices stay prices.
_DOLLAR = re.compile(r"\$(?![\s$])(?:\\.|[^\\$\n])*?(?<![\s\\])\$(?!\d)", re.DOTALL)
_INLINE_CLOSERS = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Lines from one that begins with $$ or \\[ to the closer, or before a blank line.

    A blank line ends it even without a closer: a stray $$ must not swallow the rest of an
    answer, and what is open must be known without looking ahead.
    """
    if state.is_code_block(start):
        return False
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]].rstrip()
    closer = _CLOSERS.get(first[:2])
    if closer is None:
        return False
    after = first[2:]
    closed = closer in after
    if closed and after.index(closer) + 2 < len(after.rstrip(".,;:")):
        return False  # text goes on after the closer: mathematics within a line
    if silent:
        return True
    line = start + 1
    while not closed and line < end and not state.isEmpty(line):
        if state.sCount[line] < state.blkIndent:
            break
        closed = closer in state.src[state.bMarks[line] : state.eMarks[line]]
        line += 1
    state.line = line
    token = state.push("math_block", "math", 0)
    token.content = state.getLines(start, line, state.blkIndent, False)
    token.map = [start, line]
    return True


def _math_inline(state: StateInline, silent: bool) -> bool:
    """$x$, $$x$$, \\(x\\) and \\[x\\] within a text, so that no emphasis is read into them."""
    if state.src[state.pos] not in "$\\":
        return False
    opener = state.src[state.pos : state.pos + 2]
    closer = _INLINE_CLOSERS.get(opener)
    if closer is not None:
        found = state.src.find(closer, state.pos + 2, state.posMax)
        end = found + 2 if state.src[state.pos + 2 : max(found, 0)].strip() else 0
    else:
        match = _DOLLAR.match(state.src, state.pos, state.posMax)
        end = match.end() if match is not None else 0
    if not end:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content = state.src[state.pos : end]
    state.pos = end
    return True


def _make() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.block.ruler.before("fence", "math_block", _math_block, {"alt": _CONTAINERS})
    parser.inline.ruler.before("escape", "math_inline", _math_inline)
    parser.core.ruler.disable(["inline", "text_join"])
    return parser


_PARSER = _make()


def parse_blocks(text: str, environment: Environment | None = None) -> list[Token]:
    """The block tokens of `text`; their inline tokens have no children yet."""
    return _PARSER.parse(text, {} if environment is None else environment)


def parse_inline(content: str, environment: Environment) -> list[Token]:
    """The inline tokens of one block's `content`."""
    tokens: list[Token] = []
    _PARSER.inline.parse(content, _PARSER, environment, tokens)
    return tokens


def closing(tokens: Sequence[Token], start: int) -> int:
    """The index of the token that closes `tokens[start]`, itself when it nests nothing."""
    if tokens[start].nesting != 1:
        return start
    level = tokens[start].level
    index = start + 1
    while tokens[index].level != level or tokens[index].nesting != -1:
        index += 1
    return index


def fence_closed(token: Token) -> bool:
    """A fence token has its closing line."""
    first, last = token.map or (0, 0)
    return last - first == token.content.count("\n") + 2
