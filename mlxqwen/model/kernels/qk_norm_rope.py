"""Queries, keys and values out of the fused projection in one launch, ready for the attention.

Composed, a layer normalises q and k, turns them to their positions and joins k and v for the write
into the cache: six launches over a few kilobytes (a join of two arrays is two copies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from .constants import float_bits
from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_MAX_TOKENS = 16  # beyond, the launches saved are a small part of the work
_MAX_DIM = 256
_SIMD = 32

# One SIMD-group per token and head: first the query heads, then keys, then values. A lane turns
# the pair (i, i + HALF), and reads it again for that: after the sum, the row is in the first cache.
_SOURCE = Source(
    name="qk_norm_rope",
    inputs=("mixed", "offset", "q_weight", "k_weight", "wavelengths"),
    outputs=("q", "kv"),
    header="""
template <typename T>
inline T normed(T value, float scale, float weight) {
    return static_cast<T>(static_cast<float>(value) * scale * weight);
}
""",
    body="""
    constexpr uint ROW = (HQ * (GATED ? 2 : 1) + 2 * HKV) * DIM;
    constexpr uint HALF = ROTARY / 2;
    const uint lane = thread_index_in_simdgroup;
    const uint head = threadgroup_position_in_grid.x;
    const uint token = threadgroup_position_in_grid.y;
    const uint tokens = threadgroups_per_grid.y;
    const bool is_q = head < HQ;
    const uint from = token * ROW + (GATED && !is_q ? head + HQ : head) * DIM;
    device T* to = is_q ? q + (head * tokens + token) * DIM
                        : kv + ((head - HQ) * tokens + token) * DIM;

    float squares = 0.0f;
    for (uint i = lane; i < DIM; i += 32) {
        const float value = static_cast<float>(mixed[from + i]);
        squares += value * value;
    }
    squares = simd_sum(squares);
    const float scale = metal::precise::rsqrt(squares / DIM + as_type<float>(EPS_BITS));

    if (head >= HQ + HKV) {
        for (uint i = lane; i < DIM; i += 32) {
            to[i] = mixed[from + i];
        }
        return;
    }
    const float position = static_cast<float>(offset[0] + static_cast<int>(token));
    for (uint i = lane; i < HALF; i += 32) {
        T a = mixed[from + i];
        T b = mixed[from + i + HALF];
        if (NORMED) {
            // Rounded to T before it is turned: the composed operations store it so.
            a = normed(a, scale, static_cast<float>(is_q ? q_weight[i] : k_weight[i]));
            b = normed(b, scale, static_cast<float>(is_q ? q_weight[i + HALF]
                                                         : k_weight[i + HALF]));
        }
        const float part = static_cast<float>(i) / static_cast<float>(HALF);
        const float frequency = STRETCHED
            ? 1.0f / static_cast<float>(wavelengths[i])
            : metal::precise::exp2(-part * as_type<float>(LOG2_THETA_BITS));
        // Precise: positions go far beyond the range in which the fast functions hold.
        const float angle = position * frequency;
        const float c = metal::precise::cos(angle);
        const float s = metal::precise::sin(angle);
        const float x = static_cast<float>(a);
        const float y = static_cast<float>(b);
        to[i] = static_cast<T>(x * c - y * s);
        to[i + HALF] = static_cast<T>(x * s + y * c);
    }
    for (uint i = ROTARY + lane; i < DIM; i += 32) {
        T a = mixed[from + i];
        if (NORMED) {
            a = normed(a, scale, static_cast<float>(is_q ? q_weight[i] : k_weight[i]));
        }
        to[i] = a;
    }
""",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a row of the projection holds, ``[all q | all gates | all k | all v]``, and how far
    a head turns.

    Attributes:
        heads: Query heads; as many gates follow them where the layer is ``gated``.
        rotary_dims: The first dimensions of a head that turn, an even number.
        theta: Base of the frequencies; ``wavelengths``, where they are given, replace it.
        eps: Added to the mean of squares where queries and keys are normalised.
    """

    heads: int
    kv_heads: int
    dim: int
    gated: bool
    rotary_dims: int
    theta: float
    eps: float

    @property
    def gates(self) -> int:
        """The column at which the gates begin, where there are any."""
        return self.heads * self.dim

    @property
    def width(self) -> int:
        """Columns of a row."""
        return (self.heads * (1 + self.gated) + 2 * self.kv_heads) * self.dim


