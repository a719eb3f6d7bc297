"""Rounded matrices whose scales and biases can be learned.

What is learned are offsets of a group's width and of its middle, each in how far it moves a typical
weight, in units of the group's scale. So one learning rate suits every matrix and width, neither
works against the other, and zero is the rounding that learning starts from. The codes stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.stored import FileReader
from mlxqwen.model.linear import Stored

from .guidance import Guidance
from .plan import Job, Plan, Step
from .rounding import Affine
from .rounds import round_job

# As the pipeline's: what is read and searched at once.
_CHUNK_BYTES = 16 << 20

# With eight bits there is next to nothing to win.
_MOST_BITS = 6

_FORMATS: Mapping[str, tuple[str, mx.Dtype]] = {
    "U8": ("B", mx.uint8),
    "U32": ("I", mx.uint32),
    "BF16": ("H", mx.bfloat16),
    "F16": ("H", mx.float16),
    "F32": ("I", mx.float32),
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix as the output will hold it: ``parts`` are (weight, scales[, biases]), each (R, …).

    Leading axes of a stack are flattened. ``is_copy`` where the source held it in this very form.
    """

    step: Step
    spec: QuantSpec
    parts: tuple[mx.array, ...]
    is_copy: bool

    @property
    def module(self) -> str:
        return self.step.tensor.module

    @property
    def is_learnable(self) -> bool:
        """Whether scales and biases are ours to choose, and matter."""
        return is_learnable(self.spec) and not self.is_copy

    def zeros(self) -> dict[str, mx.array]:
        """The offsets to start from, by tensor name."""
        shape = self.parts[1].shape
        return {f"{self.module}.{kind}": mx.zeros(shape) for kind in ("scales", "biases")}

    def moved(
        self, offsets: Mapping[str, mx.array], *, as_stored: bool = False
    ) -> dict[str, mx.array]:
        """Scales and biases (R, groups) at ``offsets``, by tensor name.

        Args:
            as_stored: In the dtype of the output; else float32, differentiable in ``offsets``.
        """
        last = 2**self.spec.bits - 1
        scales, biases = (part.astype(mx.float32) for part in self.parts[1:])
        by_scale, by_bias = (offsets[f"{self.module}.{kind}"] for kind in ("scales", "biases"))
        unit = mx.abs(scales)
        # Evenly spread codes stand sqrt(1/12) of their range from the middle of it.
        stretch = unit * by_scale * (math.sqrt(12) / last)
        moved = {
            f"{self.module}.scales": scales + stretch,
            f"{self.module}.biases": biases + unit * by_bias - stretch * (last / 2),
        }
        if not as_stored:
            return moved
        return {name: value.astype(self.parts[1].dtype) for name, value in moved.items()}

    def stored(self, dtype: mx.Dtype, affine: Mapping[str, mx.array]) -> Stored:
        """To compute with in ``dtype``; scales and biases are those in ``affine`` where named."""
        names = ("weight", "scales", "biases")
        parts = [
            affine.get(f"{self.module}.{name}", part)
            for name, part in zip(names, self.parts, strict=False)
        ]
        lead = self.step.tensor.shape[:-1]
        shaped = [
            part.reshape(*lead, part.shape[-1]).astype(
                dtype if mx.issubdtype(part.dtype, mx.floating) else part.dtype
            )
            for part in parts
        ]
        return Stored(shaped[0], shaped[1], shaped[2] if len(shaped) > 2 else None, self.spec)


def is_learnable(spec: QuantSpec) -> bool:
    """Whether learning can win something with such scales."""
    return spec.mode == "affine" and spec.bits <= _MOST_BITS


def packed_matrices(plan: Plan, prefix: str, guidance: Guidance) -> dict[str, Packed]:
    """By module, the matrices whose names begin with ``prefix``, rounded as the pipeline will.

    Raises:
        CheckpointError: The source cannot be read.
    """
    reader = FileReader()
    found: dict[str, list[tuple[Job, tuple[mx.array, ...]]]] = {}
    for job in plan.jobs(_CHUNK_BYTES):
        if job.step.spec is not None and job.step.tensor.name.startswith(prefix):
            rounded = round_job(job, reader, guidance, plan.recipe.rounding)
            parts = _arrays(rounded.parts, job.step)
            found.setdefault(job.step.tensor.module, []).append((job, parts))
    return {module: _whole(chunks) for module, chunks in found.items()}


def pairs(tensors: Mapping[str, mx.array]) -> dict[str, Affine]:
    """Scales and biases by module, from the same by tensor name."""
    modules = (name.removesuffix(".scales") for name in tensors if name.endswith(".scales"))
    return {m: (tensors[f"{m}.scales"], tensors[f"{m}.biases"]) for m in modules}


def fingerprint(former: str, tensors: Mapping[str, mx.array]) -> str:
    """SHA-256 in hex of a former digest and every number in ``tensors``."""
    digest = sha256(former.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.shape}\n".encode())
        # A memoryview knows no bfloat16.
        digest.update(memoryview(cast("Any", mx.contiguous(array).view(mx.uint8))))
    return digest.hexdigest()


def _whole(chunks: list[tuple[Job, tuple[mx.array, ...]]]) -> Packed:
    chunks.sort(key=lambda chunk: chunk[0].row)
    step = chunks[0][0].step
    assert step.spec is not None
    parts = tuple(mx.concatenate(list(p)) for p in zip(*(c[1] for c in chunks), strict=True))
    mx.eval(parts)
    is_copy = any(job.piece.part.spec == step.spec for job, _ in chunks)
    return Packed(step, step.spec, parts, is_copy)


def _arrays(data: tuple[memoryview, ...], step: Step) -> tuple[mx.array, ...]:
    """What rounding made for the outputs of ``step``, as rows again."""
    arrays: list[mx.array] = []
    for part, out in zip(data, step.outputs, strict=True):
        form, dtype = _FORMATS[out.dtype]
        raw = mx.array(cast("Any", part.cast(cast("Any", form))))
        arrays.append(raw.view(dtype).reshape(-1, out.shape[-1]))
    return tuple(arrays)
