"""The attention's output gate, ``out · sigmoid(gate)``, in one launch.

It reads the gates where the projection left them and the heads where the attention did, so that
neither is copied into the other's order first.
"""

from __future__ import annotations

import mlx.core as mx

from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_MAX_TOKENS = 16
_THREADS = 256

# One thread per number: column by column of a token, token by token.
_SOURCE = Source(
    name="output_gate",
    inputs=("out", "mixed"),
    outputs=("gated",),
    body="""
    const uint column = thread_position_in_grid.x;
    const uint token = thread_position_in_grid.y;
    const uint width = threads_per_grid.x;
    const uint tokens = threads_per_grid.y;
    const float gate = static_cast<float>(mixed[token * ROW + FIRST + column]);
    const uint from = ((column / DIM) * tokens + token) * DIM + column % DIM;
    const float share = 1.0f / (1.0f + metal::precise::exp(-gate));
    gated[token * width + column] = static_cast<T>(static_cast<float>(out[from]) * share);
""",
)


def fits(out: mx.array, mixed: mx.array, start: int) -> bool:
    """Whether the kernel takes ``out`` (1, H, L, D), up to 16 tokens, and ``mixed`` (1, L, W)
    whose columns from ``start`` are the gates."""
    if out.ndim != 4 or mixed.ndim != 3:
        return False
    batch, heads, tokens, dim = out.shape
    return (
        out.dtype == mixed.dtype
        and out.dtype in _DTYPES
        and batch == 1
        and 1 <= tokens <= _MAX_TOKENS
        and mixed.shape[:2] == (1, tokens)
        and 0 <= start <= mixed.shape[2] - heads * dim
    )


def output_gate(out: mx.array, mixed: mx.array, start: int) -> mx.array:
    """``(1, H, L, D), (1, L, W) -> (1, L, H·D)`` in their dtype.

    The gates are columns ``start`` to ``start + H·D`` of ``mixed``. Computed in float32 and
    rounded once. The caller has asked ``fits``.
    """
    _, heads, tokens, dim = out.shape
    (gated,) = make(_SOURCE)(
        inputs=[out, mixed],
        template=[("T", out.dtype), ("DIM", dim), ("ROW", mixed.shape[2]), ("FIRST", start)],
        grid=(heads * dim, tokens, 1),
        threadgroup=(min(_THREADS, heads * dim), 1, 1),
        output_shapes=[(1, tokens, heads * dim)],
        output_dtypes=[out.dtype],
    )
    return gated


def reference(out: mx.array, mixed: mx.array, start: int) -> mx.array:
    """The same by MLX's own operations."""
    batch, heads, tokens, dim = out.shape
    gate = mixed[..., start : start + heads * dim]
    # (1, H, L, D) -> (1, L, H·D)
    return out.swapaxes(1, 2).reshape(batch, tokens, heads * dim) * mx.sigmoid(gate)
