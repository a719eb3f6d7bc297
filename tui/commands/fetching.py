"""How a download shows itself: sentences, a bar, or events for a program."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlxqwen.errors import MlxqwenError

from ..units import size
from .output import dump_json, harmless, print_path, tell

if TYPE_CHECKING:
    from mlxqwen import Plan
    from mlxqwen.hub.download import Fetched, Survey

_WINDOW = 10.0  # seconds over which speed is averaged


class Speed:
    """Bytes per second of late, from counts as they come."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._samples: deque[tuple[float, int]] = deque()

    def of(self, count: int) -> float | None:
        """The speed now that ``count`` bytes are here; None before that says anything."""
        now = self._now()
        self._samples.append((now, count))
        while now - self._samples[0][0] > _WINDOW and len(self._samples) > 2:
            self._samples.popleft()
        since, before = self._samples[0]
        return (count - before) / (now - since) if now > since and count > before else None


class Face(Protocol):
    """How a pull shows itself; as a context manager while bytes arrive."""

    def begin(self, found: Survey, planned: Plan | None, sentences: list[str]) -> None: ...
    def waiting(self, why: str, seconds: float) -> None: ...
    def advance(self, fetched: Fetched) -> None: ...
    def end(self, path: Path) -> None: ...
    def stopped(self, command: str) -> None: ...
    def failed(self, error: MlxqwenError) -> None: ...
    def __enter__(self) -> object: ...
    def __exit__(self, *_: object) -> None: ...


class Lines:
    """Sentences on standard error, the path on standard output."""

    def __init__(self) -> None:
        self._last: Fetched | None = None

    def begin(self, found: Survey, planned: Plan | None, sentences: list[str]) -> None:
        for sentence in sentences:
            tell(sentence)

    def waiting(self, why: str, seconds: float) -> None:
        tell(f"{why}: trying again in {seconds:.0f} s.")

    def advance(self, fetched: Fetched) -> None:
        self._last = fetched

    def end(self, path: Path) -> None:
        print_path(path)

    def stopped(self, command: str) -> None:
        last = self._last
        here = "" if last is None else f" {size(last.done)} of {size(last.total)} are here."
        tell(f"mlxqwen: Stopped.{here} `{command}` goes on from there.")

    def failed(self, error: MlxqwenError) -> None:
        pass  # said by whoever catches it

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bar(Lines):
    """The same, with a bar that shows bytes, speed and the time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("fetch", total=None, start=False)

    def waiting(self, why: str, seconds: float) -> None:
        self._bar.console.print(
            harmless(f"{why}: trying again in {seconds:.0f} s."), markup=False, highlight=False
        )

    def advance(self, fetched: Fetched) -> None:
        if self._last is None:
            # What was here before must not count as speed.
            self._bar.reset(self._task, total=fetched.total, completed=fetched.done)
        self._last = fetched
        self._bar.update(
            self._task,
            completed=fetched.done,
            description=f"{fetched.files}/{fetched.of} files",
        )

    def __enter__(self) -> object:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class Events:
    """One JSON object a line on standard output; sizes in bytes, speed in bytes per second."""

    def __init__(self) -> None:
        self._speed = Speed()
        self._lock = threading.Lock()  # waits are told from other threads

    def begin(self, found: Survey, planned: Plan | None, sentences: list[str]) -> None:
        self._say(
            "start",
            model=found.name,
            revision=found.commit,
            path=str(found.folder),
            files=len(found.files),
            total=found.total,
            here=found.here,
            to_fetch=found.to_fetch,
            free=found.free,
            has_room=found.has_room,
            fits=None if planned is None else planned.fits,
            needs=None if planned is None else planned.total,
            says=sentences,
        )

    def waiting(self, why: str, seconds: float) -> None:
        self._say("waiting", why=why, seconds=round(seconds, 3))

    def advance(self, fetched: Fetched) -> None:
        speed = self._speed.of(fetched.done)
        left = fetched.total - fetched.done
        self._say(
            "progress",
            done=fetched.done,
            total=fetched.total,
            files=fetched.files,
            of=fetched.of,
            speed=speed if speed is None else round(speed),
            seconds_left=round(left / speed, 1) if speed else None,
        )

    def end(self, path: Path) -> None:
        self._say("done", path=str(path))

    def stopped(self, command: str) -> None:
        self._say("stopped", command=command)

    def failed(self, error: MlxqwenError) -> None:
        self._say("error", kind=type(error).__name__, what=error.what, hint=error.hint)

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _say(self, event: str, **fields: Any) -> None:
        with self._lock:
            dump_json({"event": event, **fields})
