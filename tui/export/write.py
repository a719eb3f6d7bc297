"""Where an export lies, and writing it there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Literal

from mlxqwen.errors import OutputError

from ..tilde import expanded
from ..words import say
from . import markdown, page, tree
from .source import Source, opened

Format = Literal["md", "json", "html"]
FORMATS: tuple[Format, ...] = ("md", "html", "json")
_FORMAT: Mapping[str, Format] = {name: name for name in FORMATS}
_NAME_BYTES = 120

_PIECES: Mapping[Format, Callable[[Source, float], Iterator[str]]] = {
    "md": markdown.pieces,
    "html": page.pieces,
    "json": lambda source, now: tree.pieces(source),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What ``/export`` was asked for; ``file`` is "" where it is left to us."""

    format: Format
    file: str = ""


def order(argument: str) -> Order | None:
    """``[md|json|html] [FILE]``; the format may also be plain from the file. None if neither is."""
    first, _, rest = argument.strip().partition(" ")
    if not first:
        return Order("md")
    if first.lower() in _FORMAT:
        return Order(_FORMAT[first.lower()], _unquoted(rest.strip()))
    file = _unquoted(argument.strip())
    suffix = Path(file).suffix.lower().lstrip(".")
    return Order(_FORMAT[suffix], file) if suffix in _FORMAT else None


def export(
    conversations: Path,
    conversation_id: int,
    kind: Format,
    file: str = "",
    *,
    folder: Path,
    now: float,
) -> Path:
    """Write a conversation to ``file``, else to a name from its title in ``folder``.

    Returns where it lies: a name that was free, with a number where the wanted one was not.

    Raises:
        OutputError: The file cannot be written, or the conversation cannot be read.
        KeyError: There is no such conversation.
    """
    with opened(conversations, conversation_id) as source:
        target = folder / expanded(file) if file else folder
        if not file or file.endswith("/") or target.is_dir():
            target /= f"{file_name(source.title)}.{kind}"
        path: Path | None = None
        try:
            stream, path = _create(target)
            with stream:
                for piece in _PIECES[kind](source, now):
                    stream.write(piece)
        except (OSError, UnicodeError, ValueError) as error:
            if path is not None:
                with suppress(OSError):
                    path.unlink()
            reason = error.strerror if isinstance(error, OSError) else str(error)
            what = say("export.failed", path=target, reason=reason)
            raise OutputError(*_sentences(what)) from error
    return path


def file_name(title: str) -> str:
    """A name for a file from a title that may hold anything, without a suffix."""
    words = re.findall(r"\w+", unicodedata.normalize("NFC", title).lower())
    name = "-".join(words).strip("_-")
    while len(name.encode()) > _NAME_BYTES:
        name = name[:-1]
    return name.strip("_-") or "chat"


def _create(target: Path) -> tuple[IO[str], Path]:
    """Open ``target`` for writing, or the first of its numbered names that is free."""
    for number in count(1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        try:
            # The newline is ours: a chat keeps its line ends wherever it is exported.
            return path.open("x", encoding="utf-8", newline="\n"), path
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _sentences(text: str) -> tuple[str, str]:
    what, _, hint = text.partition(". ")
    return what + ".", hint
