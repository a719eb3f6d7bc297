"""Signals while one chats: Ctrl+C means another thing at the prompt than under an answer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupts:
    """What Ctrl+C does now; use it as a context in the main thread, with ``installed``.

    Args:
        typed: What has been typed into the line so far, as far as it is known.
    """

    def __init__(self, typed: Callable[[], str]) -> None:
        self._typed = typed
        self._busy: Callable[[], object] | None = None
        self.typed = ""
        """What stood in the line when Ctrl+C was pressed at the prompt."""

    @contextmanager
    def installed(self) -> Generator[None, None, None]:
        """Handle the signals of a terminal until it is left, and then as before."""
        handlers = {
            signal.SIGINT: self._interrupt,
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
        }
        former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def busy(self, instead: Callable[[], object]) -> Generator[None, None, None]:
        """Within it, Ctrl+C calls ``instead`` and interrupts nothing."""
        former, self._busy = self._busy, instead
        try:
            yield
        finally:
            self._busy = former

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._busy:
            self._busy()
            return
        self.typed = self._typed()
        raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> NoReturn:
        # The status that a shell reports for a program ended by this signal.
        raise SystemExit(128 + number)
