"""Commands of mlxqwen as child processes of the interface."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from .job_events import Failure, JobEvent, Reader

COMMAND = (sys.executable, "-m", "tui.leash")

_LONGEST_LINE = 8 << 20
_LAST_WORDS = 4096  # bytes of standard error worth showing


class Child:
    """A running command; its standard input is the leash that ends it with the interface."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._words = ""

    @classmethod
    async def begin(
        cls, command: Sequence[str], kind: str, arguments: Sequence[str], *, network: bool
    ) -> Child:
        """Start ``mlxqwen KIND`` with ``--json``; the first argument is a name or a path.

        Offline unless ``network``: then the environment is the user's own. Raises ``OSError``.
        """
        name, *options = arguments
        offline = {} if network else {"HF_HUB_OFFLINE": "1"}
        process = await asyncio.create_subprocess_exec(
            *command,
            kind,
            *options,
            "--json",
            "--",
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **offline, "PYTHONUNBUFFERED": "1"},
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        return cls(process)

    async def listen(self, take: Callable[[JobEvent], None]) -> Failure | None:
        """Hand what it says to ``take`` until it ends; then the cause, if that was no good end."""
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        await asyncio.gather(_read(stdout, take), self._hear(stderr))
        status = await self._process.wait()
        self._let_go()
        return _cause(status, self._words) if status else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to a process that may be gone."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once, and leave nothing of it behind."""
        self.signal(signal.SIGKILL)
        self._let_go()
        await self._process.wait()

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _hear(self, stream: asyncio.StreamReader) -> None:
        said = b""
        while piece := await stream.read(_LAST_WORDS):
            said = (said + piece)[-_LAST_WORDS:]
        self._words = said.decode(errors="replace")


async def ask(
    kind: str, arguments: Sequence[str], *, command: Sequence[str] = COMMAND
) -> list[JobEvent]:
    """Run a short command at once, offline, and return what it said; cancelled, it ends too.

    Raises ``OSError`` where it cannot be run.
    """
    child = await Child.begin(command, kind, arguments, network=False)
    events: list[JobEvent] = []
    try:
        cause = await child.listen(events.append)
    except asyncio.CancelledError:
        await child.kill()
        raise
    if cause is not None and not any(isinstance(event, Failure) for event in events):
        events.append(cause)
    return events


async def _read(lines: asyncio.StreamReader, take: Callable[[JobEvent], None]) -> None:
    reader = Reader()
    async for line in lines:
        event = reader.feed(line.decode(errors="replace"))
        if event is not None:
            take(event)


def _cause(status: int, words: str) -> Failure:
    """Why a child ended that did not say so itself, in its language: the commands' English."""
    if status < 0:
        number = -status
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        why = " The system may have run out of memory." if number == signal.SIGKILL else ""
        return Failure("Killed", f"The process was ended by {name}.{why}", "")
    lines = [line for line in words.splitlines() if line.strip()]
    said = lines[-1].removeprefix("mlxqwen: ") if lines else f"It ended with status {status}."
    return Failure("Exit", said, "")
