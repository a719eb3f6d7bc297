"""Scales and biases of less error than ``mx.quantize`` finds, in the very same format.

``mx.quantize`` spans each group's smallest and largest weight. A narrower or shifted range often
costs less: the few weights at its ends move further, all others less. Which range is best is not a
smooth question, since every range has its own codes; so a few ranges are tried, each with the scale
and bias that fit its codes best by least squares, and the best one is improved by finding codes and
fitting in turn. All groups of a block are searched together, in columns, and each is independent of
the others: the bytes do not depend on how rows are cut into blocks.

With importance weights every sum is weighted, and more ranges are tried: where few weights matter,
the best range can be much narrower.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec

from .packing import pack_columns

# How many steps the two ends of a range move inwards. Choice and order are greedy, by what each
# adds to those before it on Gaussian, Laplace and Student-t weights of 3 to 6 bits: 256 starts
# would find one per cent more than these.
_STARTS = (
    (0.25, 0.25),
    (0.75, 0.0),
    (0.0, 0.5),
    (0.5, 0.0),
    (0.25, 0.5),
    (0.5, 0.25),
    (-0.25, 0.5),
    (0.0, 0.0),
    (0.25, -0.25),
    (0.0, 0.25),
    (0.5, 0.5),
    (0.0, 0.75),
)
# The same under weights, chosen with log-normal ones: of the range of all weights, and of the range
# of those that count at least a quarter of the mean, which is where the best range often lies.
_WEIGHTED_STARTS = (
    (0.75, 0.0),
    (0.0, 0.5),
    (0.25, 0.25),
    (0.5, 0.25),
    (0.25, 0.75),
    (0.75, 0.75),
    (0.0, 0.0),
    (0.25, 1.0),
    (1.0, 0.5),
)
_DRIVEN_STARTS = (
    (0.25, 0.25),
    (0.0, 0.0),
    (0.0, -1.0),
    (-0.25, 0.25),
    (0.5, 0.0),
    (-1.0, -1.0),
    (-0.25, 0.5),
    (-1.0, 0.0),
    (0.25, -0.25),
)
_DRIVEN = 0.25
_TURNS = 2
# Weights searched at once: on a CPU so few that a dozen arrays of them stay in a core's cache, on a
# GPU enough to be worth a launch. Not compiled: functions of mx.compile that several threads have
# run end some processes of MLX 0.32 with an abort.
_BLOCK = 1 << 17
_BLOCK_GPU = 1 << 21
# A step below this has no inverse in float32, and no group of a model is so narrow.
_SMALLEST = 1e-30
# In steps of the widest range.
_LEAST = 1e-3


def search_affine(
    rows: mx.array, spec: QuantSpec, weights: mx.array | None = None
) -> tuple[mx.array, mx.array, mx.array]:
    """Packed codes, scales and biases of rows (any, width), shaped and typed as ``mx.quantize``.

    No group's error, Σ weight · (w − ŵ)² with ŵ from scale and bias as stored, is above that of
    ``mx.quantize``.

    Args:
        weights: How much each input counts, (1 or any, width), not negative; all alike by default.
    """
    width, group = rows.shape[-1], spec.group_size
    gpu = mx.default_device().type == mx.DeviceType.gpu
    take = max(1, (_BLOCK_GPU if gpu else _BLOCK) // width)
    blocks: list[list[mx.array]] = [[], [], []]
    for start in range(0, rows.shape[0], take):
        block = rows[start : start + take]
        own = weights
        if weights is not None:
            own = weights if weights.shape[0] == 1 else weights[start : start + take]
            own = mx.broadcast_to(own.astype(mx.float32), block.shape).reshape(-1, group)
        parts = _search(block.reshape(-1, group), spec, own)
        mx.eval(parts)
        for collected, part in zip(blocks, parts, strict=True):
            collected.append(part.reshape(block.shape[0], -1))
    words, scales, biases = (mx.concatenate(parts) for parts in blocks)
    return words, scales, biases


def _search(
    groups: mx.array, spec: QuantSpec, weights: mx.array | None
) -> tuple[mx.array, mx.array, mx.array]:
    """Of groups (n, group) with weights of the same shape."""
    words, scales, biases = mx.quantize(groups, group_size=spec.group_size, bits=spec.bits)
    floats = groups.astype(mx.float32)
    restored = mx.dequantize(
        words,
        scales.astype(mx.float32),
        biases.astype(mx.float32),
        group_size=spec.group_size,
        bits=spec.bits,
    )
    search = _Search.of(floats, weights, 2**spec.bits - 1)
    before = search.error(mx.contiguous(restored.T))
    error, scale, bias = search.stored(search.best_fit(), groups.dtype)
    inverse = mx.where(scale == 0, 0.0, 1 / scale)
    codes = _codes(search.columns, bias, inverse, search.last)
    # Written so that NaN, of a group without a range or a scale out of bounds, keeps the first.
    better = (error < before).T
    return (
        mx.where(better, pack_columns(codes, spec.bits), words),
        mx.where(better, scale.T.astype(groups.dtype), scales),
        mx.where(better, bias.T.astype(groups.dtype), biases),
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """Ranges (1, n): ``gain`` is the weighted power that they explain, in steps squared."""

    gain: mx.array
    step: mx.array
    low: mx.array

    def or_better(self, other: _Fit) -> _Fit:
        better = other.gain > self.gain
        return _Fit(
            mx.where(better, other.gain, self.gain),
            mx.where(better, other.step, self.step),
            mx.where(better, other.low, self.low),
        )


@dataclass(frozen=True, slots=True)
class _Search:
    """Groups in columns (group, n), and the same ``centred``: in steps of the widest range, about
    their weighted mean, which lies ``mean`` steps above the smallest weight."""

    columns: mx.array
    centred: mx.array
    weights: mx.array | None
    weighted: mx.array
    smallest: mx.array
    unit: mx.array
    inverse: mx.array
    mean: mx.array
    last: int

    @classmethod
    def of(cls, groups: mx.array, weights: mx.array | None, last: int) -> _Search:
        columns = mx.contiguous(groups.T)
        smallest = columns.min(axis=0, keepdims=True)
        unit = (columns.max(axis=0, keepdims=True) - smallest) * (1 / last)
        inverse = mx.where(unit > _SMALLEST, 1 / unit, 0.0)
        steps = (columns - smallest) * inverse
        if weights is None:
            mean = steps.mean(axis=0, keepdims=True)
            centred = steps - mean
            return cls(columns, centred, None, centred, smallest, unit, inverse, mean, last)
        own = mx.contiguous(weights.T)
        average = own.mean(axis=0, keepdims=True)
        # Inputs that were never driven leave all choices open: then all weights count alike.
        own = mx.where(average > 0, own / average, 1.0)
        mean = (own * steps).mean(axis=0, keepdims=True)
        centred = steps - mean
        return cls(columns, centred, own, own * centred, smallest, unit, inverse, mean, last)

    def fit(self, low: mx.array, step: mx.array) -> _Fit:
        """Codes of a range, then least squares for them.

        About the weighted mean of the weights the sums are small, and so is their rounding.
        """
        # Counted from the middle, which keeps their sums small as well.
        codes = _codes(self.centred, low, 1 / step, self.last) - self.last / 2
        own = codes if self.weights is None else self.weights * codes
        total = own.sum(axis=0, keepdims=True)
        square = (own * codes).sum(axis=0, keepdims=True)
        product = (self.weighted * codes).sum(axis=0, keepdims=True)
        average = total / self.centred.shape[0]
        spread = mx.maximum(square - total * average, 1e-6)
        # Weights that fall together to a point, or back to front, are no range to go on from.
        found = mx.maximum(product / spread, _LEAST)
        return _Fit(product * found, found, -found * (average + self.last / 2))

    def best_fit(self) -> _Fit:
        """The best of all starts, improved."""
        best = self._tried(
            -self.mean, mx.array(1.0), _STARTS if self.weights is None else _WEIGHTED_STARTS
        )
        if self.weights is not None:
            driven = self.weights >= _DRIVEN
            low = mx.where(driven, self.centred, mx.inf).min(axis=0, keepdims=True)
            high = mx.where(driven, self.centred, -mx.inf).max(axis=0, keepdims=True)
            step = mx.maximum((high - low) / self.last, _LEAST)
            best = best.or_better(self._tried(low, step, _DRIVEN_STARTS))
        for _ in range(_TURNS):
            best = best.or_better(self.fit(best.low, best.step))
        return best

    def _tried(
        self, low: mx.array, step: mx.array, starts: tuple[tuple[float, float], ...]
    ) -> _Fit:
        """The best of a range with its ends moved."""
        fits = (
            self.fit(low + below * step, step * ((self.last - below - above) / self.last))
            for below, above in starts
        )
        return reduce(_Fit.or_better, fits)

    def error(self, restored: mx.array) -> mx.array:
        """(1, n) in squared steps."""
        away = (self.columns - restored) * self.inverse
        square = away * away
        if self.weights is not None:
            square = self.weights * square
        return square.sum(axis=0, keepdims=True)

    def stored(self, fit: _Fit, dtype: mx.Dtype) -> tuple[mx.array, mx.array, mx.array]:
        """Error, scale and bias (1, n), float32 numbers of ``dtype``."""
        scale = (fit.step * self.unit).astype(dtype).astype(mx.float32)
        # What the scale lost is made good at the middle of the weights, not at code 0.
        codes = _codes(self.centred, fit.low, 1 / fit.step, self.last)
        own = codes if self.weights is None else self.weights * codes
        middle = self.smallest + self.mean * self.unit
        bias = middle - scale * own.mean(axis=0, keepdims=True)
        bias = bias.astype(dtype).astype(mx.float32)
        codes = _codes(self.columns, bias, 1 / scale, self.last)
        return self.error(scale * codes + bias), scale, bias


def _codes(columns: mx.array, low: mx.array, inverse: mx.array, last: int) -> mx.array:
    """Whole numbers from 0 to ``last``, as float32.

    Cutting off what follows the point, half a step further, takes a fifth of rounding's time.
    """
    steps = (columns - low) * inverse + 0.5
    return mx.clip(steps, 0, last + 0.5).astype(mx.uint8).astype(mx.float32)
