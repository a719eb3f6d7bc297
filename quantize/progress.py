"""What a quantisation tells while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Stage = Literal["fetch", "plan", "calibrate", "fit", "refine", "quantise", "check", "publish"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One report. Tensors and shards are those of the source; bytes are of tensor data.

    While rounding, the counts of tensors, shards and bytes say how far it is, those of an earlier
    run included (then ``bytes_resumed`` of the bytes read need no work now). Other stages count
    ``done`` of ``total`` units of their own. ``message`` is what happens just now, in a few words.

    ``notices`` are sentences for the user, the same in every report of a run: what is left out of
    the source, and that its weights are rounded a second time.
    """

    stage: Stage
    tensors_done: int = 0
    tensors_total: int = 0
    bytes_read: int = 0
    bytes_read_total: int = 0
    bytes_written: int = 0
    bytes_written_total: int = 0
    notices: tuple[str, ...] = ()
    shards_done: int = 0
    shards_total: int = 0
    bytes_resumed: int = 0
    done: int = 0
    total: int = 0
    message: str = ""

    @classmethod
    def of(cls, stage: Stage, done: int, total: int, message: str = "") -> Self:
        """A report of a stage that counts units of its own: layers, documents, files."""
        return cls(stage, done=done, total=total, message=message)


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What was published: ``nbytes`` counts the safetensors files, ``seconds`` the whole call.

    ``notices`` as in ``Progress``.
    """

    path: Path
    shards: int
    tensors: int
    parameters: int
    nbytes: int
    bits_per_weight: float
    seconds: float
    notices: tuple[str, ...] = ()
