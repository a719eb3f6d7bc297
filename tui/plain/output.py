"""Where the linear chat writes: text after text, nothing taken back."""

from __future__ import annotations

import time
from threading import Lock
from typing import TextIO

from ..markdown.text import clean


class Output:
    """Harmless text to one stream, from the event loop and the main thread alike.

    While a person writes, what comes up meanwhile waits: a line that is being edited, or read by a
    screen reader, must not have another one written into it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()
        self._waiting: list[str] | None = None
        self._at_start = True
        self._disturbed = False
        self.gone = False
        """Nobody reads any more: the terminal was closed."""
        self.last = time.monotonic()
        """When something was written last, by the monotonic clock."""

    def write(self, text: str) -> None:
        """Go on in the line where the last text ended."""
        if text:
            with self._lock:
                self._write(clean(text))

    def line(self, text: str = "") -> None:
        """Write ``text`` in lines of its own; while a person writes, after that."""
        with self._lock:
            text = clean(text)
            if self._waiting is not None:
                self._waiting.append(text)
            else:
                self._write(("" if self._at_start else "\n") + text + "\n")

    def hold(self) -> None:
        """A person writes from here on, behind a prompt that begins a line."""
        with self._lock:
            if not self._at_start or self._disturbed:
                self._write("\n")
            self._waiting = []
            self._at_start = False

    def disturbed(self) -> None:
        """The terminal has written something itself, such as ``^C``: go on in a new line."""
        with self._lock:
            self._disturbed = True

    def release(self, *, at_start: bool = True) -> None:
        """The line is written: say what has waited. ``at_start``: the cursor is in a new line."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
            self._at_start = at_start
            for text in waiting:
                self._write(("" if self._at_start else "\n") + text + "\n")

    def _write(self, text: str) -> None:
        self.last = time.monotonic()
        if not text or self.gone:
            return
        if self._disturbed and not text.startswith("\n"):
            text = f"\n{text}"
        self._disturbed = False
        self._at_start = text.endswith("\n")
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.gone = True
