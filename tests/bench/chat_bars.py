"""Measure what the chat promises: how soon it is there, how it keeps up, what it costs and loses.

    python tests/bench/chat_bars.py [--only start,echo,…] [--seconds 6] [--json]

The program runs on a pseudo-terminal as it does for a person, over an engine that writes at a
steady rate (``steady_worker.py``); only the start is measured with the real one. On a machine with
other work the times of the wall clock say little: beside lags stands ``loop``, the processor time
that the interface's loop took in one go, which is the lag on a machine of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tui import findings
from tui.store import Store

HERE = Path(__file__).parent
BLOCKS = ("list", "table", "code", "paragraph", "quotes", "CJK")
LETTERS = [chr(code) for code in (*range(0x3B1, 0x3CA), *range(0x430, 0x450))]


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of the table."""

    name: str
    target: str
    measured: str
    holds: bool


class Terminal:
    """A program on a pseudo-terminal in raw mode: nothing but the program echoes a key."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.shown = b""
        self.seen_at: dict[bytes, float] = {}
        self._awaited: set[bytes] = set()
        self.master, child = pty.openpty()
        tty.setraw(child)
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            "LINES": "40",
            "MLXQWEN_HOME": str(folder),
        }
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(child)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    piece = os.read(self.master, 65_536)
                except OSError:
                    return
                now = time.perf_counter()
                self.shown = (self.shown + piece)[-200_000:]
                for wanted in [one for one in self._awaited if one in piece]:
                    self.seen_at[wanted] = now
                    self._awaited.discard(wanted)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def echo(self, letter: str) -> float:
        """Type a letter that was not shown before, and return when it is."""
        wanted = letter.encode()
        self._awaited.add(wanted)
        self.type(wanted)
        self.until(lambda: wanted in self.seen_at)
        return self.seen_at[wanted]

    def ready(self) -> bool:
        """The model is loaded."""
        return b"ready" in self.shown

    def until(self, wanted: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"the chat does not answer:\n{self.shown[-600:]!r}")
            time.sleep(0.001)

    def leave(self) -> None:
        """Ctrl+C until it ends."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                os.write(self.master, b"\x03")
            time.sleep(0.15)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        os.close(self.master)


@contextmanager
def measured_chat() -> Iterator[tuple[Terminal, Path]]:
    """The chat over the steady engine, ready, with an empty folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worker = [sys.executable, str(HERE / "steady_worker.py"), str(folder / "worker.log")]
        program = [sys.executable, str(HERE / "measured_chat.py"), name, *worker]
        terminal = Terminal(program, folder)
        try:
            terminal.until(terminal.ready)
            yield terminal, folder
        finally:
            terminal.close()


def worker_log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "worker.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(folder: Path, answers: int) -> bool:
    """So many answers are over."""
    return sum("ended" in note for note in worker_log(folder)) >= answers


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def start(_: float) -> Iterator[Bar]:
    """From nothing to a key on the screen, typed before the program was even there."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(6):
            command = [sys.executable, "-m", "tui.cli", "chat", "guide"]
            terminal = Terminal(command, Path(name))
            times.append(terminal.echo("ж") - terminal.began)
            terminal.until(terminal.ready)
            terminal.close()
    first, *warm = times  # the first one writes caches
    median = 1000 * statistics.median(warm)
    yield Bar(
        "start → echoed key",
        "< 300 ms",
        f"{median:.0f} ms (best {1000 * min(warm):.0f}, first {1000 * first:.0f})",
        median < 300,
    )


def stream(seconds: float, rate: int, what: str, *, echo: bool = False) -> dict[str, float]:
    """One answer at ``rate``; lags in ms, shares of a core in %."""
    with measured_chat() as (terminal, folder):
        terminal.type(f"{rate} {seconds} {what}".encode() + b"\r")
        time.sleep(1.0)
        echoed: list[float] = []
        for letter in LETTERS if echo else ():
            typed = time.perf_counter()
            echoed.append(1000 * (terminal.echo(letter) - typed))
            time.sleep(0.07)
        terminal.until(partial(ended, folder, 1), seconds + 60)
        time.sleep(0.3)
        terminal.leave()
        (note,) = (note for note in worker_log(folder) if "ended" in note)
        samples = json.loads((folder / "probe.json").read_text())["samples"]
    inside = [one for one in samples if note["began"] + 0.5 < one[0] < note["ended"]]
    lags, loop = [one[1] for one in inside], [one[2] for one in inside]
    took = inside[-1][0] - inside[0][0]
    found = {
        "p95": percentile(lags, 0.95),
        "p99": percentile(lags, 0.99),
        "worst": max(lags),
        "loop p95": percentile(loop, 0.95),
        "loop p99": percentile(loop, 0.99),
        "loop worst": max(loop),
        "cpu": 100 * (inside[-1][3] - inside[0][3]) / took,
        "rate": note["rate"],
        "waited": 100 * note["waited"] / (note["ended"] - note["began"]),
    }
    if echo:
        found |= {"echo p95": percentile(echoed, 0.95), "echo worst": max(echoed)}
    return found


