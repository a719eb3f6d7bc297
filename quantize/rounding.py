"""Rows of a matrix to packed rows, as bytes, and the error that this makes.

Groups lie along a row, so any rows can be rounded by themselves: the bytes are those that
quantising the whole matrix on the same device gives.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.stored import float_dtype

from .distortion import Errors, error_of
from .recipes import Rounding
from .search import search_affine

__all__ = ["Affine", "Errors", "bounded_cache", "copy_packed", "error_of", "on_gpu", "round_rows"]

_UNSIGNED: dict[int, mx.Dtype] = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}

Affine = tuple[mx.array, mx.array]


def round_rows(
    rows: mx.array,
    target: str,
    spec: QuantSpec | None,
    rounding: Rounding = "nearest",
    weights: mx.array | None = None,
    affine: Affine | None = None,
) -> tuple[memoryview, ...]:
    """Cast rows (any, width) to the safetensors dtype ``target``, then quantise them.

    Args:
        rounding: ``nearest`` is ``mx.quantize``; ``searched`` looks for scales and biases of less
            error, in affine mode only: the others keep to ``mx.quantize``.
        weights: Importance of each input, (1 or any, width), for the search.
        affine: Learned scales and biases, each (any, groups), in place of those found. The codes
            stay: they are what the scales were learned for.

    Returns:
        The bytes of (weight, scales[, biases]), or of the cast rows alone where ``spec`` is None.
    """
    rows = mx.contiguous(rows.astype(float_dtype(target)))
    if spec is None:
        mx.eval(rows)
        return (_bytes(rows),)
    if spec.mode == "affine" and rounding == "searched":
        packed = search_affine(rows, spec, weights)
    else:
        packed = tuple(
            mx.quantize(rows, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
        )
    if spec.mode == "affine" and affine is not None:
        packed = (packed[0], *(part.astype(rows.dtype) for part in affine))
    packed = tuple(mx.contiguous(part) for part in packed)
    mx.eval(packed)
    return tuple(_bytes(part) for part in packed)


def copy_packed(parts: tuple[mx.array, ...], target: str) -> tuple[memoryview, ...]:
    """The bytes of rows that are packed already; floating scales are cast to ``target``."""
    dtype = float_dtype(target)
    cast_parts = [
        mx.contiguous(part.astype(dtype) if mx.issubdtype(part.dtype, mx.floating) else part)
        for part in parts
    ]
    mx.eval(cast_parts)
    return tuple(_bytes(part) for part in cast_parts)


@contextmanager
def bounded_cache(nbytes: int) -> Generator[None]:
    """Let MLX keep at most ``nbytes`` of freed buffers, and restore its former limit after."""
    former = mx.set_cache_limit(nbytes)
    try:
        yield
    finally:
        mx.set_cache_limit(former)
        mx.clear_cache()


def on_gpu() -> bool:
    """Whether MLX rounds on a GPU."""
    return mx.default_device().type == mx.DeviceType.gpu


def _bytes(part: mx.array) -> memoryview:
    # A memoryview knows no bfloat16; as unsigned integers of the same size it is the same bytes.
    unsigned = part.view(_UNSIGNED[part.dtype.size])
    return memoryview(cast("Any", unsigned)).cast("B")
