"""The open branch as Markdown, in which no message can reach beyond its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt

from ..markdown import clean
from ..words import say
from .source import Source
from .wording import header, made, thought, title_of

_PARSER = MarkdownIt("commonmark").enable("table")
_PROBE = "probe"


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

    An open fence or an open HTML comment would swallow every later message.
    """
    after = _PARSER.parse(f"{text}\n\n{_PROBE}\n")
    closed = len(after) >= 3 and after[-3].type == "paragraph_open" and not after[-3].level
    if closed and after[-2].content == _PROBE:
        return text
    return _fenced(text)


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
