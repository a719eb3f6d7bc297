"""One job: rows of a source tensor become bytes of the output, and what that did to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import mlx.core as mx

from mlxqwen.checkpoint.numbers import packed_rows, part_rows
from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.stored import Stored, float_dtype
from mlxqwen.errors import CheckpointError

from .guidance import Guidance
from .plan import Job
from .recipes import Rounding
from .rounding import Errors, copy_packed, error_of, on_gpu, round_rows

# Where no GPU makes it cheap, one of so many rows of one of so many jobs of a tensor is compared
# with its original. Of every job it would cost a quarter of the work: some 20 operations each.
_ROWS, _JOBS = 16, 4

# Infinite and NaN have all exponent bits set: as integers they are the largest, the negative ones
# among unsigned numbers. Two integer maxima cost a tenth of what mx.isfinite does on a CPU.
_INFINITY = {
    mx.bfloat16: (mx.int16, 0x7F80, mx.uint16, 0xFF80),
    mx.float16: (mx.int16, 0x7C00, mx.uint16, 0xFC00),
    mx.float32: (mx.int32, 0x7F800000, mx.uint32, 0xFF800000),
}


@dataclass(frozen=True, slots=True)
class Rounded:
    """The bytes for each output of a job's step, and the error of its sampled rows.

    ``errors`` is None where nothing was rounded or compared.
    """

    parts: tuple[memoryview, ...]
    errors: Errors | None

    def checksum(self) -> int:
        """CRC-32 of all parts, one after another."""
        value = 0
        for part in self.parts:
            value = crc32(part, value)
        return value


def round_job(job: Job, stored: Stored, guidance: Guidance, rounding: Rounding) -> Rounded:
    """Read, round and compare.

    Raises:
        CheckpointError: The source cannot be read, or has numbers that are not finite.
    """
    step, part, span = job.step, job.piece.part, (job.start, job.stop)
    spec = step.spec
    if spec is not None and part.spec == spec:
        # The numbers have that form already: rounding again could only move them.
        return Rounded(copy_packed(packed_rows(part, stored, *span), step.dtype), None)
    rows = part_rows(part, stored, *span, plus_one=step.tensor.plus_one)
    rows = mx.contiguous(rows.astype(float_dtype(step.dtype)))
    if not _is_finite(rows):
        info = part.views[0].info
        raise CheckpointError(
            f"{info.path}: {info.name} has numbers that are infinite, not a number, or too large "
            f"for {step.dtype}.",
            "The file is damaged, or its training diverged: download it again.",
        )
    if spec is None:
        return Rounded(round_rows(rows, step.dtype, None), None)
    module, row = step.tensor.module, job.row
    last = row + job.stop - job.start
    weights = guidance.weights_of(module, step.tensor.shape[-2], row, last)
    affine = guidance.affine_of(module, row, last)
    parts = round_rows(rows, step.dtype, spec, rounding, weights, affine)
    if not _has_finite_scales(parts, spec, step.dtype):
        info = part.views[0].info
        raise CheckpointError(
            f"{info.path}: {info.name} has numbers so far apart that their scale exceeds "
            f"{step.dtype}.",
            "The file is damaged, or its training diverged: download it again.",
        )
    span = _sample(job)
    errors = None if span is None else error_of(rows, parts, spec, step.dtype, span=span)
    return Rounded(parts, errors)


def _sample(job: Job) -> tuple[int, int] | None:
    """Rows side by side, at a place that is the same in every run; None in most jobs."""
    rows = job.stop - job.start
    if on_gpu():
        return 0, rows
    if job.row // rows % _JOBS:
        return None
    count = -(-rows // _ROWS)
    start = crc32(f"{job.step.tensor.name} {job.row}".encode()) % (rows - count + 1)
    return start, start + count


def _has_finite_scales(parts: tuple[memoryview, ...], spec: QuantSpec, dtype: str) -> bool:
    if not spec.has_biases:
        return True
    return all(
        _is_finite(mx.array(cast("Any", data)).view(float_dtype(dtype))) for data in parts[1:]
    )


def _is_finite(rows: mx.array) -> bool:
    if not rows.size:
        return True
    signed, positive, unsigned, negative = _INFINITY[rows.dtype]
    fine = (mx.max(rows.view(signed)) < positive) & (mx.max(rows.view(unsigned)) < negative)
    mx.eval(rows, fine)
    return bool(fine.item())
