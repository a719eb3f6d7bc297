"""Codes of any width, packed as MLX packs them."""

from __future__ import annotations

import mlx.core as mx

# Codes that fill whole bytes together, by bits.
_TOGETHER = {1: 8, 2: 4, 3: 8, 4: 2, 5: 8, 6: 4, 8: 1}


def pack_columns(codes: mx.array, bits: int) -> mx.array:
    """Codes (group, n), whole numbers below 2**bits, to words (n, group · bits / 32) of uint32.

    A group is one stream of bits, lowest first, in little-endian words; the group is a multiple of
    32. Verified against ``mx.dequantize`` for every width.
    """
    group, count = codes.shape
    together = _TOGETHER[bits]
    wide = mx.uint64 if together * bits > 32 else mx.uint32
    shifts = mx.arange(0, together * bits, bits).astype(wide)[:, None]
    parts = codes.astype(wide).reshape(group // together, together, count) << shifts
    joined = mx.contiguous(parts.sum(axis=1).astype(wide).T)
    raw = joined.view(mx.uint8).reshape(count, group // together, wide.size)
    return mx.contiguous(raw[..., : together * bits // 8]).reshape(count, -1).view(mx.uint32)
