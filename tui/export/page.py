"""The open branch as one HTML page that asks nothing of anybody: no script, no image, no font.

Its Content-Security-Policy allows the one style sheet it carries, by hash, and nothing else, so
that even a mistake in escaping could load or run nothing. Markdown is rendered with HTML switched
off; only links to http and https can be followed, and images are named instead of shown.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, MutableMapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from ..markdown.text import clean
from ..words import language, say
from .source import Row, Source
from .wording import header, made, thought, title_of

_WEB = re.compile(r"https?://", re.IGNORECASE)
_STYLE = """
:root { color-scheme: light dark; --text: #1f2430; --back: #fbfbf8; --soft: #6b7280;
  --line: #dfe1e6; --block: #f1f1ec; --you: #0f766e; --model: #3454d1; }
@media (prefers-color-scheme: dark) { :root { --text: #d5d9e6; --back: #10121a; --soft: #8b93aa;
  --line: #2a3044; --block: #191d2a; --you: #74cfc0; --model: #8aa4ff; } }
* { box-sizing: border-box; }
body { max-width: 46rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; background: var(--back);
  color: var(--text); font: 1rem/1.65 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
.made, .figures { color: var(--soft); font-size: .875rem; font-weight: 400; }
article { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.25rem; }
header { font-weight: 650; color: var(--model); }
.user > header { color: var(--you); }
.plain { white-space: pre-wrap; }
pre { background: var(--block); border-radius: .5rem; padding: .9rem 1rem; overflow-x: auto;
  font: .875rem/1.55 ui-monospace, "SF Mono", Menlo, monospace; }
code { font-family: ui-monospace, "SF Mono", Menlo, monospace; font-size: .9em; }
pre code { font-size: inherit; }
:not(pre) > code { background: var(--block); border-radius: .25rem; padding: .1em .3em; }
blockquote { margin-left: 0; padding-left: 1rem; border-left: 3px solid var(--line);
  color: var(--soft); }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .8rem; text-align: left; }
.right { text-align: right; } .center { text-align: center; }
details { margin: .75rem 0; color: var(--soft); }
summary { cursor: pointer; font-size: .875rem; }
a { color: var(--model); }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def pieces(source: Source, now: float) -> Iterator[str]:
    """The file's text, piece by piece."""
    title = escape(title_of(source))
    yield (
        f'<!doctype html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1 dir="auto">{title}</h1>\n<p class="made">{escape(made(source, now))}</p>\n'
    )
    if source.system.strip():
        yield _folded(say("export.system"), source.system)
    for message in source.branch():
        yield _article(message)
    yield "</body>\n</html>\n"


def _article(message: Row) -> str:
    name, dot, figures = header(message).partition(" · ")
    parts = [
        f'<article class="{message["role"]}">\n<header>{escape(name)}'
        f'<span class="figures">{escape(dot + figures)}</span></header>\n'
    ]
    for attachment in message["attachments"]:
        names = say("export.attached", names=attachment["name"])
        parts.append(_folded(names, attachment["text"]))
    if message["reasoning"].strip():
        parts.append(_folded(thought(message), message["reasoning"]))
    text = clean(message["text"]).strip("\n")
    if message["role"] == "assistant":
        parts.append(f'<div dir="auto">\n{markup(text)}</div>\n')
    elif text:
        parts.append(f'<p class="plain" dir="auto">{escape(text)}</p>\n')
    parts.append("</article>\n")
    return "".join(parts)


def _folded(title: str, text: str) -> str:
    body = escape(clean(text).strip("\n"))
    return (
        f"<details><summary>{escape(clean(title))}</summary>\n"
        f'<div class="plain" dir="auto">{body}</div></details>\n'
    )


class _Renderer(RendererHTML):
    """markdown-it's own, but for what could load something or lead away from the page."""

    def image(
        self,
        tokens: Sequence[Token],
        idx: int,
        options: OptionsDict,
        env: MutableMapping[str, Any],
    ) -> str:
        token = tokens[idx]
        words = self.renderInlineAsText(token.children or [], options, env)
        return escape(f"[{words}]({token.attrs.get('src', '')})")

    def link_open(
        self,
        tokens: Sequence[Token],
        idx: int,
        options: OptionsDict,
        env: MutableMapping[str, Any],
    ) -> str:
        address = str(tokens[idx].attrs.get("href", ""))
        if not _WEB.match(address):
            return f'<span title="{escape(address)}">'
        return f'<a href="{escape(address)}" rel="noopener noreferrer nofollow">'

    def link_close(
        self,
        tokens: Sequence[Token],
        idx: int,
        options: OptionsDict,
        env: MutableMapping[str, Any],
    ) -> str:
        depth = 0
        for token in reversed(tokens[:idx]):
            if token.type == "link_close":
                depth += 1
            elif token.type == "link_open":
                if not depth:
                    address = str(token.attrs.get("href", ""))
                    return "</a>" if _WEB.match(address) else "</span>"
                depth -= 1
        return ""


_MARKDOWN = MarkdownIt(
    "commonmark", {"html": False, "linkify": False}, renderer_cls=_Renderer
).enable(["table", "strikethrough"])


def markup(text: str) -> str:
    """Markdown as HTML that is safe to show."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        if style := token.attrs.pop("style", None):  # the policy allows no style of its own
            token.attrs["class"] = str(style).rpartition(":")[2]
    return _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
