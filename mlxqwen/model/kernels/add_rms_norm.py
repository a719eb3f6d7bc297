"""Residual addition and RMS normalisation in one launch: ``h = x + y``, ``n = rms_norm(h) · w``.

Between two sublayers the sum is needed twice, as the residual and normalised. Composed, that is two
launches, and the sum is read back from memory; here each value stays in a register.
"""

from __future__ import annotations

import struct

import mlx.core as mx

from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_MAX_ROWS = 16  # beyond, one launch more is a small part of the work
_MAX_WIDTH = 16384
_SIMD, _READS = 32, 4

# One threadgroup per row. Thread t reads columns 4t … 4t + 3 of each block of 4 · THREADS columns.
_SOURCE = Source(
    name="add_rms_norm",
    inputs=("x", "y", "weight"),
    outputs=("added", "normed"),
    body="""
    constexpr uint BLOCK = 4 * THREADS;
    constexpr uint BLOCKS = (WIDTH + BLOCK - 1) / BLOCK;
    constexpr uint SIMDS = THREADS / 32;
    const uint lane = thread_index_in_simdgroup;
    const uint first = 4 * thread_position_in_threadgroup.x;
    const uint row = threadgroup_position_in_grid.y * WIDTH;
    threadgroup float partial[SIMDS];
    float held[4 * BLOCKS];

    float squares = 0.0f;
    for (uint block = 0; block < BLOCKS; ++block) {
        for (uint i = 0; i < 4; ++i) {
            const uint column = block * BLOCK + first + i;
            if (column < WIDTH) {
                // Rounded to T before it is squared: the composed operations store it so.
                const T total = x[row + column] + y[row + column];
                added[row + column] = total;
                const float value = static_cast<float>(total);
                held[4 * block + i] = value;
                squares += value * value;
            }
        }
    }
    squares = simd_sum(squares);
    if (lane == 0) {
        partial[simdgroup_index_in_threadgroup] = squares;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    squares = simd_sum(lane < SIMDS ? partial[lane] : 0.0f);

    const float scale = metal::precise::rsqrt(squares / WIDTH + as_type<float>(EPS_BITS));
    for (uint block = 0; block < BLOCKS; ++block) {
        for (uint i = 0; i < 4; ++i) {
            const uint column = block * BLOCK + first + i;
            if (column < WIDTH) {
                const float scaled = held[4 * block + i] * scale;
                normed[row + column] = static_cast<T>(scaled * static_cast<float>(weight[column]));
            }
        }
    }
""",
)


def fits(x: mx.array, weight: mx.array) -> bool:
    """Whether the kernel takes ``x`` (..., D): up to 16 rows of 8 to 16,384 columns."""
    rows = x.size // max(x.shape[-1], 1)
    return (
        x.dtype in _DTYPES
        and weight.dtype in _DTYPES
        and 8 <= x.shape[-1] <= _MAX_WIDTH
        and 1 <= rows <= _MAX_ROWS
    )


def add_rms_norm(
    x: mx.array, y: mx.array, weight: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """``(..., D), (..., D), (D,) -> (..., D) x + y, (..., D) its norm``, in the dtype of ``x``.

    ``weight`` may have a dtype of its own; the norm is computed in float32 and rounded once.
    The caller has asked ``fits``.
    """
    width = x.shape[-1]
    threads = min(1024, -(-width // (_READS * _SIMD)) * _SIMD)
    # A constant of the model: compiled in, it costs neither a buffer nor a graph node per call.
    eps_bits = struct.unpack("<i", struct.pack("<f", eps))[0]
    total, normed = make(_SOURCE)(
        inputs=[x, y, weight],
        template=[("T", x.dtype), ("WIDTH", width), ("THREADS", threads), ("EPS_BITS", eps_bits)],
        grid=(threads, x.size // width, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[x.shape, x.shape],
        output_dtypes=[x.dtype, x.dtype],
    )
    return total, normed


def reference(x: mx.array, y: mx.array, weight: mx.array, eps: float) -> tuple[mx.array, mx.array]:
    """The same by MLX's own operations."""
    total = x + y
    return total, mx.fast.rms_norm(total, weight, eps).astype(x.dtype)
