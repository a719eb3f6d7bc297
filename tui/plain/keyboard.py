"""How a person writes in the linear chat: through readline, or as the terminal itself edits."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from ..markdown.text import clean

_DUMB = ("", "dumb", "unknown", "emacs")
_PASTED_SECONDS = 0.03  # lines that come faster than that after one another were pasted
_READ_BYTES = 65_536
_QUOTES = '"""'
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_ENDS = re.compile(r"\r\n?")

Complete = Callable[[str], Sequence[str]]


class Keyboard(Protocol):
    """Reads one line, or several that were pasted."""

    def read(self, prompt: str, prefill: str = "") -> str:
        """What is written after ``prompt``; raises EOFError at the end of input."""
        ...

    def typed(self) -> str:
        """What stands in the line now, as far as it is known."""
        ...

    def remember(self, text: str) -> None:
        """Offer ``text`` again by Up."""
        ...

    @property
    def prefills(self) -> bool:
        """A line can begin with a text that is there to be changed."""
        ...


def keyboard(complete: Complete) -> Keyboard:
    """The one that suits the terminal; ``complete`` gives the lines that one may become."""
    if is_dumb() or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return TerminalLines()
    return Readline(complete)


def is_dumb() -> bool:
    """The terminal says that it can do nothing but print."""
    return os.environ.get("TERM", "") in _DUMB


def read_message(keys: Keyboard, prompt: str, more: str, prefill: str = "") -> str:
    """One message: a line, lines that end with a backslash, or a text between three quotes."""
    line = keys.read(prompt, prefill)
    if line.lstrip().startswith(_QUOTES):
        text = line.lstrip().removeprefix(_QUOTES)
        while not text.rstrip().endswith(_QUOTES):
            text += "\n" + keys.read(more)
        return text.rstrip().removesuffix(_QUOTES).strip("\n")
    while _CONTINUED.search(line):
        line = line[:-1] + "\n" + keys.read(more)
    return line


class TerminalLines:
    """Lines as the terminal's own driver lets one edit them; nothing but the prompt is written."""

    prefills = False

    def read(self, prompt: str, prefill: str = "") -> str:
        """See ``Keyboard``. Several lines that come at once were pasted, and are one message."""
        sys.stdout.write(prompt)
        sys.stdout.flush()
        data = part = self._line()
        while part and _is_waiting():
            part = self._line()
            data += part
        if not data:
            raise EOFError
        return _harmless(data.decode(errors="replace"))

    def typed(self) -> str:
        """Unknown: the terminal keeps it to itself."""
        return ""

    def remember(self, text: str) -> None:
        """There is no history without line editing."""

    def _line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            try:
                part = os.read(sys.stdin.fileno(), _READ_BYTES)
            except OSError:  # the terminal is gone
                break
            data += part
            if not part:
                break
        return data


class Readline:
    """The line editor that shells use, with history and completion, without colours or bells."""

    prefills = True

    def __init__(self, complete: Complete) -> None:
        import readline  # writes to the terminal on some systems as soon as it is imported

        self._readline = readline
        self._complete = complete
        self._found: Sequence[str] = ()
        # macOS gives Python editline in its place, which knows other settings, and no pastes.
        self._is_editline = "libedit" in (readline.__doc__ or "")
        settings = (
            ("bind ^I rl_complete",)
            if self._is_editline
            else (
                "tab: complete",
                "set enable-bracketed-paste on",
                "set enable-active-region off",
                "set bell-style none",
                "set blink-matching-paren off",
                "set colored-stats off",
                "set colored-completion-prefix off",
                "set completion-display-width 0",
                "set completion-query-items -1",
                "set page-completions off",
                "set show-all-if-ambiguous on",
                "set show-mode-in-prompt off",
                "set mark-modified-lines off",
            )
        )
        for setting in settings:
            readline.parse_and_bind(setting)
        readline.set_auto_history(False)
        readline.set_completer_delims("\n")
        readline.set_completer(self._completion)

    def read(self, prompt: str, prefill: str = "") -> str:
        """See ``Keyboard``."""
        if prefill:
            self._readline.set_startup_hook(lambda: self._readline.insert_text(prefill))
        try:
            lines = [input(prompt)]
        finally:
            self._readline.set_startup_hook(None)
        while self._is_editline and _is_waiting():
            lines.append(input())
        return _harmless("\n".join(lines))

    def typed(self) -> str:
        """See ``Keyboard``."""
        return self._readline.get_line_buffer()

    def remember(self, text: str) -> None:
        """See ``Keyboard``."""
        self._readline.add_history(clean(text))

    def _completion(self, text: str, state: int) -> str | None:
        if state == 0:
            self._found = self._complete(text)
        return self._found[state] if state < len(self._found) else None


def _is_waiting() -> bool:
    return bool(select.select([sys.stdin], [], [], _PASTED_SECONDS)[0])


def _harmless(text: str) -> str:
    """One kind of line end, and no control that a message should hold."""
    return clean(_ENDS.sub("\n", text)).removesuffix("\n")