def alone(seconds: float, rate: int) -> float:
    """Pieces a second of the engine with nobody but a pipe to write to."""
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "worker.log"
        ask = {"op": "chat", "id": 1, "messages": [{"content": f"{rate} {seconds} mixed"}]}
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "steady_worker.py"), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(ask).encode() + b"\n")
        worker.stdin.flush()
        while not log.exists() or not log.read_text():
            time.sleep(0.05)
        worker.stdin.close()
        worker.wait()
        return json.loads(log.read_text())["rate"]


def echo(seconds: float) -> Iterator[Bar]:
    """Keys typed, and what the interface costs, while an answer comes at 100 tokens a second."""
    lone = alone(seconds, 100)
    found = stream(max(seconds, 2 + 0.12 * len(LETTERS)), 100, "mixed", echo=True)
    yield Bar(
        "key → echo at 100 tok/s",
        "p95 < 30 ms",
        f"p95 {found['echo p95']:.0f} ms, worst {found['echo worst']:.0f}",
        found["echo p95"] < 30,
    )
    quiet = stream(seconds, 100, "mixed")
    cost = f"{quiet['cpu']:.0f} % of a core (with the probe)"
    yield Bar("interface at 100 tok/s", "< 25 % of a core", cost, quiet["cpu"] < 25)
    lost = 100 * (1 - quiet["rate"] / lone)
    told = f"{lost:.1f} % ({quiet['waited']:.2f} % waiting for the pipe)"
    yield Bar("throughput lost at 100 tok/s", "< 2 %", told, lost < 2)


def lag(seconds: float) -> Iterator[Bar]:
    """How late the loop is on mixed text."""
    for rate in (50, 100, 200, 400):
        found = stream(seconds, rate, "mixed")
        yield Bar(
            f"loop lag, mixed at {rate} tok/s",
            "p95 < 30 ms",
            told_lag(found),
            found["p95"] < 30,
        )


def blocks(seconds: float) -> Iterator[Bar]:
    """How late it is on one block of 10 KB, at a rate that brings all of it."""
    for name in BLOCKS:
        found = stream(seconds, int(2700 / seconds), name)
        yield Bar(
            f"loop lag, one {name} of 10 KB", "p95 < 100 ms", told_lag(found), found["p95"] < 100
        )


def told_lag(found: dict[str, float]) -> str:
    lags = ", ".join(f"{name} {found[name]:.0f}" for name in ("p95", "p99", "worst"))
    loop = ", ".join(f"{name} {found['loop ' + name]:.0f}" for name in ("p95", "p99", "worst"))
    return f"{lags} ms; loop {loop} ms; cpu {found['cpu']:.0f} %"


def fill(path: Path, conversations: int, messages: int, text: str) -> None:
    """A file with that many conversations of that many messages, indexed as the store does it."""
    store = Store.open(path)
    connection = store._connection
    connection.execute("PRAGMA synchronous = OFF")
    for number in range(conversations):
        owner = store.create(title=f"Conversation {number}", model="guide").id
        last = store.add_user(owner, None, f"first {number}").id
        connection.execute("BEGIN")
        for place in range(1, messages):
            role = "assistant" if place % 2 else "user"
            rare = " zanzibar 天空蓝" if (number * messages + place) % 5003 == 0 else ""
            said = f"{text[(37 * place) % 997 :][:600]} perché numero{number}x{place}{rare}"
            cursor = connection.execute(
                "INSERT INTO message (conversation_id, parent_id, role, text, state, created_at) "
                "VALUES (?, ?, ?, ?, 'done', ?)",
                (owner, last, role, said, 1.0 * place),
            )
            last = cursor.lastrowid
            store._index(connection.cursor(), last)
        connection.execute("UPDATE conversation SET leaf_id = ? WHERE id = ?", (last, owner))
        connection.execute("COMMIT")
    store.close()


def text_of_mixed() -> str:
    sys.path.insert(0, str(HERE))
    from steady_worker import MIXED

    return MIXED * 4


