"""One generation as its caller sees it: an iterator of events, sync or async, cancellable.

Events cross from the engine's thread to the caller's through ``Stream``; no MLX object does.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from ..errors import EngineError
from ..text.channels import Text, Thinking, ToolCall
from .events import Done, Event, Reason, Timings, Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer as a whole."""

    text: str
    thinking: str
    tool_calls: tuple[ToolCall, ...]
    reason: Reason
    usage: Usage
    timings: Timings


class Stream:
    """Where the engine's thread puts events and its caller takes them; for use by ``Engine``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._all: list[Event] = []
        self._failure: BaseException | None = None
        self._ended = False
        self._wakes: set[Callable[[], object]] = set()
        self.cancelled = threading.Event()

    def put(self, event: Event) -> None:
        """Hands an event over."""
        with self._changed:
            self._waiting.append(event)
            self._all.append(event)
            self._notify()

    def end(self, failure: BaseException | None) -> None:
        """Says that no event will follow; ``failure`` is raised to the caller."""
        with self._changed:
            self._failure = failure
            self._ended = True
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for wake in self._wakes:
            wake()

    def _pop(self) -> Event | None:
        """The next event; None where none is there yet. Call with the lock held."""
        if self._waiting:
            return self._waiting.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    def next(self) -> Event | None:
        """Waits for the next event; None after the last. Raises what the run raised."""
        with self._changed:
            while True:
                event = self._pop()
                if event is not None or self._ended:
                    return event
                self._changed.wait()

    async def next_async(self) -> Event | None:
        """``next`` for the running event loop."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                event = self._pop()
                if event is not None or self._ended:
                    return event
                ready = asyncio.Event()
                wake = partial(loop.call_soon_threadsafe, ready.set)
                self._wakes.add(wake)
            try:
                await ready.wait()
            finally:
                with self._changed:
                    self._wakes.discard(wake)

    def wait(self, timeout: float | None) -> list[Event]:
        """All events, once the run has ended. Raises what it raised, or ``TimeoutError``."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise TimeoutError(f"no answer within {timeout} s")
            if self._failure is not None:
                raise self._failure
            return list(self._all)


class Run:
    """A running generation: iterate over its events, or wait for its ``result``.

    ``for event in run`` and ``async for event in run`` yield ``Prefill``, ``Thinking``, ``Text``,
    ``ToolCall`` and at last ``Done``. Leaving a ``with run:`` block, or dropping the last
    reference, cancels it.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._stream.next()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._stream.next_async()
        if event is None:
            raise StopAsyncIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stops within one token or one prefill chunk; the engine stays usable.

        The events so far remain, and the last is ``Done`` with reason "cancelled".
        """
        self._stream.cancelled.set()

    def result(self, timeout: float | None = None) -> Reply:
        """Waits for the end and returns the whole answer, whatever was iterated before.

        Raises:
            TimeoutError: after ``timeout`` seconds; the run goes on.
            MlxqwenError: what the run itself raised.
        """
        events = self._stream.wait(timeout)
        done = events[-1] if events else None
        if not isinstance(done, Done):
            raise EngineError("The engine was closed before the run began.")
        return Reply(
            text="".join(event.text for event in events if isinstance(event, Text)),
            thinking="".join(event.text for event in events if isinstance(event, Thinking)),
            tool_calls=tuple(event for event in events if isinstance(event, ToolCall)),
            reason=done.reason,
            usage=done.usage,
            timings=done.timings,
        )
