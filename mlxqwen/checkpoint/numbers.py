"""Stored numbers become arrays: dequantised exactly, or repacked where that is exact and leaner.

One implementation serves whole matrices while loading and chunks of rows while quantising. All
arithmetic is in float32.
"""

from __future__ import annotations

import mlx.core as mx

from .origins import (
    AWQ_ORDER,
    Awq,
    BlockFp8,
    Gptq,
    Origin,
    Packed,
    Plain,
    Storage,
    Transposed,
    View,
    rows_of,
)
from .stored import Stored


def origin_arrays(origin: Origin, stored: Stored) -> dict[str, mx.array]:
    """A canonical tensor as it stays in memory, by name.

    One array, or for a matrix that stays packed ``.weight``, ``.scales`` and ``.biases`` (scales
    and biases of GPTQ and AWQ in float32).
    """
    spec = origin.spec
    if spec is None:
        return {origin.name: _dense(origin, stored)}
    packed = [packed_rows(part, stored, 0, rows_of(part)) for part in origin.parts]
    keys = ("weight", "scales", "biases") if spec.has_biases else ("weight", "scales")
    lead = origin.shape[:-1]
    return {
        f"{origin.module}.{key}": _join(list(arrays)).reshape(*lead, -1)
        for key, *arrays in zip(keys, *packed, strict=True)
    }


def part_rows(
    part: Storage, stored: Stored, start: int, stop: int, *, plus_one: bool = False
) -> mx.array:
    """Rows ``start`` to ``stop`` of a part as floating numbers, (stop - start, width).

    Stored floating numbers keep their dtype; what is computed is float32.
    """
    rows = _part_rows(part, stored, start, stop)
    return rows.astype(mx.float32) + 1 if plus_one else rows


def packed_rows(part: Storage, stored: Stored, start: int, stop: int) -> tuple[mx.array, ...]:
    """Rows of a part that has a ``spec`` in MLX's packing: as stored, or made from GPTQ's or AWQ's.

    (weight, scales[, biases]); scales and biases of GPTQ and AWQ are float32.
    """
    match part:
        case Packed():
            views = (part.weight, part.scales, part.biases)
            return tuple(stored.rows(v, start, stop) for v in views if v is not None)
        case Gptq():
            # Both pack along the input, lowest bits first: only the axes differ.
            packed = stored.columns(part.qweight, start, stop).view(mx.uint32)
            words = mx.contiguous(packed.T)
            zeros, scales = _gptq_groups(part, stored, start, stop)
        case Awq():
            codes = _awq_codes(part, stored, start, stop)
            words = codes[:, 0::8].astype(mx.uint32)
            for place in range(1, 8):
                words = words | (codes[:, place::8].astype(mx.uint32) << (4 * place))
            zeros, scales = _awq_groups(part, stored, start, stop)
        case Plain() | Transposed() | BlockFp8():
            raise AssertionError("such a part has no spec")
    return words, scales, -scales * zeros


def _dense(origin: Origin, stored: Stored) -> mx.array:
    array = _joined_experts(origin.parts, stored)
    if array is None:
        array = _join([_part_rows(part, stored, 0, rows_of(part)) for part in origin.parts])
    array = array.reshape(origin.shape)
    return array.astype(mx.float32) + 1 if origin.plus_one else array


def _joined_experts(parts: tuple[Storage, ...], stored: Stored) -> mx.array | None:
    """Parts that are the same cut of every expert of one tensor, without cutting each by itself.

    None where they are something else.
    """
    cuts = {
        (part.view.info.name, part.view.rows, (part.start, part.stop))
        if isinstance(part, Transposed)
        else (part.view.info.name, part.view.rows, None)
        for part in parts
        if isinstance(part, Plain | Transposed) and part.view.expert is not None
    }
    first = parts[0]
    if len(cuts) != 1 or not isinstance(first, Plain | Transposed):
        return None
    info = first.view.info
    whole = stored.rows(View(info), 0, info.rows).reshape(info.shape)
    if isinstance(first, Transposed):
        return whole.swapaxes(1, 2)[:, first.start : first.stop]
    start, stop = first.view.rows or (0, info.shape[1])
    return whole[:, start:stop]


def _part_rows(part: Storage, stored: Stored, start: int, stop: int) -> mx.array:
    match part:
        case Plain(view, shape):
            count = view.region.rows
            if rows_of(part) == count:
                return stored.rows(view, start, stop)
            # A convolution's (C, 1, K) and (C, K, 1): the same numbers in shorter rows.
            return stored.rows(view, 0, count).reshape(-1, shape[-1])[start:stop]
        case Transposed():
            return stored.columns(part.view, part.start + start, part.start + stop).T
        case BlockFp8():
            return _fp8_rows(part, stored, start, stop)
        case Gptq():
            return _gptq_rows(part, stored, start, stop)
        case Awq():
            codes = _awq_codes(part, stored, start, stop)
            zeros, scales = _awq_groups(part, stored, start, stop)
            return _scaled(codes, zeros, scales, part.group)
        case Packed():
            return _mlx_rows(part, stored, start, stop)


