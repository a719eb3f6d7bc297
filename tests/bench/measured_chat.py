"""The chat with a probe in its event loop, for ``chat_bars.py`` to run on a terminal of its own.

    python tests/bench/measured_chat.py FOLDER COMMAND...   the chat over the engine COMMAND
    python tests/bench/measured_chat.py --open FOLDER       opens the newest conversation, headless

What was measured is left in ``FOLDER/probe.json``.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import tui
from tui.app import MlxqwenApp
from tui.bridge import Bridge

STEP = 0.005  # seconds between two looks at the clock


class Measured(MlxqwenApp):
    """Notes how late the loop is, and how much processor time it took meanwhile."""

    CSS_PATH = Path(tui.__file__).with_name("app.tcss")

    def __init__(self, folder: Path, command: list[str]) -> None:
        path = folder / "conversations.sqlite3"
        settings = folder / "settings.toml"
        super().__init__("guide", conversations=path, settings=settings, bridge=Bridge(command))
        self.samples: list[tuple[float, float, float, float]] = []

    def on_mount(self) -> None:  # Textual calls the base class's as well
        self.run_worker(self._look())

    async def _look(self) -> None:
        """(when, late in ms, processor time of the loop since the last look, of the process)."""
        thread = time.thread_time()
        while True:
            began = time.perf_counter()
            await asyncio.sleep(STEP)
            late = 1000 * (time.perf_counter() - began - STEP)
            before, thread = thread, time.thread_time()
            self.samples.append((time.time(), late, 1000 * (thread - before), time.process_time()))


def chat(folder: Path, command: list[str]) -> None:
    app = Measured(folder, command)
    app.run()
    if app.failure:
        raise app.failure
    (folder / "probe.json").write_text(json.dumps({"samples": app.samples}))


async def open_longest(folder: Path) -> dict[str, float]:
    app = MlxqwenApp(
        "guide",
        conversations=folder / "conversations.sqlite3",
        settings=folder / "settings.toml",
        bridge=Bridge([sys.executable, "-c", "import sys; sys.stdin.read()"]),
    )
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app._chat
        while not await screen.recent(1):
            await pilot.pause(0.02)
        await pilot.pause(0.5)
        (found,) = await screen.recent(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, cpu = time.perf_counter(), time.process_time()
        await screen.open(found.id)
        screen.transcript.update_view()
        for y in range(screen.transcript.size.height):
            screen.transcript.render_line(y)
        opened, used = time.perf_counter() - began, time.process_time() - cpu
        assert len(screen.transcript.keys) == len(screen.session.branch) >= 10_000
        pages: list[float] = []
        for _ in range(20):
            await pilot.pause()
            began = time.perf_counter()
            screen.transcript.action_page_up()
            for y in range(screen.transcript.size.height):
                screen.transcript.render_line(y)
            pages.append(1000 * (time.perf_counter() - began))
        await app.action_quit()
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "milliseconds": 1000 * opened,
        "cpu_milliseconds": 1000 * used,
        "page": sorted(pages)[10],
        "before_megabytes": before / unit,
        "megabytes": peak / unit,
    }


if __name__ == "__main__":
    if sys.argv[1] == "--open":
        place = Path(sys.argv[2])
        (place / "probe.json").write_text(json.dumps(asyncio.run(open_longest(place))))
    else:
        chat(Path(sys.argv[1]), sys.argv[2:])
