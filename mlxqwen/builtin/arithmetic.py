"""Exponentials that do not dominate training on a processor.

MLX's CPU backend calls the C library for each ``exp``: 11 ns a number, half of a training step. A
compiled chain of multiplications runs ten times faster, and its relative error of 5e-4 is far below
what training notices. Nothing that answers a user comes through here.
"""

from __future__ import annotations

from typing import Any, cast

import mlx.core as mx

_SQUARINGS = 10


def exp(x: mx.array) -> mx.array:
    """``exp(x)`` for x <= 80 as ``(1 + y + y²/2)^1024`` with ``y = x / 1024``; 0 far below."""
    y = mx.clip(x, -80.0, 80.0) * (1.0 / 2**_SQUARINGS)
    power = 1.0 + y + 0.5 * y * y
    for _ in range(_SQUARINGS):
        power = power * power
    return power


def _swiglu(gate: mx.array, up: mx.array) -> mx.array:
    return gate * up / (1.0 + exp(-gate))


def _swiglu_back(gate: mx.array, up: mx.array, grad: mx.array) -> tuple[mx.array, mx.array]:
    sigmoid = 1.0 / (1.0 + exp(-gate))
    return grad * up * sigmoid * (1.0 + gate * (1.0 - sigmoid)), grad * gate * sigmoid


def _exp_below(x: mx.array, top: mx.array) -> mx.array:
    return exp(x - top)


_forward = mx.compile(_swiglu)
_backward = mx.compile(_swiglu_back)
_shifted_exp = mx.compile(_exp_below)


def _swiglu_vjp(primals: Any, cotangent: Any, _output: Any) -> tuple[mx.array, mx.array]:
    return _backward(primals[0], primals[1], cotangent)


_differentiable = mx.custom_function(_forward)
_differentiable.vjp(_swiglu_vjp)


def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """silu(gate) · up, element by element."""
    return cast(mx.array, cast(Any, _differentiable)(gate, up))


def logsumexp(x: mx.array) -> mx.array:
    """Over the last axis, ``(..., V) -> (...)``; its gradient is the softmax.

    The sum of ``softmax · x`` carries that gradient, and a constant beside it sets the value.
    """
    top = mx.stop_gradient(x.max(axis=-1, keepdims=True))
    power = _shifted_exp(mx.stop_gradient(x), top)
    total = power.sum(axis=-1, keepdims=True)
    carrier = (mx.stop_gradient(power / total) * x).sum(axis=-1)
    value = (mx.log(total) + top).squeeze(-1)
    return carrier + mx.stop_gradient(value - carrier)