def _fp8_rows(part: BlockFp8, stored: Stored, start: int, stop: int) -> mx.array:
    """code · factor of its block. Blocks count from the tensor's first row, not from the view's."""
    high, wide = part.block
    first = part.weight.rows[0] if part.weight.rows is not None else 0
    begin = (first + start) // high
    end = -(-(first + stop) // high)
    factors = stored.rows(part.scale, begin, end).astype(mx.float32)
    offset = first + start - begin * high
    factors = mx.repeat(factors, high, axis=0)[offset : offset + stop - start]
    codes = mx.from_fp8(stored.rows(part.weight, start, stop), dtype=mx.float32)
    width = codes.shape[1]
    if width % wide == 0:
        blocks = codes.reshape(stop - start, -1, wide) * factors[..., None]
        return blocks.reshape(stop - start, width)
    return codes * mx.repeat(factors, wide, axis=1)[:, :width]


def _fields(words: mx.array, bits: int) -> mx.array:
    """(r, w) words → (r, w·32/bits) numbers of ``bits`` bits in uint8, lowest bits first."""
    shifts = mx.arange(0, 32, bits, dtype=mx.uint32)
    split = (words.view(mx.uint32)[..., None] >> shifts) & ((1 << bits) - 1)
    return split.astype(mx.uint8).reshape(words.shape[0], -1)


def _scaled(
    codes: mx.array, zeros: mx.array, scales: mx.array, group: int, group_of: mx.array | None = None
) -> mx.array:
    """(q - zero) · scale: codes (out, in), zeros and scales (out, groups).

    Inputs lie in groups of ``group`` one after another, or as ``group_of`` (in,) says.
    """
    out, width = codes.shape
    if group_of is None and width % group == 0:
        blocks = codes.reshape(out, -1, group).astype(mx.float32)
        return ((blocks - zeros[..., None]) * scales[..., None]).reshape(out, width)
    if group_of is None:
        group_of = mx.arange(width) // group
    centred = codes.astype(mx.float32) - mx.take(zeros, group_of, axis=1)
    return centred * mx.take(scales, group_of, axis=1)


def _gptq_rows(part: Gptq, stored: Stored, start: int, stop: int) -> mx.array:
    words = stored.columns(part.qweight, start, stop)  # (in·bits/32, rows)
    zeros, scales = _gptq_groups(part, stored, start, stop)
    group_of = None if part.g_idx is None else stored.rows(part.g_idx, 0, 1)[0]
    codes = _fields(mx.contiguous(words.T), part.bits)
    return _scaled(codes, zeros, scales, part.group, group_of)


def _gptq_groups(part: Gptq, stored: Stored, start: int, stop: int) -> tuple[mx.array, mx.array]:
    """Zero points and scales, float32 (rows, groups)."""
    per_word = 32 // part.bits
    begin, end = start // per_word, -(-stop // per_word)
    packed = _fields(stored.columns(part.qzeros, begin, end), part.bits)
    offset = start - begin * per_word
    zeros = packed[:, offset : offset + stop - start].astype(mx.uint32) + part.zero_offset
    # The sum wraps around in the stored width, as it did when the offset was subtracted.
    zeros = zeros & ((1 << part.bits) - 1)
    scales = stored.columns(part.scales, start, stop)
    return zeros.T.astype(mx.float32), scales.T.astype(mx.float32)


def _awq_fields(view: View, stored: Stored, start: int, stop: int) -> mx.array:
    """(r, stop - start) four-bit numbers of outputs ``start`` to ``stop``, in their order."""
    begin, end = start // 8, -(-stop // 8)
    mixed = _fields(stored.columns(view, begin, end), 4)
    places = mx.array([AWQ_ORDER.index(output) for output in range(8)])
    ordered = mx.take(mixed.reshape(mixed.shape[0], -1, 8), places, axis=2)
    offset = start - begin * 8
    return ordered.reshape(mixed.shape[0], -1)[:, offset : offset + stop - start]


def _awq_codes(part: Awq, stored: Stored, start: int, stop: int) -> mx.array:
    """(rows, in) in uint8."""
    return mx.contiguous(_awq_fields(part.qweight, stored, start, stop).T)


def _awq_groups(part: Awq, stored: Stored, start: int, stop: int) -> tuple[mx.array, mx.array]:
    zeros = _awq_fields(part.qzeros, stored, start, stop)
    scales = stored.columns(part.scales, start, stop)
    return zeros.T.astype(mx.float32), scales.T.astype(mx.float32)


def _mlx_rows(part: Packed, stored: Stored, start: int, stop: int) -> mx.array:
    spec = part.spec
    scales, biases = stored.rows(part.scales, start, stop), None
    if part.biases is not None:
        scales = scales.astype(mx.float32)
        biases = stored.rows(part.biases, start, stop).astype(mx.float32)
    return mx.dequantize(
        stored.rows(part.weight, start, stop),
        scales,
        biases,
        group_size=spec.group_size,
        bits=spec.bits,
        mode=spec.mode,
        dtype=mx.float32,
    )


def _join(arrays: list[mx.array]) -> mx.array:
    return arrays[0] if len(arrays) == 1 else mx.concatenate(arrays, axis=0)
