"""The engine lives in a child process; this is the interface's end of the pipe.

One JSON object per line each way. A reader thread turns lines into typed events in a deque, which
the interface drains on a timer; a writer thread keeps a full pipe from ever blocking a key. The
child may die of anything (a crashed GPU driver, the kernel's memory killer): that is an event too,
``Died``, with its cause and its last words, and the next ``load`` starts a new child.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from mlxqwen.engine.events import Done, Event, Forecast, from_json

from .words import say

WORKER = (sys.executable, "-m", "mlxqwen.engine.worker")

_LAST_WORDS = 4096  # bytes of standard error worth showing
_GRACE = 1.0  # seconds a child may take to leave by itself


@dataclass(frozen=True, slots=True)
class Loaded:
    """The child holds a model. ``bytes`` of memory, ``seconds`` to load, ``context`` in tokens.

    ``budget`` is how many bytes this machine gives it, 0 where that is not known; ``notices`` are
    sentences about how it was loaded, for the user.
    """

    request: int
    model: str
    path: str
    context: int
    seconds: float
    bytes: int
    thinks: bool
    description: str
    notices: tuple[str, ...] = ()
    budget: int = 0


@dataclass(frozen=True, slots=True)
class Streamed:
    """One event of the run that ``request`` asked for; a ``Done`` is its last."""

    request: int
    event: Event


@dataclass(frozen=True, slots=True)
class Failed:
    """A request was refused or broke off with an error; the child lives on."""

    request: int
    kind: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Died:
    """The child is gone. ``requests`` are those it will never answer."""

    cause: str
    last_words: str
    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forecasted:
    """What was asked for with ``forecast``; None where the engine cannot tell."""

    request: int
    forecast: Forecast | None


BridgeEvent = Loaded | Streamed | Failed | Died | Forecasted


def cause_of_exit(code: int) -> str:
    """A sentence for an exit status as ``subprocess`` reports it (negative: a signal)."""
    if code == -signal.SIGKILL:
        return say("engine.killed")
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return say("engine.crashed", name=name)
    return say("engine.ended", code=code)


class Bridge:
    """Requests go in, events come out of ``drain``; no call waits for the child.

    Args:
        command: What to run in place of the engine's worker; tests have one of their own.
    """

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = tuple(command)
        self._events: deque[BridgeEvent] = deque()
        self._last_request = 0
        self._child: _Child | None = None

    @property
    def alive(self) -> bool:
        """A child runs, as far as its reader knows."""
        return self._child is not None and not self._child.ended.is_set()

    @property
    def busy(self) -> bool:
        """Some request is still to be answered, or some event to be drained."""
        return bool(self._events) or (self._child is not None and bool(self._child.open_requests))

    @property
    def pid(self) -> int | None:
        """The child's process id; None where none runs."""
        return self._child.process.pid if self._child and self.alive else None

    def load(self, model: str, context: int | None = None) -> int:
        """Ask for ``model``, starting a child if none lives. Returns the request's id."""
        if not self.alive:
            try:
                self._child = _Child(self._command, self._events)
            except OSError as error:
                self._child = None
                return self._die(say("engine.unstarted", error=error.strerror))
        return self._ask("load", {"model": model, "context": context})

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        think: bool | int | None = None,
        sampling: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> int:
        """Ask for an answer. Without a child, the answer is a ``Died`` event at once.

        Args:
            think: A number is a budget in tokens; None leaves it to the model.
        """
        return self._ask(
            "chat",
            {
                "messages": list(messages),
                "think": think,
                "sampling": dict(sampling or {}),
                "max_tokens": max_tokens,
                "tools": [],
                "stop": list(stop),
            },
        )

    def forecast(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        think: bool | int | None = None,
        max_tokens: int | None = None,
    ) -> int | None:
        """Ask what ``chat`` would take; None where no child is there to ask.

        It delays no answer, and one that is asked for later takes its place.
        """
        child = self._child
        if child is None:
            return None
        self._last_request += 1
        request = self._last_request
        body = {"messages": list(messages), "think": think, "max_tokens": max_tokens, "tools": []}
        asked = child.ask(request, {"op": "forecast", "id": request, **body}, forecast=True)
        return request if asked else None

    def cancel(self, request: int) -> None:
        """Stop a run; its ``Done`` says ``cancelled``. Nothing happens if it is over already."""
        if self._child and request in self._child.open_requests:
            self._child.send({"op": "cancel", "id": request})

    def kill(self) -> None:
        """End a child that does not listen; a ``Died`` event follows."""
        if self._child:
            self._child.process.kill()

    def drain(self) -> list[BridgeEvent]:
        """Everything that has arrived since the last call, in order."""
        drained: list[BridgeEvent] = []
        while self._events:
            drained.append(self._events.popleft())
        return drained

    def close(self) -> None:
        """Let the child go: ask, then insist after a second. No ``Died`` event follows."""
        if self._child:
            self._child.close()
            self._child = None

    def _ask(self, operation: str, body: Mapping[str, Any]) -> int:
        request = self._last_request + 1
        child = self._child
        if child is None or not child.ask(request, {"op": operation, "id": request, **body}):
            return self._die(say("engine.absent"))
        self._last_request = request
        return request

    def _die(self, cause: str) -> int:
        self._last_request += 1
        self._events.append(Died(cause, "", (self._last_request,)))
        return self._last_request


