"""What rounding did to a tensor, from rows before and after."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, cast

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.stored import float_dtype


@dataclass(frozen=True, slots=True)
class Errors:
    """Sums over weights w and what they are restored to, ŵ; ``add`` joins those of other rows.

    Attributes:
        squared: Σ(w − ŵ)².
        power: Σw².
        dot: Σwŵ.
        restored: Σŵ².
        largest: max |w − ŵ|.
        clipped: Weights more than half a step outside what their group can represent.
        nonfinite: Numbers that are infinite or NaN, before or after; the sums leave them out.
        count: Weights.
    """

    squared: float = 0.0
    power: float = 0.0
    dot: float = 0.0
    restored: float = 0.0
    largest: float = 0.0
    clipped: int = 0
    nonfinite: int = 0
    count: int = 0

    def add(self, other: Errors) -> Errors:
        """Of both together."""
        return Errors(
            self.squared + other.squared,
            self.power + other.power,
            self.dot + other.dot,
            self.restored + other.restored,
            max(self.largest, other.largest),
            self.clipped + other.clipped,
            self.nonfinite + other.nonfinite,
            self.count + other.count,
        )

    @property
    def relative_mse(self) -> float:
        """Σ(w − ŵ)² / Σw²; 0 where all weights are 0 and stayed so."""
        if self.power:
            return self.squared / self.power
        return 0.0 if self.squared == 0 else float("inf")

    @property
    def cosine(self) -> float:
        """Of the angle between weights and restored weights; 1 where both are 0."""
        if not self.power and not self.restored:
            return 1.0
        return self.dot / sqrt(self.power * self.restored) if self.power * self.restored else 0.0

    @property
    def clip_rate(self) -> float:
        """Share of the weights that were clipped."""
        return self.clipped / self.count if self.count else 0.0


def error_of(
    rows: mx.array,
    packed: tuple[memoryview, ...],
    spec: QuantSpec | None,
    target: str,
    *,
    span: tuple[int, int] | None = None,
) -> Errors:
    """The error of rows (any, width) whose bytes are ``packed``, as ``round_rows`` gave them.

    Args:
        target: The safetensors dtype of scales and biases, or of the numbers without a spec.
        span: The first and last row but one to look at, of both; all by default.
    """
    start, stop = (0, rows.shape[0]) if span is None else span
    width = rows.shape[-1]
    parts = tuple(
        _array(data, dtype, columns, start, stop)
        for data, (dtype, columns) in zip(packed, _forms(spec, target, width), strict=True)
    )
    before = rows[start:stop].astype(mx.float32)
    if spec is None:
        after, clipped = parts[0].astype(mx.float32), mx.zeros((), mx.uint32)
    else:
        after = _restore(parts, spec)
        low, high, step = _ends(parts, spec)
        clipped = ((before < low - step / 2) | (before > high + step / 2)).sum()
    finite = mx.isfinite(before) & mx.isfinite(after)
    zero = mx.zeros((), mx.float32)
    before, after = mx.where(finite, before, zero), mx.where(finite, after, zero)
    scale = _scale(before)
    before, after = before * scale, after * scale
    away = before - after
    pairs = ((away, away), (before, before), (before, after), (after, after))
    sums = [(one * other).sum() for one, other in pairs]
    sums += [mx.abs(away).max() if away.size else zero, scale]
    counts = mx.stack([clipped.astype(mx.uint32), (~finite).sum().astype(mx.uint32)])
    *squares, largest, factor = cast("list[float]", mx.stack(sums).tolist())
    squared, power, dot, restored = (value / factor / factor for value in squares)
    beyond, broken = cast("list[int]", counts.tolist())
    return Errors(squared, power, dot, restored, largest / factor, beyond, broken, before.size)


def _scale(rows: mx.array) -> mx.array:
    """A power of two by which the squares of ``rows`` neither overflow float32 nor vanish."""
    if not rows.size:
        return mx.array(1.0)
    most = mx.abs(rows).max()
    return mx.where(most > 2.0**40, 2.0**-90, mx.where(most < 2.0**-40, 2.0**80, 1.0))


def _forms(spec: QuantSpec | None, target: str, width: int) -> list[tuple[mx.Dtype, int]]:
    """Dtype and columns of each part."""
    if spec is None:
        return [(float_dtype(target), width)]
    words, groups = width * spec.bits // 32, width // spec.group_size
    if not spec.has_biases:
        return [(mx.uint32, words), (mx.uint8, groups)]
    return [(mx.uint32, words), (float_dtype(target), groups), (float_dtype(target), groups)]


def _array(data: memoryview, dtype: mx.Dtype, columns: int, start: int, stop: int) -> mx.array:
    row = columns * dtype.size
    raw = mx.array(cast("Any", data[start * row : stop * row]))
    return raw.view(dtype).reshape(stop - start, columns)


def _restore(parts: tuple[mx.array, ...], spec: QuantSpec) -> mx.array:
    codes, scales, *biases = parts
    floats = [part.astype(mx.float32) for part in biases]
    if biases:
        scales = scales.astype(mx.float32)
    return mx.dequantize(
        codes,
        scales,
        *floats,
        group_size=spec.group_size,
        bits=spec.bits,
        mode=spec.mode,
        dtype=None if biases else mx.float32,
    )


# Words of nothing but the largest code, 6 in float4 (e2m1) and 448 in float8 (e4m3), and what part
# of it the step below is.
_LARGEST = {
    "mxfp4": (0x77777777, 2 / 6),
    "nvfp4": (0x77777777, 2 / 6),
    "mxfp8": (0x7E7E7E7E, 32 / 448),
}


def _ends(parts: tuple[mx.array, ...], spec: QuantSpec) -> tuple[mx.array, mx.array, mx.array]:
    """Smallest and largest number of each weight's group, and the step at its ends."""

    def filled(word: int) -> mx.array:
        return _restore((mx.full(parts[0].shape, word, mx.uint32), *parts[1:]), spec)

    if spec.mode == "affine":
        first, last = filled(0), filled(0xFFFFFFFF)
        low, high = mx.minimum(first, last), mx.maximum(first, last)
        return low, high, (high - low) / (2**spec.bits - 1)
    word, step = _LARGEST[spec.mode]
    high = filled(word)
    return -high, high, high * step
