"""Grouped-query attention with rotary positions, and q/k normalisation where the model has it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import mlx.core as mx

from .cache import KVCache, LayerState
from .config import ModelConfig, RopeConfig, YarnConfig
from .linear import Projection, fuse
from .norm import RMSNorm
from .params import Params
from .step import Step


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding of the half-split kind (Su et al. 2021).

    ``wavelengths`` (D/2,) replaces the powers of ``theta`` where YaRN asks for it.
    """

    dims: int
    theta: float
    wavelengths: mx.array | None

    def __call__(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """``(B, H, L, D) -> (B, H, L, D)``; ``offset`` is the position of the first token."""
        return mx.fast.rope(
            x,
            self.dims,
            traditional=False,
            base=None if self.wavelengths is not None else self.theta,
            scale=1.0,
            offset=offset,
            freqs=self.wavelengths,
        )


def make_rope(config: RopeConfig, dims: int) -> Rope:
    """The rotary embedding over the first ``dims`` of a head."""
    wavelengths = None if config.yarn is None else yarn_wavelengths(config.theta, dims, config.yarn)
    return Rope(dims, config.theta, wavelengths)


def yarn_wavelengths(theta: float, dims: int, yarn: YarnConfig) -> mx.array:
    """Reciprocal frequencies after YaRN, ``(dims/2,)`` float32.

    Method: Peng et al. 2023 (arXiv 2309.00071), section 3.2: dimensions that turn often keep their
    frequency, those that turn rarely are stretched by ``factor``, with a linear ramp between.
    """

    def dimension(rotations: float) -> float:
        length = yarn.original_max_position_embeddings
        return dims * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(yarn.beta_fast), dimension(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    if low == high:
        high += 0.001  # the ramp needs a width
    ramp = mx.clip((mx.arange(dims // 2, dtype=mx.float32) - low) / (high - low), 0, 1)
    plain = theta ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims)
    frequencies = ramp / (yarn.factor * plain) + (1 - ramp) / plain
    return 1.0 / frequencies


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's self-attention; the q, k and v projections are one matrix, gate included.

    A gated layer's ``q_proj`` holds per head the query's rows and then the gate's; they are put in
    the order [all q | all gates] when the matrix is built.
    """

    qkv_proj: Projection
    o_proj: Projection
    q_norm: RMSNorm | None
    k_norm: RMSNorm | None
    rope: Rope
    heads: int
    kv_heads: int
    head_dim: int
    gated: bool
    scale: float

    @classmethod
    def build(cls, config: ModelConfig, params: Params, path: str, rope: Rope) -> Attention:
        """Takes the layer's tensors under ``path`` (``model.layers.N.self_attn``)."""
        heads, kv_heads, dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        gated, bias, width = config.gated_attention, config.attention_bias, config.hidden_size
        q = params.rows(f"{path}.q_proj", heads * dim * (1 + gated), width, bias)
        if gated:
            rows = mx.arange(2 * heads * dim).reshape(heads, 2, dim)
            q = q.reordered(rows.swapaxes(0, 1).flatten())
        k = params.rows(f"{path}.k_proj", kv_heads * dim, width, bias)
        v = params.rows(f"{path}.v_proj", kv_heads * dim, width, bias)
        o = params.linear(f"{path}.o_proj", width, heads * dim, config.output_bias)
        q_norm, k_norm, scale = _norms(config, params, path)
        return cls(fuse([q, k, v]), o, q_norm, k_norm, rope, heads, kv_heads, dim, gated, scale)

    def __call__(self, x: mx.array, state: LayerState | None, step: Step) -> mx.array:
        """``(B, L, D) -> (B, L, D)``; without ``state`` it attends within ``x`` alone."""
        batch, length, _ = x.shape
        heads, kv_heads = self.heads * (1 + self.gated), self.kv_heads
        # (B, L, heads·D) -> (B, L, heads, D)
        mixed = self.qkv_proj(x).reshape(batch, length, heads + 2 * kv_heads, self.head_dim)
        q, gate, k, v = mx.split(mixed, [self.heads, heads, heads + kv_heads], axis=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        # (B, L, H, D) -> (B, H, L, D)
        q = self.rope(q.swapaxes(1, 2), step.offset)
        k = self.rope(k.swapaxes(1, 2), step.offset)
        v = v.swapaxes(1, 2)
        if state is not None:
            assert isinstance(state, KVCache)
            k, v = state.write(mx.concatenate([k, v], axis=1), step.offset)
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.scale, mask=step.mask)
        # (B, H, L, D) -> (B, L, H·D)
        out = out.swapaxes(1, 2).reshape(batch, length, self.heads * self.head_dim)
        if self.gated:
            out = out * mx.sigmoid(gate.reshape(batch, length, self.heads * self.head_dim))
        return self.o_proj(out)


def _norms(
    config: ModelConfig, params: Params, path: str
) -> tuple[RMSNorm | None, RMSNorm | None, float]:
    """The q and k norms and the scale of the scores.

    YaRN multiplies cos and sin, hence the turned part of q and k alike, by one factor. Where q and
    k are normalised it joins those weights; where they are not, every dimension turns, and its
    square joins the scale.
    """
    scale = 1.0 / math.sqrt(config.head_dim)
    magnitude = 1.0 if config.rope.yarn is None else config.rope.yarn.attention_factor
    if not config.qk_norm:
        assert config.rotary_dims == config.head_dim
        return None, None, scale * magnitude * magnitude
    dim = config.head_dim
    q_norm = RMSNorm.build(config, params, f"{path}.q_norm", dim)
    k_norm = RMSNorm.build(config, params, f"{path}.k_norm", dim)
    if magnitude == 1.0:
        return q_norm, k_norm, scale
    factor = mx.where(mx.arange(dim) < config.rotary_dims, magnitude, 1.0)
    scaled = [replace(norm, weight=norm.weight * factor) for norm in (q_norm, k_norm)]
    return scaled[0], scaled[1], scale
