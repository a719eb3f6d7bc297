"""Grouped-query attention with rotary positions, and q/k normalisation where the model has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from .cache import KVCache
from .config import ModelConfig, RopeConfig, YarnConfig
from .linear import Params, Projection


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding of the half-split kind (Su et al. 2021).

    ``wavelengths`` (D/2,) replaces the powers of ``theta`` where YaRN asks for it.
    """

    dims: int
    theta: float
    wavelengths: mx.array | None

    def __call__(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """``(B, H, L, D) -> (B, H, L, D)``; ``offset`` is the first position, or one per row."""
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
    """One layer's self-attention; the q, k and v projections are one matrix."""

    qkv_proj: Projection
    o_proj: Projection
    q_norm: mx.array | None
    k_norm: mx.array | None
    rope: Rope
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    scale: float

    @classmethod
    def build(cls, config: ModelConfig, params: Params, path: str, rope: Rope) -> Attention:
        """Takes the layer's tensors under ``path`` (``model.layers.N.self_attn``)."""
        heads, kv_heads, dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        yarn = config.rope.yarn
        # YaRN multiplies cos and sin, hence q and k alike: the square of it joins the scale.
        magnitude = 1.0 if yarn is None else yarn.attention_factor
        return cls(
            qkv_proj=params.fused(
                (f"{path}.q_proj", f"{path}.k_proj", f"{path}.v_proj"),
                (heads * dim, kv_heads * dim, kv_heads * dim),
                config.hidden_size,
                config.attention_bias,
            ),
            o_proj=params.linear(
                f"{path}.o_proj", config.hidden_size, heads * dim, config.output_bias
            ),
            q_norm=params.take(f"{path}.q_norm.weight", (dim,)) if config.qk_norm else None,
            k_norm=params.take(f"{path}.k_norm.weight", (dim,)) if config.qk_norm else None,
            rope=rope,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim,
            eps=config.rms_norm_eps,
            scale=magnitude * magnitude / math.sqrt(dim),
        )

    def __call__(
        self,
        x: mx.array,
        cache: KVCache | None,
        offset: int,
        positions: int | mx.array,
        mask: mx.array | str | None,
    ) -> mx.array:
        """``(B, L, D) -> (B, L, D)``.

        Args:
            cache: Where keys and values are kept; None attends within ``x`` alone.
            offset: Where in the cache this piece is written.
            positions: Rotary position of the first token, one number or one per row ``(B,)``.
            mask: As ``mx.fast.scaled_dot_product_attention`` takes it.
        """
        batch, length, _ = x.shape
        heads = self.heads + 2 * self.kv_heads
        # (B, L, heads·D) -> (B, L, heads, D)
        qkv = self.qkv_proj(x).reshape(batch, length, heads, self.head_dim)
        q, k, v = mx.split(qkv, [self.heads, self.heads + self.kv_heads], axis=2)
        if self.q_norm is not None and self.k_norm is not None:
            q = mx.fast.rms_norm(q, self.q_norm, self.eps)
            k = mx.fast.rms_norm(k, self.k_norm, self.eps)
        # (B, L, H, D) -> (B, H, L, D)
        q = self.rope(q.swapaxes(1, 2), positions)
        k = self.rope(k.swapaxes(1, 2), positions)
        v = v.swapaxes(1, 2)
        if cache is not None:
            k, v = cache.write(mx.concatenate([k, v], axis=1), offset)
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.scale, mask=mask)
        return self.o_proj(out.swapaxes(1, 2).reshape(batch, length, self.heads * self.head_dim))
