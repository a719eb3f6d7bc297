"""What a user or a program sees of long work: a live display, lines of JSON, or notices alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from .meter import Meter
from .output import cell, dump_json, harmless, tell

if TYPE_CHECKING:
    from rich.console import Console

    from quantize.progress import Progress

_FRAMES = 8  # pictures a second
_BETWEEN = 0.25  # seconds between two lines of JSON about the same stage


class Watch:
    """Where the reports of one run go."""

    def __init__(self, meter: Meter, *, as_json: bool, console: Console | None) -> None:
        self.meter = meter
        self._as_json = as_json
        self._console = console
        self._told: set[str] = set()
        self._stage = ""
        self._next = 0.0
        self._lock = Lock()

    def report(self, progress: Progress) -> None:
        """One report of how far the work is."""
        with self._lock:
            self.meter.report(progress)
            for notice in progress.notices:
                self._notice(notice)
            if self._as_json:
                self._line(progress)

    def notice(self, text: str) -> None:
        """A sentence that the user should know; said once however often it comes."""
        with self._lock:
            self._notice(text)

    def event(self, name: str, **fields: Any) -> None:
        """One line of JSON, for those who asked for it."""
        if self._as_json:
            dump_json({"event": name, **fields})

    def _notice(self, text: str) -> None:
        if text in self._told:
            return
        self._told.add(text)
        if self._as_json:
            self.event("notice", text=text)
        elif self._console is not None:
            from rich.text import Text

            self._console.print(Text(harmless(text)))
        else:
            tell(f"mlxqwen: {text}")

    def _line(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and now < self._next:
            return
        self._stage, self._next = progress.stage, now + _BETWEEN
        self.event("progress", **self.meter.to_json())


@contextmanager
def watching(
    title: str, *, as_json: bool = False, stopping: Event | None = None
) -> Generator[Watch, None, None]:
    """A display on standard error while it runs, nothing where that is no terminal or for JSON.

    Args:
        stopping: Once set, the display says that the work is being stopped.
    """
    meter = Meter(cell(title), stopping=stopping)
    if as_json or not sys.stderr.isatty():
        yield Watch(meter, as_json=as_json, console=None)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    with Live(meter, console=console, refresh_per_second=_FRAMES, transient=True):
        yield Watch(meter, as_json=False, console=console)
