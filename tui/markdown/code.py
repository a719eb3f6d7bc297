"""Code blocks: a frame with the language and a copy number, and colours once it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len, set_cell_size, split_graphemes

from .line import Line, Span
from .text import expand_tabs, slice_spans

HIGHLIGHT_LIMIT = 20_000
"""Characters above which code stays plain: colouring more would hold up the interface."""

# Prefixes of pygments' token names, the longest match wins.
_STYLE_OF = {
    "Token.Keyword": "syn-keyword",
    "Token.Keyword.Constant": "syn-builtin",
    "Token.Operator.Word": "syn-keyword",
    "Token.Name.Function": "syn-name",
    "Token.Name.Class": "syn-name",
    "Token.Name.Tag": "syn-keyword",
    "Token.Name.Attribute": "syn-name",
    "Token.Name.Decorator": "syn-builtin",
    "Token.Name.Builtin": "syn-builtin",
    "Token.Name.Exception": "syn-builtin",
    "Token.Literal.String": "syn-string",
    "Token.Literal.Number": "syn-number",
    "Token.Comment": "syn-comment",
    "Token.Generic.Inserted": "syn-inserted",
    "Token.Generic.Deleted": "syn-deleted",
    "Token.Generic.Heading": "syn-keyword",
    "Token.Generic.Subheading": "syn-name",
}


def _style(kind: str) -> str:
    while kind:
        if kind in _STYLE_OF:
            return _STYLE_OF[kind]
        kind = kind.rpartition(".")[0]
    return ""


def highlight(code: str, language: str) -> list[tuple[Span, ...]]:
    """The lines of `code` coloured for `language`; plain when the language is not known."""
    plain = [(Span(line, "code"),) for line in code.split("\n")]
    if not language or len(code) > HIGHLIGHT_LIMIT:
        return plain
    # Imported here: pygments takes 20 ms that a chat without code need not pay.
    from pygments import lexers
    from pygments.util import ClassNotFound

    try:
        lexer = lexers.get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return plain
    lines: list[list[Span]] = [[]]
    styles: dict[object, str] = {}
    for kind, value in lexer.get_tokens(code):
        style = styles.get(kind)
        if style is None:
            style = styles[kind] = f"code {_style(str(kind))}".strip()
        first, *others = value.split("\n")
        if first:
            lines[-1].append(Span(first, style))
        for other in others:
            lines.append([Span(other, style)] if other else [])
    if "".join(span.text for line in lines for span in line) != code.replace("\n", ""):
        return plain  # a lexer that alters the text is not to be trusted with it
    return [tuple(line) for line in lines]


def code_lines(
    lines: Iterable[tuple[Span, ...]], language: str, number: int, copy: str, width: int
) -> Iterator[Line]:
    """The frame of code block `number` (0: no number) around `lines`, `width` cells wide.

    The frame has no right side: terminals disagree about the width of some characters, and a
    crooked edge is worse than none. Frame and margin are never copied.
    """
    mark = f" [{number}] {copy} ".rstrip() + " " if number else ""
    name = f" {language} " if language else ""
    room = max(0, width - 2 - cell_len(mark) - 1)
    name = set_cell_size(name, min(cell_len(name), room))
    dashes = "─" * (room - cell_len(name))
    top = (Span("╭─", "frame"), Span(name, "label"), Span(dashes, "frame"))
    end = (Span(mark, "label"), Span("─", "frame"))
    spans = tuple(span for span in (*top, *end) if span.text)
    yield Line(spans, len(spans), "", number)
    bar = (Span("│ ", "frame"),)
    for line in lines:
        text = "".join([span.text for span in line])
        ranges = _cuts(text, max(4, width - 2))
        parts = slice_spans(line, [(start, stop) for start, stop, _ in ranges])
        for part, (_, _, join) in zip(parts, ranges, strict=True):
            yield Line(bar + part, 1, join)
    yield Line((Span("╰" + "─" * (width - 1), "frame"),), 1, "")


def _cuts(text: str, width: int) -> list[tuple[int, int, str]]:
    """Cut code at exactly `width` cells, wherever that falls: every space of it counts."""
    if cell_len(text) <= width:
        return [(0, len(text), "\n")]
    if text.isascii():
        starts = range(0, len(text), width)
        cuts = [(start, min(start + width, len(text)), "") for start in starts]
    else:
        cuts, start, used = [], 0, 0
        for first, _, cells in split_graphemes(text)[0]:
            if used + cells > width and first > start:
                cuts.append((start, first, ""))
                start, used = first, 0
            used += cells
        cuts.append((start, len(text), ""))
    cuts[-1] = (*cuts[-1][:2], "\n")
    return cuts


def code_text(content: str) -> list[str]:
    """The lines of a code token's content, its final newline dropped, tabs expanded."""
    return [expand_tabs(line) for line in content.removesuffix("\n").split("\n")]