class _Child:
    """One process, its two threads, and the requests it owes an answer."""

    def __init__(self, command: Sequence[str], events: deque[BridgeEvent]) -> None:
        self.open_requests: set[int] = set()
        self.ended = threading.Event()
        self._forecast: int | None = None  # the one that was asked for last
        self._events = events
        self._lock = threading.Lock()  # orders `ask` against the reader's last event
        self._closing = False
        self._outbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        # A file takes whatever a dying child writes; a pipe could fill up and hold it.
        self._stderr = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # the terminal's Ctrl-C is ours to interpret
            )
        except OSError:
            self._stderr.close()
            raise
        self._threads = (
            threading.Thread(target=self._read, name="engine-reader", daemon=True),
            threading.Thread(target=self._write, name="engine-writer", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def send(self, record: Mapping[str, Any]) -> None:
        self._outbox.put(record)

    def ask(self, request: int, record: Mapping[str, Any], *, forecast: bool = False) -> bool:
        """Send a request that will be answered; False if the child is gone already."""
        with self._lock:
            if self.ended.is_set():
                return False
            if forecast:
                if self._forecast is not None:
                    self.open_requests.discard(self._forecast)
                self._forecast = request
            self.open_requests.add(request)
        self.send(record)
        return True

    def close(self) -> None:
        with self._lock:
            self._closing = True
        self.send({"op": "close"})
        self._outbox.put(None)
        for insist in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(_GRACE)
                break
            except subprocess.TimeoutExpired:
                insist()
        self.process.wait()
        for thread in self._threads:
            thread.join(_GRACE)

    def _write(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        try:
            while (record := self._outbox.get()) is not None:
                stdin.writelines(_line(record))
                stdin.flush()
        except OSError:
            pass  # the child is gone: the reader says so
        with contextlib.suppress(OSError):
            stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = _parse(line)
            if event is None:
                continue
            if isinstance(event, Failed) and event.request == self._forecast:
                event = Forecasted(event.request, None)
            if not isinstance(event, Streamed) or isinstance(event.event, Done):
                self.open_requests.discard(event.request)
            self._events.append(event)
        self.process.stdout.close()
        code = self.process.wait()
        self._outbox.put(None)
        with self._lock:
            self.ended.set()
            owed = tuple(sorted(self.open_requests))
            self.open_requests.clear()
            if not self._closing:
                self._events.append(Died(cause_of_exit(code), self._words(), owed))
        self._stderr.close()

    def _words(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _LAST_WORDS))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-8:])


def _line(record: Mapping[str, Any]) -> Iterator[bytes]:
    """A request as JSON, item by item.

    Ten thousand messages in one piece would be held three times over, and hold every key back.
    """
    begin = b"{"
    for name, value in record.items():
        yield begin + _json(name) + b": "
        if isinstance(value, list):
            yield b"["
            for place, item in enumerate(cast(list[Any], value)):
                yield (b", " if place else b"") + _json(item)
            yield b"]"
        else:
            yield _json(value)
        begin = b", "
    yield b"}\n"


def _json(value: Any) -> bytes:
    # A path that is no UTF-8 goes through as Python holds it.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _parse(line: bytes) -> Loaded | Streamed | Failed | Forecasted | None:
    """The event in a line; None for a line that is none, such as what a library printed."""
    try:
        record = json.loads(line)
        request = int(record.pop("id"))
        match record.get("event"):
            case "loaded":
                del record["event"]
                notices = tuple(record.pop("notices", ()))
                return Loaded(request, **record, notices=notices)
            case "forecast":
                del record["event"]
                return Forecasted(request, Forecast(**record))
            case "error":
                return Failed(
                    request, str(record["kind"]), str(record["what"]), str(record["hint"])
                )
            case _:
                return Streamed(request, from_json(record))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
