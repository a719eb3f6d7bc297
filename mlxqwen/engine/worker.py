"""The engine as a child process: ``python -m mlxqwen.engine.worker``.

Requests come in on stdin and events go out on stdout, one JSON object per line. A crash of the
graphics driver, or running out of memory, ends this process and nothing else; the end of stdin,
which the death of the parent brings about however it died, ends it at once, whatever it is doing.

Requests::

    {"op": "load", "id": 1, "model": "guide", "context": null}
    {"op": "chat", "id": 2, "messages": […], "think": null, "sampling": {…}, "max_tokens": null,
     "tools": [], "stop": []}
    {"op": "forecast", "id": 3, "messages": […], "think": null, "max_tokens": null, "tools": []}
    {"op": "cancel", "id": 2}
    {"op": "close"}

Events carry the ``id`` of their request: ``loaded``, ``forecast``, those of
``mlxqwen.engine.events``, and ``error`` (``kind``, ``what``, ``hint``), after which the request is
over and the process lives on.

A forecast waits for nothing and delays nothing: a thread of its own answers it, also while an
answer is being written. One that a newer one overtakes is never answered.

Text that is no Unicode, such as a path in another encoding, travels as lone surrogates.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any, cast

from ..errors import EngineError, MlxqwenError, UsageError
from ..generate.options import Sampling
from .engine import Engine
from .events import to_json
from .run import Run

Request = dict[str, Any]


class Worker:
    """Serves requests one after the other; ``cancel`` overtakes them.

    Args:
        write: Sends one JSON object to the parent.
    """

    def __init__(self, write: Callable[[Request], None]) -> None:
        self._write = write
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._running: dict[int, Run] = {}
        self._cancelled: set[int] = set()
        self._done = 0  # ids grow, so a cancel of this or an earlier one comes too late

    def cancel(self, identity: int) -> None:
        """Stops that run, or keeps it from starting; called from the reading thread."""
        with self._lock:
            if identity <= self._done:
                return
            self._cancelled.add(identity)
            run = self._running.get(identity)
        if run is not None:
            run.cancel()

    def serve(self, request: Request) -> None:
        """Carries out a ``load`` or ``chat``; every error becomes an event."""
        identity: int = request["id"]
        try:
            match request["op"]:
                case "load":
                    self._load(identity, request)
                case "chat":
                    self._chat(identity, request)
                case other:
                    raise UsageError(f"The engine knows no operation {other!r}.")
        except MlxqwenError as error:
            self._fail(identity, type(error).__name__, error.what, error.hint)
        except (AttributeError, KeyError, TypeError) as error:
            self._malformed(identity, error)
        except (MemoryError, RuntimeError) as error:
            # MLX reports a failed kernel or allocation as RuntimeError; what it left behind is not
            # to be used.
            self._drop()
            if _ran_out_of_memory(error):
                what = "Memory ran out, and the model was unloaded."
                hint = "Use a shorter context or a smaller model; sending again reloads this one."
            else:
                what = f"MLX stopped: {error}."
                hint = "The model was unloaded; send again to reload it."
            self._fail(identity, "EngineError", what, hint)

    def forecast(self, request: Request) -> None:
        """Says what a chat would take; called from a thread of its own."""
        identity: int = request["id"]
        engine = self._engine
        try:
            if engine is None:
                raise EngineError("No model is loaded.", "Load one first.")
            found = engine.forecast(
                request["messages"],
                tools=request.get("tools") or (),
                think=request.get("think"),
                max_tokens=request.get("max_tokens"),
            )
        except MlxqwenError as error:
            self._fail(identity, type(error).__name__, error.what, error.hint)
        except (AttributeError, KeyError, TypeError) as error:
            self._malformed(identity, error)
        else:
            self._write({"id": identity, "event": "forecast", **asdict(found)})

    def refuse(self, what: str) -> None:
        """Reports a request too damaged to have an id."""
        self._write({"id": None, "event": "error", "kind": "UsageError", "what": what, "hint": ""})

    def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _malformed(self, identity: int, error: Exception) -> None:
        self._fail(identity, "UsageError", f"The request is not well formed: {error}.", "")

    def _fail(self, identity: int, kind: str, what: str, hint: str) -> None:
        self._write({"id": identity, "event": "error", "kind": kind, "what": what, "hint": hint})

    def _load(self, identity: int, request: Request) -> None:
        began = time.perf_counter()
        # The old model goes first: two may not fit together.
        self._drop()
        engine = Engine.load(request["model"], context=request.get("context"))
        self._engine = engine
        self._write(
            {
                "id": identity,
                "event": "loaded",
                "model": engine.name,
                "path": str(engine.path),
                "context": engine.context,
                "seconds": time.perf_counter() - began,
                "bytes": engine.plan.weights,
                "budget": engine.plan.budget,
                "thinks": engine.thinks,
                "notices": list(engine.notices),
                "description": engine.description,
            }
        )

    def _chat(self, identity: int, request: Request) -> None:
        if self._engine is None:
            raise EngineError("No model is loaded.", "Load one first.")
        run = self._engine.chat(
            request["messages"],
            tools=request.get("tools") or (),
            think=request.get("think"),
            sampling=Sampling(**cast(dict[str, Any], request.get("sampling") or {})),
            stop=request.get("stop") or (),
            max_tokens=request.get("max_tokens"),
        )
        with self._lock:
            self._running[identity] = run
            cancelled = identity in self._cancelled
        if cancelled:
            run.cancel()
        try:
            for event in run:
                self._write({"id": identity, **to_json(event)})
        finally:
            with self._lock:
                del self._running[identity]
                self._cancelled.discard(identity)
                self._done = identity


def _ran_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` is how MLX says so: for an allocation, on Metal, and on CUDA."""
    said = str(error).lower()
    signs = ("malloc", "unable to allocate", "insufficient memory", "out of memory")
    return isinstance(error, MemoryError) or any(sign in said for sign in signs)


