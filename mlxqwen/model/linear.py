"""Matrix products over stored weights, quantised or not; which class serves is decided once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, cast

import mlx.core as mx

from .quantspec import QuantSpec


class Projection(Protocol):
    """Anything that maps the last axis: ``(..., in) -> (..., out)``."""

    def __call__(self, x: mx.array) -> mx.array: ...


@dataclass(frozen=True, slots=True)
class Linear:
    """``x Wᵀ + b`` with ``weight`` (out, in) and ``bias`` (out,) or None."""

    weight: mx.array
    bias: mx.array | None

    def __call__(self, x: mx.array) -> mx.array:
        """``(..., in) -> (..., out)``."""
        if self.bias is None:
            return x @ self.weight.T
        return mx.addmm(self.bias, x, self.weight.T)


@dataclass(frozen=True, slots=True)
class QuantizedLinear:
    """The same over packed weights.

    Shapes: ``weight`` (out, in·bits/32) uint32, ``scales`` and ``biases`` (out, in/group);
    the mx and nv modes have no ``biases``.
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    bias: mx.array | None
    spec: QuantSpec

    def __call__(self, x: mx.array) -> mx.array:
        """``(..., in) -> (..., out)``."""
        y = mx.quantized_matmul(
            x,
            self.weight,
            self.scales,
            self.biases,
            transpose=True,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
        )
        return y if self.bias is None else y + self.bias


@dataclass(frozen=True, slots=True)
class Joined:
    """Projections of one input that cannot be one matrix (other bits or groups), side by side."""

    parts: tuple[Projection, ...]

    def __call__(self, x: mx.array) -> mx.array:
        """``(..., in) -> (..., out₁ + out₂ + …)``."""
        return mx.concatenate([part(x) for part in self.parts], axis=-1)


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token vectors, ``weight`` (V, D); serves as the output head of tied models."""

    weight: mx.array

    def __call__(self, tokens: mx.array) -> mx.array:
        """``(B, L) -> (B, L, D)``."""
        return self.weight[tokens]

    def as_head(self) -> Projection:
        """The tied output head ``(..., D) -> (..., V)``."""
        return Linear(self.weight, None)


@dataclass(frozen=True, slots=True)
class QuantizedEmbedding:
    """Token vectors from packed rows; shapes as ``QuantizedLinear``."""

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    spec: QuantSpec
    dtype: mx.Dtype

    def __call__(self, tokens: mx.array) -> mx.array:
        """``(B, L) -> (B, L, D)``."""
        biases = None if self.biases is None else self.biases[tokens]
        return mx.dequantize(
            self.weight[tokens],
            self.scales[tokens],
            biases,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
            dtype=self.dtype,
        )

    def as_head(self) -> Projection:
        """The tied output head ``(..., D) -> (..., V)``."""
        return QuantizedLinear(self.weight, self.scales, self.biases, None, self.spec)


@dataclass(frozen=True, slots=True)
class Stored:
    """A matrix, or a stack of them, as a checkpoint holds it; unquantised where ``spec`` is None.

    Output rows are the last axis but one of every part, packed or not, so rows can be reordered and
    concatenated without touching a value: groups run along the input.
    """

    weight: mx.array
    scales: mx.array | None
    biases: mx.array | None
    spec: QuantSpec | None

    def reordered(self, order: mx.array) -> Stored:
        """With output rows in another order, ``order`` (out,)."""
        return Stored(
            self.weight[..., order, :],
            None if self.scales is None else self.scales[..., order, :],
            None if self.biases is None else self.biases[..., order, :],
            self.spec,
        )


def join_rows(matrices: Sequence[Stored]) -> Stored:
    """Matrices of one quantisation, one above the other."""
    scales = [m.scales for m in matrices if m.scales is not None]
    biases = [m.biases for m in matrices if m.biases is not None]
    return Stored(
        join([m.weight for m in matrices], axis=-2),
        join(scales, axis=-2) if scales else None,
        join(biases, axis=-2) if biases else None,
        matrices[0].spec,
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """A matrix with its bias (out,)."""

    matrix: Stored
    bias: mx.array | None

    def reordered(self, order: mx.array) -> Rows:
        """With outputs in another order."""
        return Rows(self.matrix.reordered(order), None if self.bias is None else self.bias[order])


def fuse(parts: Sequence[Rows]) -> Projection:
    """Projections of one input as a single matrix, outputs in the order given.

    Concatenating rows leaves every product as it is, bit for bit: each output row has its own
    weights, scales and groups. Parts that are quantised differently stay apart (``Joined``).
    """
    if len({part.matrix.spec for part in parts}) > 1:
        return Joined(tuple(fuse([part]) for part in parts))
    matrix = join_rows([part.matrix for part in parts])
    biases = [part.bias for part in parts if part.bias is not None]
    bias = join(biases) if biases else None
    if matrix.spec is None or matrix.scales is None:
        return Linear(matrix.weight, bias)
    return QuantizedLinear(matrix.weight, matrix.scales, matrix.biases, bias, matrix.spec)


def join(arrays: list[mx.array], axis: int = 0) -> mx.array:
    """Concatenation that leaves a single array as it is."""
    return arrays[0] if len(arrays) == 1 else mx.concatenate(arrays, axis=axis)


def arrays_of(module: object) -> Iterator[mx.array]:
    """Every array that a module, built of dataclasses, tuples and lists, holds."""
    if isinstance(module, mx.array):
        yield module
    elif isinstance(module, tuple | list):
        for item in cast(list[object], module):
            yield from arrays_of(item)
    elif is_dataclass(module):
        for field in fields(module):
            value: Any = object.__getattribute__(module, field.name)
            yield from arrays_of(value)
