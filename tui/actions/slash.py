"""What a line that begins with a slash means: a command, plain text, or a mistake.

``//text`` is the text ``/text``. A first word with a second slash (``/usr/bin``), or with anything
but letters after the slash, is text: nobody means a command by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from .table import BY_SLASH, Action


@dataclass(frozen=True, slots=True)
class Command:
    """Carry ``action`` out with ``argument``, which may have several lines."""

    action: Action
    argument: str

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.action.slash} {self.argument}".rstrip()


@dataclass(frozen=True, slots=True)
class Text:
    """Send ``text``."""

    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No command is called ``word``; ``nearest`` is one that may have been meant, or ""."""

    word: str
    nearest: str


def parse(text: str) -> Command | Text | Unknown:
    """What a person meant by ``text``."""
    if not text.startswith("/"):
        return Text(text)
    if text.startswith("//"):
        return Text(text[1:])
    word, rest = first_word(text)
    action = BY_SLASH.get(word.lower())
    if action:
        return Command(action, rest.strip())
    if not word[1:].isalpha():
        return Text(text)
    near = get_close_matches(word.lower(), BY_SLASH, n=1, cutoff=0.6)
    return Unknown(word, near[0] if near else "")


def typed(text: str) -> str:
    """What is to be typed for ``text`` to be sent as it is."""
    return text if parse(text) == Text(text) else f"/{text}"


def first_word(text: str) -> tuple[str, str]:
    """The first word of ``text`` and what follows it."""
    parts = text.split(maxsplit=1)
    word = parts[0] if parts else ""
    return word, text[len(word) :]
