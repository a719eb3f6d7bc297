"""Long work beside the chat: downloads, quantisations and verifications, each a child process.

One runs at a time, the others wait their turn; all of it goes on while one chats. Pausing
interrupts the command as Ctrl-C does, which leaves what it did so that the same command goes on
from there. What is not complete is noted, so that the next start can offer to go on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .job import Job, Task
from .job_events import (
    Failure,
    Finished,
    JobEvent,
    Notice,
    Planned,
    Progress,
    Started,
    Stopped,
    Verified,
)
from .job_notes import forget, note, noted
from .job_process import COMMAND, Child, ask
from .words import say

_PATIENCE = 6.0  # seconds that an interrupted child may take before it is killed


class Jobs:
    """All work of this session, in the order it was asked for. Everything runs in one event loop.

    Args:
        folder: Where unfinished work is noted.
        command: What stands before the arguments of ``mlxqwen``.
    """

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self._folder = folder
        self._command = tuple(command)
        self._listed: list[Job] = []
        self._watchers: list[Callable[[Job], None]] = []
        self._running: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._now: Job | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._closing = False
        self._asking: set[asyncio.Future[list[JobEvent]]] = set()

    @property
    def listed(self) -> Sequence[Job]:
        """Every job that has not been cleared away."""
        return tuple(self._listed)

    @property
    def running(self) -> Job | None:
        """The one at work."""
        return self._now

    @property
    def online(self) -> bool:
        """Whether a job that may open network connections is at work."""
        return self._now is not None and self._now.task.network

    def watch(self, watcher: Callable[[Job], None]) -> Callable[[], None]:
        """Call ``watcher`` whenever a job changes, until what is returned is called."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def add(self, task: Task) -> Job:
        """Queue ``task``; asked for a second time, what was paused or failed goes on."""
        for job in self._listed:
            if job.task.key == task.key and job.state != "done":
                self.resume(job)
                return job
        job = Job(task)
        self._listed.append(job)
        note(self._folder, task)
        self._changed(job)
        self._advance()
        return job

    def pause(self, job: Job) -> None:
        """Let it come to rest; what it did is kept. A verification keeps nothing, so it ends."""
        if job.task.kind == "verify":
            self.clear(job)
        elif job.state == "waiting":
            job.state = "paused"
            self._changed(job)
        elif job.state == "running":
            self._interrupt(job)

    def resume(self, job: Job) -> None:
        """Queue what was paused or failed once more."""
        if job.state in ("paused", "failed"):
            job.state, job.failure, job.progress, job.notice = "waiting", None, None, ""
            self._changed(job)
            self._advance()

    def clear(self, job: Job) -> None:
        """Take it off the list, ending it where it runs. What it did stays on the disk."""
        job.forgotten = True
        if job.state == "running":
            self._interrupt(job)
        elif job.state != "ending":
            self._remove(job)

    async def ask(self, kind: str, arguments: Sequence[str]) -> list[JobEvent]:
        """What a short command says, beside the queue and offline; ends with whoever waits for it.

        Raises ``OSError`` where it cannot be run.
        """
        asking = asyncio.ensure_future(ask(kind, arguments, command=self._command))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.cancel()
            raise

    async def remember(self) -> None:
        """List, as paused, what earlier sessions left unfinished."""
        tasks = await asyncio.to_thread(noted, self._folder)
        known = {job.task.key for job in self._listed}
        for task in tasks:
            if task.key not in known:
                self._listed.append(Job(task, "paused"))
                self._changed(self._listed[-1])

    async def close(self) -> None:
        """Interrupt what runs and wait until it has ended; it can be resumed the next time."""
        self._closing = True
        asking = tuple(self._asking)
        for question in asking:
            question.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if self._now is not None and self._now.state == "running":
            self._interrupt(self._now)
        if self._running is not None:
            await self._running

    def _advance(self) -> None:
        if self._now is not None or self._closing:
            return
        for job in self._listed:
            if job.state == "waiting":
                self._now = job
                job.state = "running"
                self._running = asyncio.create_task(self._run(job))
                self._changed(job)
                return

    async def _run(self, job: Job) -> None:
        task = job.task
        try:
            self._child = child = await Child.begin(
                self._command, task.kind, task.arguments, network=task.network
            )
        except OSError as error:
            what = say("jobs.cannot_run", error=error.strerror or error)
            self._settle(job, Failure("OSError", what, ""))
            return
        if job.state == "ending":
            child.signal(signal.SIGINT)
        cause = await child.listen(partial(self._take, job))
        self._child = None
        self._settle(job, cause)

    def _take(self, job: Job, event: JobEvent) -> None:
        match event:
            case Started():
                job.started = event
            case Progress():
                job.progress = event
                job.notice = ""
            case Planned():
                job.planned = event
            case Notice(text):
                job.notice = text
            case Finished(path):
                job.path = path
            case Failure():
                job.failure = event
            case Verified():
                job.verified = event
            case Stopped():
                pass
        self._changed(job)

    def _settle(self, job: Job, cause: Failure | None) -> None:
        """What has become of a job whose process has ended."""
        asked = job.state == "ending"
        self._now = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if job.path or job.verified is not None or cause is None:
            job.state, job.failure = "done", None
        elif asked:
            job.state, job.failure = "paused", None
        else:
            job.state, job.failure = "failed", job.failure or cause
        if job.forgotten:
            self._remove(job)
        else:
            if job.state == "done":
                forget(self._folder, job.task)
            self._changed(job)
        self._advance()

    def _interrupt(self, job: Job) -> None:
        job.state = "ending"
        self._signal(signal.SIGINT)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(_PATIENCE, self._signal, signal.SIGKILL)
        self._changed(job)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.signal(number)

    def _changed(self, job: Job) -> None:
        for watcher in tuple(self._watchers):
            watcher(job)

    def _remove(self, job: Job) -> None:
        if job in self._listed:
            self._listed.remove(job)
        forget(self._folder, job.task)
        self._changed(job)
