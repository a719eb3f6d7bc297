"""The inline half of Markdown: tokens to spans of styled text."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.token import Token

from .line import Span
from .text import clean, expand_tabs

_STYLE_OF = {"strong_open": "strong", "em_open": "em", "s_open": "strike", "link_open": "link"}
_LITERAL = {"code_inline": "inline-code", "math_inline": "math", "html_inline": "html"}
_BREAKS = frozenset({"<br>", "<br/>", "<br />"})


def inline_spans(tokens: Sequence[Token], base: str) -> tuple[Span, ...]:
    """Spans of the tokens of one inline text, in style `base`; newlines are line breaks.

    A line break in the source stays one: in a chat it is meant (verses, addresses). Links show
    their text and, dimmed, where they lead; nothing is clickable.
    """
    spans: list[Span] = []
    styles = [base]
    links: list[tuple[str, int]] = []  # where each open link leads, and its first span
    for token in tokens:
        kind = token.type
        if kind in ("text", "text_special"):
            if token.content:
                spans.append(Span(expand_tabs(clean(token.content)), styles[-1]))
        elif kind in ("softbreak", "hardbreak"):
            spans.append(Span("\n", styles[-1]))
        elif kind in _STYLE_OF:
            if kind == "link_open":
                links.append((clean(str(token.attrs.get("href", ""))), len(spans)))
            styles.append(f"{styles[-1]} {_STYLE_OF[kind]}".strip())
        elif kind == "image":
            spans.append(Span(f"[image: {clean(token.content)}]", f"{styles[-1]} dim".strip()))
        elif kind in _LITERAL:
            if kind == "html_inline" and token.content.lower() in _BREAKS:
                spans.append(Span("\n", styles[-1]))
            else:
                spans.append(Span(token.content, f"{styles[-1]} {_LITERAL[kind]}".strip()))
        elif token.nesting == -1:
            styles.pop()
            if kind == "link_close":
                target, first = links.pop()
                shown = "".join(span.text for span in spans[first:])
                if target not in (shown, f"mailto:{shown}"):
                    spans.append(Span(f" ({target})", f"{styles[-1]} url".strip()))
    return tuple(spans)