def opening(_: float) -> Iterator[Bar]:
    """A conversation of 10,000 messages."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name) / "conversations.sqlite3", 1, 10_000, text_of_mixed())
        runs: list[dict[str, float]] = []
        for _ in range(3):
            program = [sys.executable, str(HERE / "measured_chat.py"), "--open", name]
            subprocess.run(program, check=True, env={**os.environ, "MLXQWEN_HOME": name})
            runs.append(json.loads((Path(name) / "probe.json").read_text()))
    best = min(runs, key=lambda run: run["milliseconds"])
    yield Bar(
        "open 10,000 messages",
        "< 150 ms",
        f"{best['milliseconds']:.0f} ms, best of 3 (processor {best['cpu_milliseconds']:.0f}), "
        f"page up {best['page']:.0f} ms",
        best["milliseconds"] < 150,
    )
    peak = max(run["megabytes"] for run in runs)
    told = f"{peak:.0f} MB (before opening {runs[0]['before_megabytes']:.0f})"
    yield Bar("memory with 10,000 messages", "< 120 MB", told, peak < 120)


def search(_: float) -> Iterator[Bar]:
    """Full-text search over 50,000 messages."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "conversations.sqlite3"
        fill(path, 100, 500, text_of_mixed())
        findings.search(path, "warm")
        size = path.stat().st_size / 1e6
        for kind, wanted in (
            ("a rare word", "zanzibar"),
            ("a word of every message", "perche"),
            ("CJK", "天空蓝"),
            ("code", "w.reshape(-1"),
            ("two letters", "天空"),
            ("nothing", "qwzx"),
        ):
            times: list[float] = []
            for _ in range(5):
                began = time.perf_counter()
                page = findings.search(path, wanted)
                times.append(1000 * (time.perf_counter() - began))
            median = statistics.median(times)
            yield Bar(
                f"search 50,000 messages: {kind}",
                "< 50 ms",
                f"{median:.1f} ms, {len(page.finds)} hits in the page, {size:.0f} MB",
                median < 50,
            )


def killed(seconds: float) -> Iterator[Bar]:
    """kill -9 of the interface in mid-answer, five times."""
    lost: list[float] = []
    questions = 0
    for trial in range(5):
        with measured_chat() as (terminal, folder):
            terminal.type(f"100 {seconds + 10} stamps".encode() + b"\r")
            path = folder / "conversations.sqlite3"
            terminal.until(lambda: b"tok/s" in terminal.shown)
            time.sleep(1.0 + 0.07 * trial)
            os.kill(terminal.process.pid, signal.SIGKILL)
            now = time.time()
            terminal.process.wait()
            store = Store.open(path)
            (conversation,) = store.conversations()
            assert conversation.leaf_id is not None
            question, answer = store.branch(conversation.leaf_id)
            questions += question.text.startswith("100") and answer.state == "interrupted"
            lost.append(1000 * (now - float(answer.text.rpartition(" ")[0].split()[-1])))
            store.close()
    yield Bar(
        "kill -9 in mid-answer",
        "≤ 300 ms, no message",
        f"worst {max(lost):.0f} ms of 5, {5 - questions} questions lost",
        max(lost) <= 300 and questions == 5,
    )


def escape(seconds: float) -> Iterator[Bar]:
    """From the Escape key to the engine's being told."""
    times: list[float] = []
    with measured_chat() as (terminal, folder):
        for trial in range(5):
            terminal.type(f"100 {seconds + 10} mixed".encode() + b"\r")
            time.sleep(1.0 + 0.05 * trial)
            now = time.time()
            terminal.type(b"\x1b")
            terminal.until(partial(ended, folder, trial + 1))
            told = [note["cancelled"] for note in worker_log(folder) if "cancelled" in note]
            times.append(1000 * (told[trial] - now))
            time.sleep(0.3)
        terminal.leave()
    median = statistics.median(times)
    yield Bar(
        "Escape → engine told",
        "< 100 ms",
        f"{median:.0f} ms (worst {max(times):.0f})",
        median < 100,
    )


PARTS: dict[str, Callable[[float], Iterator[Bar]]] = {
    "start": start,
    "echo": echo,
    "lag": lag,
    "blocks": blocks,
    "open": opening,
    "search": search,
    "kill": killed,
    "escape": escape,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=6.0, help="length of an answer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bars: list[Bar] = []
    load = os.getloadavg()[0]
    for name in options.only.split(","):
        for bar in PARTS[name](options.seconds):
            bars.append(bar)
            if not options.json:
                sign = "✓" if bar.holds else "✗"
                print(f"{sign} {bar.name:<42}{bar.target:<22}{bar.measured}", flush=True)
    machine = f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    if options.json:
        print(json.dumps({"machine": machine, "bars": [asdict(bar) for bar in bars]}, indent=1))
    else:
        print(machine)


if __name__ == "__main__":
    main()
