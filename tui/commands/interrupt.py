"""Ctrl-C in the middle of long work: an end in words, within a second, whatever is going on.

Python runs its own handler between two steps of Python code only, and a computation in MLX or a
slow connection may take longer than anybody waits. The signal also wakes a thread here: it lets the
work end in order for a second, then leaves. That is safe because everything that runs under it can
be killed at any time and continued.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import NoReturn

from .failures import INTERRUPTED, leave

_PATIENCE = 1.0
_SHOW_CURSOR = "\r\x1b[K\x1b[?25h"


@contextmanager
def ending_on_ctrl_c(
    first: Callable[[], None], last_words: Callable[[], None]
) -> Generator[None, None, None]:
    """Within it Ctrl-C ends the process with status 130; a second one at once.

    Args:
        first: Called when the first arrives, from another thread.
        last_words: Called once before the process ends, after what it did has come to rest or a
            second has passed.
    """
    lock = Lock()

    def end() -> NoReturn:
        lock.acquire()  # never released: whoever comes second waits for the end
        last_words()
        leave(INTERRUPTED)

    def watch() -> None:
        if not _interrupted(reading, None):
            return
        first()
        again = _interrupted(reading, _PATIENCE)
        if again is None:
            return
        lock.acquire()
        if sys.stderr.isatty():
            with suppress(OSError):
                os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
        last_words()
        leave(INTERRUPTED)

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = Thread(target=watch, name="ctrl-c", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        end()
    finally:
        signal.set_wakeup_fd(former)
        os.close(writing)
        thread.join()
        os.close(reading)


def _interrupted(reading: int, seconds: float | None) -> bool | None:
    """Waits for Ctrl-C: True if it came, False if time passed, None if there is none to come."""
    while True:
        ready, _, _ = select.select([reading], [], [], seconds)
        if not ready:
            return False
        signals = os.read(reading, 64)
        if not signals:
            return None
        if signal.SIGINT in signals:
            return True
