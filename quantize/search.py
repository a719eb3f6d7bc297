"""Scales and biases of less error than ``mx.quantize`` finds, in the very same format."""

from __future__ import annotations

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec

# Codes that fill whole bytes together, by bits.
_TOGETHER = {1: 8, 2: 4, 3: 8, 4: 2, 5: 8, 6: 4, 8: 1}


def pack_codes(codes: mx.array, bits: int) -> mx.array:
    """Codes (…, width), below 2**bits, as MLX packs them: (…, width · bits / 32) of uint32.

    A row is one stream of bits, lowest first, in little-endian words.
    """
    together = _TOGETHER[bits]
    wide = mx.uint64 if together * bits > 32 else mx.uint32
    shifts = mx.arange(0, together * bits, bits).astype(wide)
    parts = codes.reshape(-1, together).astype(wide) << shifts
    nbytes = together * bits // 8
    joined = parts.sum(axis=-1).astype(wide)
    raw = joined.view(mx.uint8).reshape(-1, wide.size)[:, :nbytes]
    packed = mx.contiguous(raw).reshape(*codes.shape[:-1], -1)
    return packed.view(mx.uint32)


def round_affine(rows: mx.array, spec: QuantSpec, scales: mx.array, biases: mx.array) -> mx.array:
    """Codes (rows, width) in uint32, each the nearest under its group's scale and bias."""
    grouped = rows.reshape(-1, spec.group_size).astype(mx.float32)
    scale, bias = (part.reshape(-1, 1).astype(mx.float32) for part in (scales, biases))
    return _nearest(grouped, scale, bias, 2**spec.bits - 1).astype(mx.uint32).reshape(rows.shape)


def _nearest(grouped: mx.array, scale: mx.array, bias: mx.array, last: int) -> mx.array:
    # A scale of zero restores every code to the bias.
    inverse = mx.where(scale == 0, 0.0, 1 / scale)
    codes = mx.clip(mx.round((grouped - bias) * inverse), 0, last)
    return mx.where(mx.isnan(codes), 0, codes)


def search_affine(
    rows: mx.array, spec: QuantSpec, weights: mx.array | None = None
) -> tuple[mx.array, mx.array, mx.array]:
    """Packed codes, scales and biases of rows (any, width)."""
    packed = mx.quantize(rows, group_size=spec.group_size, bits=spec.bits)
    return packed[0], packed[1], packed[2]
