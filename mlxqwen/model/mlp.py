"""The gated feed-forward of dense layers (SwiGLU, Shazeer 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .linear import Projection
from .params import Params


def swiglu(gate_up: mx.array) -> mx.array:
    """silu(gate) · up, ``(..., 2·I) -> (..., I)``; the first half is the gate."""
    gate, up = mx.split(gate_up, 2, axis=-1)
    return gate * mx.sigmoid(gate) * up


@dataclass(frozen=True, slots=True)
class MLP:
    """``down(silu(gate x) · up x)``, gate and up as one matrix."""

    gate_up_proj: Projection
    down_proj: Projection

    @classmethod
    def build(cls, params: Params, path: str, width: int, inner: int) -> MLP:
        """Takes the tensors under ``path``."""
        names = (f"{path}.gate_proj", f"{path}.up_proj")
        gate_up = params.fused(names, (inner, inner), width)
        return cls(gate_up, params.linear(f"{path}.down_proj", width, inner))

    def __call__(self, x: mx.array) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        return self.down_proj(swiglu(self.gate_up_proj(x)))
