"""What a quantisation tells while it runs and when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Stage = Literal["plan", "quantise", "publish"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One report. Tensors are those of the source; bytes are of tensor data, read and written."""

    stage: Stage
    tensors_done: int
    tensors_total: int
    bytes_read: int
    bytes_read_total: int
    bytes_written: int
    bytes_written_total: int


@dataclass(frozen=True, slots=True)
class Result:
    """What was published: ``nbytes`` counts the safetensors files, ``seconds`` the whole call."""

    path: Path
    shards: int
    tensors: int
    parameters: int
    nbytes: int
    bits_per_weight: float
    seconds: float
