"""Number formats and the safetensors container, in numpy only.

Written apart from `mlxqwen.checkpoint` on purpose: a reader that is tested with files of its own
writer proves nothing. Every packer returns what is stored and the float32 weight that the stored
numbers mean, so that a reference can be computed on exactly those weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

NUMPY_DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "U32": np.uint32,
    "I32": np.int32,
    "U8": np.uint8,
    "F8_E4M3": np.uint8,
}


class Stored(NamedTuple):
    """One tensor as it lies in a file: safetensors dtype and the raw little-endian array."""

    dtype: str
    array: np.ndarray


def write_safetensors(path: Path, tensors: dict[str, Stored]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, array) in tensors.items():
        assert array.dtype == NUMPY_DTYPES[dtype], (name, dtype, array.dtype)
        end = offset + array.nbytes
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 -> the upper 16 bits, rounded to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


def store(x: np.ndarray, dtype: str) -> tuple[Stored, np.ndarray]:
    """Round float32 `x` to `dtype`; returns the stored tensor and its float32 value."""
    if dtype == "BF16":
        raw = to_bf16(x)
        return Stored(dtype, raw), from_bf16(raw)
    raw = x.astype(NUMPY_DTYPES[dtype])
    return Stored(dtype, raw), raw.astype(np.float32)


def widened(tensor: Stored) -> Stored:
    """The same values in float32; integers and FP8 codes stay."""
    if tensor.dtype == "BF16":
        return Stored("F32", from_bf16(tensor.array))
    if tensor.dtype == "F16":
        return Stored("F32", tensor.array.astype(np.float32))
    return tensor


def pack_nibbles(q: np.ndarray, bits: int = 4) -> np.ndarray:
    """(…, n) integers below 2**bits -> (…, n·bits/32) uint32, the first in the lowest bits."""
    per_word = 32 // bits
    words = q.astype(np.uint32).reshape(*q.shape[:-1], -1, per_word)
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    return np.bitwise_or.reduce(words << shifts, axis=-1).astype(np.uint32)


def mlx_affine(
    w: np.ndarray, group_size: int, bits: int, dtype: str, precision: str = "BF16"
) -> tuple[dict[str, Stored], np.ndarray]:
    """MLX's affine layout for 4 and 8 bits: w = scale * q + bias per group of the last axis.

    Scale and bias are rounded to `precision` before use and written in `dtype`; so the same
    numbers can be written in a wider type.
    """
    groups = w.reshape(*w.shape[:-1], -1, group_size)
    low, high = groups.min(-1), groups.max(-1)
    _, scale = store((high - low) / np.float32(2**bits - 1), precision)
    _, bias = store(low, precision)
    q = np.rint((groups - bias[..., None]) / scale[..., None]).clip(0, 2**bits - 1)
    q = q.astype(np.float32)
    exact = (scale[..., None] * q + bias[..., None]).reshape(w.shape).astype(np.float32)
    packed = pack_nibbles(q.reshape(w.shape), bits)
    stored = {
        "weight": Stored("U32", packed),
        "scales": store(scale, dtype)[0],
        "biases": store(bias, dtype)[0],
    }
    return stored, exact


def e4m3_values() -> np.ndarray:
    """The 127 finite values of e4m3 with the sign bit clear, by code 0..126 (ascending)."""
    code = np.arange(127)
    exponent, mantissa = code >> 3, code & 7
    subnormal = mantissa / 8 * 2.0**-6
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return np.where(exponent == 0, subnormal, normal).astype(np.float32)


def block_fp8(w: np.ndarray, block: int = 128) -> tuple[dict[str, Stored], np.ndarray]:
    """Block FP8 as the official FP8 checkpoints have it: `weight` and a bf16 `weight_scale_inv`.

    The scale multiplies; blocks at the edges are partial.
    """
    rows, columns = (-(-n // block) for n in w.shape)
    scale = np.zeros((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            tile = w[r * block : (r + 1) * block, c * block : (c + 1) * block]
            scale[r, c] = np.abs(tile).max() / 448
    # Rounding the scale up keeps the largest weight of a block inside the format.
    stored_scale, scale = store(scale * np.float32(1.01), "BF16")
    full = scale.repeat(block, 0).repeat(block, 1)[: w.shape[0], : w.shape[1]]
    values = e4m3_values()
    middles = (values[1:] + values[:-1]) / 2
    code = np.searchsorted(middles, np.abs(w) / full).astype(np.uint8)
    sign = np.where(w < 0, np.float32(-1), np.float32(1))
    raw = code | np.where(w < 0, np.uint8(128), np.uint8(0))
    stored = {"weight": Stored("F8_E4M3", raw), "weight_scale_inv": stored_scale}
    return stored, (sign * values[code] * full).astype(np.float32)


def _grouped_codes(
    w: np.ndarray, group_of: np.ndarray, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w (out, in), group_of (in,) -> codes (in, out), f16 scales and zeros (groups, out)."""
    columns = w.T
    count = int(group_of.max()) + 1
    scales = np.zeros((count, w.shape[0]), np.float16)
    zeros = np.full((count, w.shape[0]), 8, np.int64)
    for group in range(count):
        rows = columns[group_of == group]
        if symmetric:
            scales[group] = (np.abs(rows).max(0) / 7).astype(np.float16)
        else:
            low = np.minimum(rows.min(0), 0)
            scales[group] = ((np.maximum(rows.max(0), 0) - low) / 15).astype(np.float16)
            zeros[group] = np.rint(-low / scales[group].astype(np.float32)).clip(1, 15)
    scale = scales.astype(np.float32)[group_of]
    codes = (np.rint(columns / scale) + zeros[group_of]).clip(0, 15).astype(np.int64)
    return codes, scales, zeros


def gptq(
    w: np.ndarray, group_size: int, *, symmetric: bool = True, act_order: np.ndarray | None = None
) -> tuple[dict[str, Stored], np.ndarray]:
    """GPTQ 4-bit: codes packed along the input, zeros stored as z - 1 and packed along the output.

    `act_order` permutes the inputs over the groups (desc_act).
    """
    group_of = np.arange(w.shape[1]) // group_size
    if act_order is not None:
        group_of = group_of[act_order]
    codes, scales, zeros = _grouped_codes(w, group_of, symmetric)
    stored = {
        "qweight": Stored("I32", np.ascontiguousarray(pack_nibbles(codes.T).T).view(np.int32)),
        "qzeros": Stored("I32", pack_nibbles(zeros - 1).view(np.int32)),
        "scales": Stored("F16", scales),
        "g_idx": Stored("I32", group_of.astype(np.int32)),
    }
    scale = scales.astype(np.float32)[group_of]
    exact = ((codes - zeros[group_of]) * scale).T
    return stored, np.ascontiguousarray(exact, np.float32)


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(w: np.ndarray, group_size: int) -> tuple[dict[str, Stored], np.ndarray]:
    """AWQ 4-bit ("gemm"): codes and zeros packed along the output, eight columns interleaved."""
    group_of = np.arange(w.shape[1]) // group_size
    codes, scales, zeros = _grouped_codes(w, group_of, symmetric=False)

    def pack(x: np.ndarray) -> Stored:
        shuffled = x.reshape(x.shape[0], -1, 8)[..., AWQ_ORDER].reshape(x.shape)
        return Stored("I32", pack_nibbles(shuffled).view(np.int32))

    stored = {"qweight": pack(codes), "qzeros": pack(zeros), "scales": Stored("F16", scales)}
    exact = ((codes - zeros[group_of]) * scales.astype(np.float32)[group_of]).T
    return stored, np.ascontiguousarray(exact, np.float32)
