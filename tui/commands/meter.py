"""How far a long piece of work is: what every report of it adds up to, drawn or as numbers."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event
from typing import TYPE_CHECKING, Any

from ..units import clock, size
from .output import cell

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from quantize.progress import Progress

_WINDOW = 15.0  # seconds over which speed is averaged
_SETTLED = 1.0  # seconds of a stage before its speed says anything
_WORDS = {
    "fetch": "fetch",
    "plan": "read headers",
    "calibrate": "calibrate",
    "fit": "fit",
    "refine": "refine",
    "quantise": "quantise",
    "check": "check",
    "publish": "publish",
}
_NARROW = 60  # columns below which the bar gets a line of its own


class Meter:
    """Takes the reports of one run; knows its stages, speed, time left and peak memory.

    It is itself what rich draws: a line for each stage that has ended, then the present one, which
    is called stopping once that event is set.
    """

    def __init__(
        self,
        title: str,
        now: Callable[[], float] = time.monotonic,
        *,
        stopping: Event | None = None,
    ) -> None:
        self._title = title
        self._now = now
        self._began = self._entered = now()
        self._spent: dict[str, float] = {}
        self._samples: deque[tuple[float, int]] = deque()
        self._far = 0
        self._last: Progress | None = None
        self._stopping = Event() if stopping is None else stopping

    def report(self, progress: Progress) -> None:
        """Take in one report; they may come from any thread, one at a time."""
        now = self._now()
        if self._last is not None and stage_of(progress) != stage_of(self._last):
            stage = stage_of(self._last)
            self._spent[stage] = self._spent.get(stage, 0.0) + now - self._entered
            self._entered = now
            self._samples.clear()
            self._far = 0
        self._last = progress
        self._far = far = self._how_far(progress)
        work = far - progress.bytes_resumed if in_bytes(progress) else far
        if self._samples and work < self._samples[-1][1]:
            self._samples.clear()  # the stage has begun to count something else
        self._samples.append((now, work))
        while now - self._samples[0][0] > _WINDOW and len(self._samples) > 2:
            self._samples.popleft()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._now() - self._began

    @property
    def rate(self) -> float | None:
        """Bytes or units per second of late; None before that says anything."""
        if not self._samples:
            return None
        (first, before), (_, after) = self._samples[0], self._samples[-1]
        passed = self._now() - first
        return (after - before) / passed if passed >= _SETTLED and after > before else None

    @property
    def seconds_left(self) -> float | None:
        """Until the present stage ends, as far as its speed tells."""
        if self._last is None or self.rate is None:
            return None
        _, total = share(self._last)
        return (total - self._far) / self.rate if total else None

    def _how_far(self, progress: Progress) -> int:
        """Bytes never run backwards: a shard is counted as it arrives, and again as it is read."""
        done, _ = share(progress)
        return max(self._far, done) if in_bytes(progress) else done

    def to_json(self) -> dict[str, Any]:
        """The last report as numbers; bytes, seconds, null where nothing is known yet."""
        last = self._last
        if last is None:
            return {}
        rate, left = self.rate, self.seconds_left
        return {
            "stage": stage_of(last),
            "message": last.message,
            "share": round(self._far / share(last)[1], 4) if share(last)[1] else None,
            "done": last.done,
            "total": last.total,
            "shards_done": last.shards_done,
            "shards_total": last.shards_total,
            "tensors_done": last.tensors_done,
            "tensors_total": last.tensors_total,
            "bytes_read": last.bytes_read,
            "bytes_read_total": last.bytes_read_total,
            "bytes_resumed": last.bytes_resumed,
            "bytes_written": last.bytes_written,
            "bytes_written_total": last.bytes_written_total,
            "bytes_per_second": round(rate) if rate and in_bytes(last) else None,
            "seconds_left": None if left is None else round(left, 1),
            "seconds": round(self.elapsed, 2),
            "peak_memory": peak_memory(),
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width = options.max_width
        yield Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        now = None if self._last is None else stage_of(self._last)
        for stage, seconds in self._spent.items():
            if stage == now or seconds < _SETTLED:
                continue
            done = Text.assemble(("✓ ", "green"), f"{_WORDS[stage]}  ", (clock(seconds), "dim"))
            done.no_wrap = True
            yield done
        if self._last is None:
            return
        yield from self._present(self._last, width)

    def _present(self, last: Progress, width: int) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done, total = self._far, share(last)[1]
        stopping = self._stopping.is_set()
        label = Text("stopping" if stopping else _WORDS[stage_of(last)], style="cyan")
        percent = Text(f"{done / total:.0%}" if total else "")
        bar = ProgressBar(total or None, done, pulse=not total and not stopping)
        if width < _NARROW:
            yield Text.assemble("● ", label, " ", percent)
            yield bar
        else:
            line = Table.grid(padding=(0, 1), expand=True)
            line.add_column(no_wrap=True)
            line.add_column(ratio=1)
            line.add_column(no_wrap=True, justify="right", min_width=4)
            line.add_row(Text.assemble("● ", label), bar, percent)
            yield line
        for line in joined(list(self._facts(last)), width - 2):
            yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")

    def _facts(self, last: Progress) -> Iterator[str]:
        if last.shards_total:
            yield f"shard {min(last.shards_done + 1, last.shards_total)}/{last.shards_total}"
        if last.tensors_total:
            yield f"{last.tensors_done}/{last.tensors_total} tensors"
        if not in_bytes(last):
            yield f"{last.done}/{last.total}"
        elif last.bytes_read_total:
            yield f"{size(last.bytes_read)} of {size(last.bytes_read_total)}"
        if last.message:
            here = f" ({size(last.done)} of {size(last.total)})" if waits(last) else ""
            yield f"{cell(last.message)}{here}"
        rate, left = self.rate, self.seconds_left
        if rate and in_bytes(last):
            yield f"{size(round(rate))}/s"
        yield f"{clock(self.elapsed)} passed"
        if left is not None:
            yield f"{clock(left)} left"
        yield f"peak memory {size(peak_memory())}"


def stage_of(progress: Progress) -> str:
    """Rounding that waits for a shard is rounding still."""
    return "quantise" if waits(progress) else progress.stage


def waits(progress: Progress) -> bool:
    """Whether rounding waits for a shard, of which ``done`` of ``total`` bytes are here."""
    return progress.stage == "fetch" and progress.tensors_total > 0


def in_bytes(progress: Progress) -> bool:
    """Whether bytes, not units of its own, say how far the stage is."""
    return waits(progress) or not progress.total


def share(progress: Progress) -> tuple[int, int]:
    """(done, of how much) of the present stage; (0, 0) where it counts nothing."""
    if not in_bytes(progress):
        return progress.done, progress.total
    total = progress.bytes_read_total
    # What has arrived of a shard that is waited for counts: it takes longer than the rounding.
    arrived = progress.done if waits(progress) else 0
    return min(progress.bytes_read + arrived, total), total


def joined(facts: list[str], width: int) -> list[str]:
    """Facts with dots between them, on as few lines of ``width`` as hold them whole."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + 3 + len(fact) <= width:
            lines[-1] += f" · {fact}"
        else:
            lines.append(fact)
    return lines


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once."""
    amount = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return amount if sys.platform == "darwin" else amount * 1024
