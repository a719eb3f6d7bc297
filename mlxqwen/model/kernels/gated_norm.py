"""The gated delta net's output norm, ``rms_norm(out) · weight · silu(z)``, in one launch.

Composed, that is a norm, a sigmoid, two products and two changes of format, all in float32.
"""

from __future__ import annotations

import mlx.core as mx

from .constants import float_bits
from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_MAX_TOKENS = 16
_MAX_DIM = 1024
_SIMD = 32

# One SIMD-group per token and head. The gate is read where the projection left it.
_SOURCE = Source(
    name="gated_norm",
    inputs=("out", "projected", "weight"),
    outputs=("gated",),
    body="""
    constexpr uint VALUES = (DIM + 31) / 32;
    const uint lane = thread_index_in_simdgroup;
    const uint head = threadgroup_position_in_grid.x;
    const uint token = threadgroup_position_in_grid.y;
    const uint row = (token * HEADS + head) * DIM;
    const uint gates = token * ROW + FIRST + head * DIM;
    float held[VALUES];

    float squares = 0.0f;
    for (uint n = 0; n < VALUES; ++n) {
        const uint i = lane + 32 * n;
        if (i < DIM) {
            held[n] = out[row + i];
            squares += held[n] * held[n];
        }
    }
    squares = simd_sum(squares);
    const float scale = metal::precise::rsqrt(squares / DIM + as_type<float>(EPS_BITS));
    for (uint n = 0; n < VALUES; ++n) {
        const uint i = lane + 32 * n;
        if (i < DIM) {
            const float z = static_cast<float>(projected[gates + i]);
            const float silu = z / (1.0f + metal::precise::exp(-z));
            gated[row + i] = static_cast<T>(held[n] * scale * weight[i] * silu);
        }
    }
""",
)


def fits(out: mx.array, projected: mx.array, weight: mx.array, start: int) -> bool:
    """Whether the kernel takes ``out`` (1, L, H, D) float32, up to 16 tokens, and ``projected``
    (1, L, W) whose columns from ``start`` are the gates."""
    if out.ndim != 4 or projected.ndim != 3:
        return False
    batch, tokens, heads, dim = out.shape
    return (
        out.dtype == weight.dtype == mx.float32
        and projected.dtype in _DTYPES
        and batch == 1
        and 1 <= tokens <= _MAX_TOKENS
        and dim <= _MAX_DIM
        and weight.shape == (dim,)
        and projected.shape[:2] == (1, tokens)
        and 0 <= start <= projected.shape[2] - heads * dim
    )


def gated_norm(
    out: mx.array, projected: mx.array, weight: mx.array, start: int, eps: float
) -> mx.array:
    """``(1, L, H, D), (1, L, W), (D,) -> (1, L, H·D)`` in the dtype of ``projected``.

    The gates z are columns ``start`` to ``start + H·D`` of ``projected``. Computed in float32 and
    rounded once. The caller has asked ``fits``.
    """
    _, tokens, heads, dim = out.shape
    (gated,) = make(_SOURCE)(
        inputs=[out, projected, weight],
        template=[
            ("T", projected.dtype),
            ("HEADS", heads),
            ("DIM", dim),
            ("ROW", projected.shape[2]),
            ("FIRST", start),
            ("EPS_BITS", float_bits(eps)),
        ],
        grid=(_SIMD * heads, tokens, 1),
        threadgroup=(_SIMD, 1, 1),
        output_shapes=[(1, tokens, heads * dim)],
        output_dtypes=[projected.dtype],
    )
    return gated


def reference(
    out: mx.array, projected: mx.array, weight: mx.array, start: int, eps: float
) -> mx.array:
    """The same by MLX's own operations."""
    batch, tokens, heads, dim = out.shape
    z = projected[..., start : start + heads * dim].reshape(out.shape).astype(mx.float32)
    gated = mx.fast.rms_norm(out, weight, eps) * (z * mx.sigmoid(z))
    return gated.astype(projected.dtype).reshape(batch, tokens, heads * dim)
