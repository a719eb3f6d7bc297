"""One piece of long work: what to run, and how it fares."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from .job_events import Failure, Planned, Progress, Started, Verified

Kind = Literal["pull", "quantize", "verify"]
State = Literal["waiting", "running", "ending", "paused", "done", "failed"]

KINDS: tuple[Kind, ...] = ("pull", "quantize", "verify")


@dataclass(frozen=True, slots=True)
class Task:
    """Work to do.

    Attributes:
        name: What it is about, for people.
        arguments: Of the command ``mlxqwen KIND``, without ``--json``.
        network: Whether it may open network connections: only where a person asked for that.
    """

    kind: Kind
    name: str
    arguments: tuple[str, ...]
    network: bool = False

    @property
    def key(self) -> str:
        """The same for the same work, however often it is asked for."""
        return sha256(json.dumps([self.kind, *self.arguments]).encode()).hexdigest()[:16]


@dataclass(slots=True)
class Job:
    """A task and how it fares; changed only by ``Jobs``."""

    task: Task
    state: State = "waiting"
    progress: Progress | None = None
    planned: Planned | None = None
    started: Started | None = None
    notice: str = ""
    failure: Failure | None = None
    verified: Verified | None = None
    path: str = ""
    forgotten: bool = field(default=False, repr=False)

    @property
    def active(self) -> bool:
        """It runs, or will."""
        return self.state in ("waiting", "running", "ending")