def fits(
    mixed: mx.array,
    layout: Layout,
    norms: tuple[mx.array, mx.array] | None,
    wavelengths: mx.array | None,
) -> bool:
    """Whether the kernel takes ``mixed`` (1, L, ``layout.width``) of up to 16 tokens."""
    return (
        mixed.dtype in _DTYPES
        and mixed.ndim == 3
        and mixed.shape[0] == 1
        and 1 <= mixed.shape[1] <= _MAX_TOKENS
        and mixed.shape[2] == layout.width
        and layout.dim <= _MAX_DIM
        and 2 <= layout.rotary_dims <= layout.dim
        and layout.rotary_dims % 2 == 0
        and (norms is None or norms[0].dtype == norms[1].dtype)
        and (norms is None or all(w.shape == (layout.dim,) and w.dtype in _DTYPES for w in norms))
        and (wavelengths is None or wavelengths.shape == (layout.rotary_dims // 2,))
    )


def qk_norm_rope(
    mixed: mx.array,
    offset: mx.array,
    layout: Layout,
    norms: tuple[mx.array, mx.array] | None,
    wavelengths: mx.array | None,
) -> tuple[mx.array, mx.array]:
    """``(1, L, width) -> (1, H, L, D) queries, (1, 2·Hkv, L, D) keys and values for the cache``.

    Args:
        offset: Position of the first token, ``(1,)`` int32: an array, so that a compiled step
            serves every position.
        norms: Weights ``(D,)`` of the q and the k norm, which may have a dtype of their own; None
            where the model has no such norms.
        wavelengths: ``(rotary_dims / 2,)``, in place of the powers of ``theta``.

    The norm is computed in float32 and rounded once, the rotation after it likewise. The caller
    has asked ``fits``.
    """
    tokens, dim = mixed.shape[1], layout.dim
    # What a variant does not read is bound to an array that is there.
    q_weight, k_weight = (mixed, mixed) if norms is None else norms
    q, kv = make(_SOURCE)(
        inputs=[
            mixed,
            offset,
            q_weight,
            k_weight,
            mixed if wavelengths is None else wavelengths,
        ],
        template=[
            ("T", mixed.dtype),
            ("HQ", layout.heads),
            ("HKV", layout.kv_heads),
            ("DIM", dim),
            ("ROTARY", layout.rotary_dims),
            ("GATED", layout.gated),
            ("NORMED", norms is not None),
            ("STRETCHED", wavelengths is not None),
            ("EPS_BITS", float_bits(layout.eps)),
            ("LOG2_THETA_BITS", float_bits(math.log2(layout.theta))),
        ],
        grid=(_SIMD * (layout.heads + 2 * layout.kv_heads), tokens, 1),
        threadgroup=(_SIMD, 1, 1),
        output_shapes=[(1, layout.heads, tokens, dim), (1, 2 * layout.kv_heads, tokens, dim)],
        output_dtypes=[mixed.dtype, mixed.dtype],
    )
    return q, kv


def reference(
    mixed: mx.array,
    offset: mx.array,
    layout: Layout,
    norms: tuple[mx.array, mx.array] | None,
    wavelengths: mx.array | None,
) -> tuple[mx.array, mx.array]:
    """The same by MLX's own operations, for any number of tokens."""
    heads, kv_heads = layout.heads * (1 + layout.gated), layout.kv_heads
    # (1, L, heads·D) -> (1, L, heads, D)
    split = mixed.reshape(1, mixed.shape[1], heads + 2 * kv_heads, layout.dim)
    q, _, k, v = mx.split(split, [layout.heads, heads, heads + kv_heads], axis=2)
    if norms is not None:
        q = mx.fast.rms_norm(q, norms[0], layout.eps).astype(mixed.dtype)
        k = mx.fast.rms_norm(k, norms[1], layout.eps).astype(mixed.dtype)
    # (1, L, H, D) -> (1, H, L, D)
    q, k = (
        mx.fast.rope(
            x.swapaxes(1, 2),
            layout.rotary_dims,
            traditional=False,
            base=None if wavelengths is not None else layout.theta,
            scale=1.0,
            offset=offset,
            freqs=wavelengths,
        )
        for x in (q, k)
    )
    return q, mx.concatenate([k, v.swapaxes(1, 2)], axis=1)
