"""The open branch as Markdown, in which no message can reach beyond its end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ..markdown.text import clean
from ..words import say
from .source import Source
from .wording import header, made, thought, title_of

_PARSER = MarkdownIt("commonmark").enable("table")
_PROBE = "probe"
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())


def pieces(source: Source, now: float) -> Iterator[str]:
    """The file's text, piece by piece."""
    yield f"# {_inline(title_of(source))}\n\n*{_inline(made(source, now))}*\n"
    if source.system.strip():
        yield _folded(say("export.system"), source.system)
    for message in source.branch():
        yield f"\n---\n\n## {_inline(header(message))}\n"
        for attachment in message["attachments"]:
            names = say("export.attached", names=attachment["name"])
            yield _folded(names, attachment["text"])
        if message["reasoning"].strip():
            yield _folded(thought(message), message["reasoning"])
        text = clean(message["text"]).strip("\n")
        if text:
            yield f"\n{contained(text)}\n"


def contained(text: str) -> str:
    """``text``, or a block of code of it where something in it would run on into what follows.

    An open fence, comment or element would swallow every later message.
    """
    tokens = _PARSER.parse(f"{text}\n\n{_PROBE}\n")
    closed = len(tokens) >= 3 and tokens[-3].type == "paragraph_open" and not tokens[-3].level
    if closed and tokens[-2].content == _PROBE and _balanced(tokens):
        return text
    return _fenced(text)


class _Elements(HTMLParser):
    """Notices an element that is not closed, or closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sound = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.sound = self.sound and bool(self.open) and self.open.pop() == tag


def _balanced(tokens: Sequence[Token]) -> bool:
    elements = _Elements()
    for token in tokens:
        for part in (token, *(token.children or ())):
            if part.type in ("html_block", "html_inline"):
                elements.feed(part.content)
    elements.close()
    return elements.sound and not elements.open


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _folded(title: str, text: str) -> str:
    summary = clean(title).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    body = _fenced(clean(text).strip("\n"))
    return f"\n<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>\n"


def _inline(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>&!#|~])", r"\\\1", text)
