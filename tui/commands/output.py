"""What commands print: names and words out of files are never instructions to the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


def harmless(text: str) -> str:
    """Text that may hold anything, in which nothing is left that a terminal could act on."""
    from ..markdown.text import clean

    return clean(text)


def cell(text: str) -> str:
    """The same in one line, for a place in a table."""
    return " ".join(harmless(text).split())


def tell(text: str) -> None:
    """Say on standard error what the user should know."""
    print(harmless(text), file=sys.stderr)


def print_path(path: Path) -> None:
    """A path alone on a line: as it is for a program that reads it."""
    text = str(path)
    print(harmless(text) if sys.stdout.isatty() else text)


def dump_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON value: in ASCII for a terminal, which acts on some characters beyond it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # A path's bytes that are no UTF-8 stand in it as halves of surrogate pairs.
    if sys.stdout.isatty() or any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(value, indent=indent)
    print(text, flush=True)


def show(renderable: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print a table or the like; its own styles stay, control characters in its texts do not."""
    from rich.console import Console

    Console(soft_wrap=soft_wrap).print(_Harmless(renderable))


class _Harmless:
    """What it holds, cleaned after it was laid out."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for segment in console.render(self._renderable, options):
            text, style, control = segment
            yield segment if control else Segment(harmless(text), style)