class _Latest:
    """A queue with room for one: the newest forecast that was asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._request: Request | None = None

    def put(self, request: Request) -> None:
        with self._changed:
            self._request = request
            self._changed.notify()

    def get(self) -> Request:
        with self._changed:
            while self._request is None:
                self._changed.wait()
            request, self._request = self._request, None
            return request


def _foresee(worker: Worker, forecasts: _Latest) -> None:
    while True:
        worker.forecast(forecasts.get())


def _read(
    lines: IO[bytes],
    worker: Worker,
    requests: queue.SimpleQueue[Request | None],
    forecasts: _Latest,
) -> None:
    """Reads requests until the parent closes or dies; then this process ends at once.

    ``os._exit`` and not a flag: a prefill chunk of a large model can take seconds, and nobody is
    left to wait for it. No state is lost, for this process keeps none on disk.
    """
    try:
        for line in lines:
            request = _parse(line, worker)
            if request is None:
                continue
            match request.get("op"):
                case "cancel":
                    worker.cancel(request["id"])
                case "close":
                    requests.put(None)
                case "forecast":
                    forecasts.put(request)
                case _:
                    requests.put(request)
    finally:
        os._exit(0)


def _parse(line: bytes, worker: Worker) -> Request | None:
    """A request with an id, or None where the line is none and the parent was told so."""
    try:
        value: object = json.loads(line)
    except ValueError as error:
        worker.refuse(f"A request is not JSON: {error}.")
        return None
    request = cast(Request, value) if isinstance(value, dict) else {}
    if not isinstance(request.get("id"), int) and request.get("op") != "close":
        worker.refuse("A request is no object with a whole number as its id.")
        return None
    return request


def main() -> None:
    """Serves stdin until it closes."""
    # Ctrl-C in the terminal reaches every process of the group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out, lock = os.fdopen(os.dup(1), "wb", buffering=0), threading.Lock()
    # Anything a library prints must not end up among the events.
    os.dup2(2, 1)

    def write(record: Request) -> None:
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        with lock:
            out.write(line)

    worker = Worker(write)
    requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    forecasts = _Latest()
    arguments = (sys.stdin.buffer, worker, requests, forecasts)
    threading.Thread(target=_read, args=arguments, daemon=True).start()
    threading.Thread(target=_foresee, args=(worker, forecasts), daemon=True).start()
    while (request := requests.get()) is not None:
        worker.serve(request)
    os._exit(0)


if __name__ == "__main__":
    main()
