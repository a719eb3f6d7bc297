"""Measure the transcript: loop lag and processor share while streaming, and opening a long chat.

Run by hand: `python tests/bench/transcript_stream.py [seconds per run]`. Headless: what the
terminal itself costs is not in these figures. Each row is one run in a fresh app.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Iterator

from steady_worker import MIXED  # beside this script
from textual.app import App, ComposeResult

from tui.widgets.transcript import MessageView, Role, Transcript

BLOCKS = {
    "list": "".join(f"- item {i} with **bold** and `code` in it\n" for i in range(250))[:10_240],
    "table": "| n | name | value |\n|---|---|---|\n"
    + "".join(f"| {i} | name **{i}** | some `value` {i * 7} |\n" for i in range(260))[:10_240],
    "code": "```python\n"
    + "".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(300))[:10_240],
    "paragraph": "".join(f"word{i} and *some* more " for i in range(500))[:10_240],
    "CJK": "量子化すると、モデルは小さくなる。" * 230,
}


def tokens(text: str, count: int) -> Iterator[str]:
    """`text` again and again in pieces of 4 characters."""
    for i in range(count):
        start = (4 * i) % len(text)
        yield text[start : start + 4]


class Bench(App[None]):
    """Only a transcript."""

    def compose(self) -> ComposeResult:
        yield Transcript()


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def lag_probe(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append(1000 * (time.perf_counter() - began - 0.005))


async def stream(text: str, rate: int, seconds: float, *, prefill: int = 0) -> tuple[float, ...]:
    """Stream at `rate` pieces/s; return lag p50, p95, p99, max in ms and share of a core in %."""
    app = Bench()
    async with app.run_test(size=(120, 40)) as pilot:
        transcript = app.query_one(Transcript)
        key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
        transcript.stream_text(key, text[:prefill])
        await pilot.pause(0.2)
        lags: list[float] = []
        probe = asyncio.create_task(lag_probe(lags))
        cpu, began, sent = time.process_time(), time.perf_counter(), 0
        count = int(rate * seconds)
        pieces = tokens(text[prefill:] or text, count)
        while sent < count:
            due = int((time.perf_counter() - began) * rate)
            while sent < min(due, count):
                transcript.stream_text(key, next(pieces))
                sent += 1
            await asyncio.sleep(1 / rate)
        wall = time.perf_counter() - began
        used = time.process_time() - cpu
        probe.cancel()
        transcript.finish(key)
        await pilot.pause(0.05)
        figures = [percentile(lags, share) for share in (0.5, 0.95, 0.99)]
        return (*figures, max(lags), 100 * used / wall)


async def idle(seconds: float) -> float:
    """The share of a core the probe and an idle app use, in %."""
    app = Bench()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(0.2)
        probe = asyncio.create_task(lag_probe([]))
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        probe.cancel()
        return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


async def open_chat(count: int) -> tuple[float, float]:
    """Milliseconds to show `count` messages, and the median page up: laying out and painting."""
    app = Bench()
    async with app.run_test(size=(120, 40)) as pilot:
        transcript = app.query_one(Transcript)
        roles: tuple[Role, Role] = ("user", "assistant")
        views = [MessageView(roles[i % 2], MIXED, header="Qwen") for i in range(count)]

        def paint() -> None:
            for y in range(transcript.size.height):
                transcript.render_line(y)

        began = time.perf_counter()
        transcript.set_messages(views)
        paint()
        opened = 1000 * (time.perf_counter() - began)
        pages: list[float] = []
        for _ in range(20):
            await pilot.pause()
            began = time.perf_counter()
            transcript.action_page_up()
            paint()
            pages.append(1000 * (time.perf_counter() - began))
        return opened, percentile(pages, 0.5)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    opened, page = asyncio.run(open_chat(10_000))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"open 10,000 messages {opened:.0f} ms, page up {page:.0f} ms (median of 20), "
        f"peak RSS {rss:.0f} MB"
    )
    print(f"idle with probe: {asyncio.run(idle(2)):.0f} % of a core")
    print(f"{'text':<12}{'tok/s':>6}{'lag p50':>9}{'p95':>7}{'p99':>7}{'max':>7} ms{'cpu':>6} %")
    for rate in (50, 100, 200, 400):
        row = asyncio.run(stream(MIXED, rate, seconds))
        print(
            f"{'mixed':<12}{rate:>6}{row[0]:>9.1f}{row[1]:>7.1f}{row[2]:>7.1f}{row[3]:>7.1f}{row[4]:>9.0f}"
        )
    for name, text in BLOCKS.items():
        row = asyncio.run(stream(text, 100, seconds, prefill=len(text) - int(400 * seconds)))
        print(
            f"{name:<12}{100:>6}{row[0]:>9.1f}{row[1]:>7.1f}{row[2]:>7.1f}{row[3]:>7.1f}{row[4]:>9.0f}"
        )


if __name__ == "__main__":
    main()
