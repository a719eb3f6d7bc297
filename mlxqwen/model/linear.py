"""Matrix products over stored weights, quantised or not, and how they are taken from a checkpoint.

``Params`` hands out tensors by their canonical names (Hugging Face's, with mlx-lm's ``switch_mlp``
for stacked experts) and forgets what it handed out, so that fusing two projections never keeps
the originals. Which class a projection gets is decided here, once, at construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, cast

import mlx.core as mx

from ..errors import CheckpointError
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


class Params:
    """The tensors of one checkpoint under their canonical names, taken one by one.

    Args:
        tensors: Name → array; arrays may be lazy.
        specs: Module path → ``QuantSpec`` of every quantised module.
        dtype: Floating tensors are cast to it as they are taken; None leaves them.
    """

    def __init__(
        self,
        tensors: Mapping[str, mx.array],
        specs: Mapping[str, QuantSpec] | None = None,
        dtype: mx.Dtype | None = None,
    ) -> None:
        self._tensors = dict(tensors)
        self._specs: Mapping[str, QuantSpec] = specs or {}
        self._dtype = dtype

    @property
    def dtype(self) -> mx.Dtype:
        """The dtype that floating tensors come out in."""
        if self._dtype is not None:
            return self._dtype
        return self._tensors["model.norm.weight"].dtype

    def remaining(self) -> tuple[str, ...]:
        """Names that nobody has taken."""
        return tuple(self._tensors)

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> mx.array:
        """The tensor ``name``, cast and no longer held here.

        Raises:
            CheckpointError: if it is missing or not of ``shape``.
        """
        array = self.take_optional(name)
        if array is None:
            raise CheckpointError(
                f"The checkpoint has no tensor {name}.",
                "It is incomplete or of another architecture; download it again.",
            )
        if shape is not None and array.shape != shape:
            raise CheckpointError(
                f"Tensor {name} has shape {array.shape} where config.json asks for {shape}.",
                "config.json and weights belong to different models; download both again.",
            )
        return array

    def take_optional(self, name: str) -> mx.array | None:
        """Like ``take``; None where the checkpoint has no such tensor."""
        array = self._tensors.pop(name, None)
        if array is None or self._dtype is None or not mx.issubdtype(array.dtype, mx.floating):
            return array
        return array.astype(self._dtype)

    def spec(self, module: str) -> QuantSpec | None:
        """How ``module`` is quantised; None where it is not."""
        return self._specs.get(module)

    def weight(
        self, module: str, out: int, width: int, lead: tuple[int, ...] = ()
    ) -> tuple[mx.array, mx.array | None, mx.array | None]:
        """``weight``, ``scales`` and ``biases`` of ``module``, shapes checked.

        The logical matrix is ``(*lead, out, width)``; the last two are None where it is stored
        unquantised, and ``biases`` also in the modes that have none.
        """
        spec = self.spec(module)
        if spec is None:
            return self.take(f"{module}.weight", (*lead, out, width)), None, None
        packed = (*lead, out, width * spec.bits // 32)
        grouped = (*lead, out, width // spec.group_size)
        weight = self.take(f"{module}.weight", packed)
        scales = self.take(f"{module}.scales", grouped)
        biases = self.take(f"{module}.biases", grouped) if spec.mode == "affine" else None
        return weight, scales, biases

    def embedding(self, module: str, vocab: int, width: int) -> Embedding | QuantizedEmbedding:
        """The embedding table stored under ``module``."""
        weight, scales, biases = self.weight(module, vocab, width)
        spec = self.spec(module)
        if spec is None or scales is None:
            return Embedding(weight)
        return QuantizedEmbedding(weight, scales, biases, spec, self.dtype)

    def linear(self, module: str, out: int, width: int, bias: bool = False) -> Projection:
        """The projection stored under ``module``, ``(..., width) -> (..., out)``."""
        return self.fused((module,), (out,), width, bias)

    def fused(
        self, modules: tuple[str, ...], outs: tuple[int, ...], width: int, bias: bool = False
    ) -> Projection:
        """Several projections of one input as a single matrix, outputs in the order given.

        Concatenating rows leaves every product as it is, bit for bit: each output row has its own
        weights, scales and groups. Modules quantised differently stay apart (``Joined``).
        """
        specs = {self.spec(module) for module in modules}
        if len(specs) > 1:
            parts = zip(modules, outs, strict=True)
            return Joined(tuple(self.linear(module, out, width, bias) for module, out in parts))
        taken = [self.weight(m, out, width) for m, out in zip(modules, outs, strict=True)]
        biases = (
            [self.take(f"{m}.bias", (out,)) for m, out in zip(modules, outs, strict=True)]
            if (bias)
            else []
        )
        weight = join([part[0] for part in taken])
        spec = specs.pop()
        if spec is None:
            return Linear(weight, join(biases) if bias else None)
        return QuantizedLinear(
            weight,
            join([part[1] for part in taken if part[1] is not None]),
            join([part[2] for part in taken if part[2] is not None])
            if taken[0][2] is not None
            else None,
            join(biases) if bias else None,
            spec,
        )


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
