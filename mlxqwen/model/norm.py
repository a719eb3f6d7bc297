"""RMS normalisation (Zhang and Sennrich 2019), and the weights that must not be rounded."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .config import ModelConfig
from .params import Params


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """``x / rms(x) · weight`` over the last axis.

    Zero-centred weights, stored as w and meant as 1 + w, stay in float32: rounding 1 + w to
    bfloat16 would keep only three bits of a w of 0.03. The product is then rounded once.
    """

    weight: mx.array
    eps: float

    @classmethod
    def build(cls, config: ModelConfig, params: Params, path: str, width: int) -> RMSNorm:
        """Takes ``path.weight`` (width,)."""
        name = f"{path}.weight"
        exact = config.zero_centred_norms
        weight = params.take_exact(name, (width,)) if exact else params.take(name, (width,))
        return cls(weight, config.rms_norm_eps)

    def __call__(self, x: mx.array) -> mx.array:
        """``(..., D) -> (..., D)`` in the dtype of ``x``."""
        return mx.fast.rms_norm(x, self.weight, self.eps).astype(x.dtype)
