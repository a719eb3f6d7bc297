"""What a quantisation tells while it runs and when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Stage = Literal["plan", "quantise", "publish"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One report. Tensors are those of the source; bytes are of tensor data, read and written.

    ``notices`` are sentences for the user, the same in every report: what is left out of the
    source, and that its weights are rounded a second time.
    """

    stage: Stage
    tensors_done: int
    tensors_total: int
    bytes_read: int
    bytes_read_total: int
    bytes_written: int
    bytes_written_total: int
    notices: tuple[str, ...] = ()


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
