"""AdamW over a flat dictionary of parameters, typed, fused and easy to save.

``mlx.optimizers`` has the same method but no type stubs, and its state hides the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

_BETAS = (0.9, 0.98)
_EPS = 1e-8
_DECAY = 0.05
_LONGEST = 1.0  # gradients are scaled down to this length


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate: a line up to ``peak``, then half a cosine down to ``rest`` of it."""

    peak: float
    warmup: int
    steps: int
    rest: float = 0.04

    def __call__(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.peak * (self.rest + (1 - self.rest) * 0.5 * (1 + math.cos(math.pi * done)))


def _update(
    parameter: mx.array,
    m: mx.array,
    v: mx.array,
    gradient: mx.array,
    scale: mx.array,
    rate: mx.array,
    corrections: mx.array,
) -> tuple[mx.array, mx.array, mx.array]:
    """Loshchilov and Hutter 2017 (arXiv 1711.05101), with the bias corrections of Adam."""
    gradient = gradient * scale
    m = _BETAS[0] * m + (1 - _BETAS[0]) * gradient
    v = _BETAS[1] * v + (1 - _BETAS[1]) * gradient * gradient
    step = (m / corrections[0]) / (mx.sqrt(v / corrections[1]) + _EPS)
    return parameter * (1 - rate * _DECAY) - rate * step, m, v


_fused_update = mx.compile(_update)


class AdamW:
    """Moments of every parameter, and the number of updates made."""

    def __init__(self, parameters: Mapping[str, mx.array]) -> None:
        self.m = {name: mx.zeros_like(value) for name, value in parameters.items()}
        self.v = {name: mx.zeros_like(value) for name, value in parameters.items()}
        self.step = 0

    def update(
        self, parameters: dict[str, mx.array], gradients: Mapping[str, mx.array], rate: float
    ) -> None:
        """One step on ``parameters``, in place, with the gradients clipped by their global norm."""
        squares = mx.stack([mx.square(value).sum() for value in gradients.values()]).sum()
        scale = mx.minimum(1.0, _LONGEST / (mx.sqrt(squares) + 1e-6))
        self.step += 1
        corrections = mx.array([1 - beta**self.step for beta in _BETAS])
        speed = mx.array(rate)
        for name, gradient in gradients.items():
            parameters[name], self.m[name], self.v[name] = _fused_update(
                parameters[name],
                self.m[name],
                self.v[name],
                gradient,
                scale,
                speed,
                corrections,
            )
        mx.eval(parameters, self.m, self.v)
