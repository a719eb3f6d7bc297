"""Rows of a matrix, as bytes, to packed rows, as bytes: round to nearest with ``mx.quantize``.

Groups lie along a row, so any rows can be rounded by themselves: the bytes are those that
quantising the whole matrix on the same device gives.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, cast

import mlx.core as mx

from mlxqwen.checkpoint.quantspec import QuantSpec

# How a safetensors dtype's bytes enter an array without NumPy: as this buffer format, then viewed.
_FORMATS: dict[str, tuple[Literal["H", "I"], mx.Dtype]] = {
    "BF16": ("H", mx.bfloat16),
    "F16": ("H", mx.float16),
    "F32": ("I", mx.float32),
}
_UNSIGNED: dict[int, mx.Dtype] = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}


def round_rows(
    data: memoryview, width: int, source: str, target: str, spec: QuantSpec | None
) -> tuple[memoryview, ...]:
    """Cast rows from dtype ``source`` to ``target``, then quantise them unless ``spec`` is None.

    Args:
        data: Whole rows of ``width`` numbers, any count, as bytes.

    Returns:
        The bytes of (weight, scales[, biases]), or of the cast rows alone.
    """
    if spec is None and source == target:
        return (data,)
    form, dtype = _FORMATS[source]
    rows = mx.array(cast("Any", data.cast(form))).view(dtype).reshape(-1, width)
    rows = rows.astype(_FORMATS[target][1])
    if spec is None:
        return (_bytes(rows),)
    packed = mx.quantize(rows, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    mx.eval(packed)
    return tuple(_bytes(part) for part in packed)


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
