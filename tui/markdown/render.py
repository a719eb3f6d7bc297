"""Block tokens to lines at a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markdown_it.token import Token

from .code import code_lines, code_text, highlight
from .inline import inline_spans
from .line import BLANK, Line, Span
from .parser import Environment, closing, fence_closed, parse_inline
from .table import Align, TableRenderer
from .text import clean, wrap

_BULLETS = "•◦▪"
_CACHE_LIMIT = 4096
MIN_WIDTH = 8
"""Narrowest text inside nested lists and quotes, whatever their depth."""


class Renderer:
    """Renders blocks, remembering the inline texts and code it has already rendered.

    `code_blocks` are the texts of the code blocks met so far, in order; a caller that renders an
    open tail again truncates it to what is final.
    """

    def __init__(self, copy_label: str = "copy") -> None:
        self.environment: Environment = {}
        self.code_blocks: list[str] = []
        self._copy_label = copy_label
        self._final = True
        self._inline: dict[tuple[str, str], tuple[Span, ...]] = {}
        self._wrapped: dict[tuple[str, str, int], list[tuple[tuple[Span, ...], str]]] = {}
        self._coloured: dict[tuple[str, str], list[tuple[Span, ...]]] = {}
        self._tables = TableRenderer()
        self._rules: dict[str, Callable[[Sequence[Token], int, str], list[Line]]] = {
            "paragraph_open": self._paragraph,
            "heading_open": self._heading,
            "bullet_list_open": self._list,
            "ordered_list_open": self._list,
            "blockquote_open": self._quote,
            "fence": self._code,
            "code_block": self._code,
            "table_open": self._table,
            "hr": self._rule,
            "math_block": self._literal,
            "html_block": self._literal,
        }

    @property
    def references(self) -> dict[str, Any]:
        """The link definitions met so far."""
        return self.environment.setdefault("references", {})

    def forget_inline(self) -> None:
        """Link definitions changed: inline text rendered before may read differently."""
        self._inline.clear()
        self._wrapped.clear()

    def render(self, tokens: Sequence[Token], width: int, *, final: bool) -> list[Line]:
        """Lines of top-level blocks, a blank line between them; complete code is coloured.

        `final` says that nothing follows, so an unclosed code block is complete too.
        """
        self._final = final
        return self._blocks(tokens, width, "")

    def _block(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        return self._rules[tokens[0].type](tokens, max(width, MIN_WIDTH), base)

    def _blocks(
        self, tokens: Sequence[Token], width: int, base: str, *, tight: bool = False
    ) -> list[Line]:
        lines: list[Line] = []
        index = 0
        while index < len(tokens):
            end = closing(tokens, index) + 1
            block = self._block(tokens[index:end], width, base)
            if lines and block and not tight:
                lines.append(BLANK)
            lines += block
            index = end
        return lines

    def _spans(self, content: str, base: str) -> tuple[Span, ...]:
        key = (content, base)
        spans = self._inline.get(key)
        if spans is None:
            if len(self._inline) >= _CACHE_LIMIT:
                self._inline.clear()
            spans = inline_spans(parse_inline(content, self.environment), base)
            self._inline[key] = spans
        return spans

    def _text(self, content: str, width: int, base: str) -> list[Line]:
        key = (content, base, width)
        wrapped = self._wrapped.get(key)
        if wrapped is None:
            if len(self._wrapped) >= _CACHE_LIMIT:
                self._wrapped.clear()
            wrapped = list(wrap(self._spans(content, base), width))
            self._wrapped[key] = wrapped
        return [Line(spans, 0, join) for spans, join in wrapped]

    def _paragraph(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        return self._text(tokens[1].content, width, base)

    def _heading(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        style = "heading" if tokens[0].tag in ("h1", "h2") else "heading-minor"
        return self._text(tokens[1].content, width, f"{base} {style}".strip())

    def _rule(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        del tokens, base
        return [Line((Span("─" * width, "frame"),))]

    def _literal(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        style = "math" if tokens[0].type == "math_block" else "html"
        text = "\n".join(code_text(tokens[0].content))
        return [
            Line(spans, 0, join)
            for spans, join in wrap((Span(text, f"{base} {style}".strip()),), width)
        ]

    def _code(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        del base
        token = tokens[0]
        words = clean(token.info).split()  # an info string may hold entities too
        language = words[0] if words else ""
        text = "\n".join(code_text(token.content))
        self.code_blocks.append(token.content.removesuffix("\n"))
        if self._final or token.type == "code_block" or fence_closed(token):
            key = (text, language)
            if key not in self._coloured:
                self._coloured[key] = highlight(text, language.lower())
            lines = self._coloured[key]
        else:
            lines = [(Span(line, "code"),) for line in text.split("\n")]
        number = len(self.code_blocks)
        return list(code_lines(lines, language, number, self._copy_label, width))

    def _quote(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        bar = (Span("▎ ", "frame"),)
        inner = self._blocks(tokens[1:-1], width - 2, f"{base} quote".strip())
        return [line.indented(bar) for line in inner]

    def _list(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        ordered = tokens[0].type == "ordered_list_open"
        items: list[Sequence[Token]] = []
        index = 1
        while index < len(tokens) - 1:
            end = closing(tokens, index)
            items.append(tokens[index + 1 : end])
            index = end + 1
        loose = any(
            token.type == "paragraph_open"
            and not token.hidden
            and token.level == tokens[0].level + 2
            for token in tokens
        )
        first = int(tokens[0].attrs.get("start", 1)) if ordered else 0
        room = len(f"{first + len(items) - 1}. ") if ordered else 2
        bullet = _BULLETS[(tokens[0].level // 2) % len(_BULLETS)]
        lines: list[Line] = []
        for number, item in enumerate(items, first):
            if lines and loose:
                lines.append(BLANK)
            marker = Span((f"{number}." if ordered else bullet).ljust(room - 1) + " ", "marker")
            if not ordered:
                marker, item = _task(marker, item)
            inner = self._blocks(item, width - room, base, tight=not loose)
            hang = (Span(" " * room),)
            head = inner[0] if inner else BLANK
            lines.append(Line((marker, *head.spans), 0, head.join, head.code))
            lines += [line.indented(hang) if line.spans else line for line in inner[1:]]
        return lines

    def _table(self, tokens: Sequence[Token], width: int, base: str) -> list[Line]:
        rows: list[list[tuple[Span, ...]]] = []
        align: list[Align] = []
        for index, token in enumerate(tokens):
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                head = token.type == "th_open"
                style = f"{base} table-head".strip() if head else base
                rows[-1].append(self._spans(tokens[index + 1].content, style))
                if head:
                    align.append(_alignment(str(token.attrs.get("style", ""))))
        return self._tables.lines(rows[0], rows[1:], align, width)


def _alignment(style: str) -> Align:
    if style.endswith("center"):
        return "center"
    return "right" if style.endswith("right") else "left"


def _task(marker: Span, item: Sequence[Token]) -> tuple[Span, Sequence[Token]]:
    """The box of a task list's item, and the item without its brackets."""
    if len(item) < 2 or item[0].type != "paragraph_open":
        return marker, item
    text = item[1].content
    if text[:4] not in ("[ ] ", "[x] ", "[X] "):
        return marker, item
    done = text[1] != " "
    inline = item[1].copy(content=text[4:])
    box = Span("☑ " if done else "☐ ", "done-mark" if done else "marker")
    return box, [item[0], inline, *item[2:]]
