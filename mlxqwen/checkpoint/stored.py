"""Two ways to get at stored numbers: lazy arrays of whole shards, and positioned reads.

The loader takes the first, so that MLX reads each tensor once, when it is needed; the quantiser the
second, so that memory is what a chunk of rows takes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

import mlx.core as mx

from .origins import View
from .reading import read_columns, read_rows
from .safetensors import DTYPE_BYTES, TensorInfo

# How a safetensors dtype's bytes enter an array without NumPy: as this buffer format, then viewed.
_FORMATS: Mapping[str, tuple[Literal["B", "H", "I"], mx.Dtype]] = {
    "U8": ("B", mx.uint8),
    "F8_E4M3": ("B", mx.uint8),
    "BF16": ("H", mx.bfloat16),
    "F16": ("H", mx.float16),
    "F32": ("I", mx.float32),
    "U32": ("I", mx.uint32),
    "I32": ("I", mx.int32),
}


class Stored(Protocol):
    """Rows and columns of stored matrices; leading axes count as rows, a vector is one row."""

    def rows(self, view: View, start: int, stop: int) -> mx.array:
        """(stop - start, width) as stored; float8 comes as its codes in uint8."""
        ...

    def columns(self, view: View, start: int, stop: int) -> mx.array:
        """(rows, stop - start) as stored."""
        ...


def _load(shard: Path) -> dict[str, mx.array]:
    try:
        os.fspath(shard).encode()
    except UnicodeEncodeError:
        # MLX takes no path that is not UTF-8. It opens the file at once, by whatever name.
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "shard.safetensors"
            link.symlink_to(shard.resolve())
            return _load(link)
    loaded = mx.load(str(shard), format="safetensors")
    assert isinstance(loaded, dict)
    return loaded


class LazyShards:
    """``Stored`` over arrays that MLX has not read yet."""

    def __init__(self, arrays: Mapping[str, mx.array]) -> None:
        self._arrays = arrays

    @classmethod
    def open(cls, shards: tuple[Path, ...]) -> Self:
        """The tensors of all ``shards`` by name."""
        arrays: dict[str, mx.array] = {}
        for shard in shards:
            arrays.update(_load(shard))
        return cls(arrays)

    def rows(self, view: View, start: int, stop: int) -> mx.array:
        """See ``Stored``."""
        matrix = self._matrix(view)
        return matrix if (start, stop) == (0, matrix.shape[0]) else matrix[start:stop]

    def columns(self, view: View, start: int, stop: int) -> mx.array:
        """See ``Stored``."""
        matrix = self._matrix(view)
        return matrix if (start, stop) == (0, matrix.shape[1]) else matrix[:, start:stop]

    def _matrix(self, view: View) -> mx.array:
        array = self._arrays[view.info.name]
        if view.expert is not None:
            array = array[view.expert]
        if view.rows is not None and view.rows != (0, array.shape[0]):
            array = array[view.rows[0] : view.rows[1]]
        return array.reshape(-1, array.shape[-1])


class FileReader:
    """``Stored`` by reading only the bytes that are asked for; safe to use from any thread."""

    def rows(self, view: View, start: int, stop: int) -> mx.array:
        """See ``Stored``."""
        region = view.region
        return _array(region, read_rows(region, start, stop), region.shape[-1])

    def columns(self, view: View, start: int, stop: int) -> mx.array:
        """See ``Stored``."""
        region = view.region
        return _array(region, read_columns(region, start, stop), stop - start)


def float_dtype(name: str) -> mx.Dtype:
    """MLX's name for a safetensors dtype."""
    return _FORMATS[name][1]


def _array(info: TensorInfo, data: bytearray, width: int) -> mx.array:
    form, dtype = _FORMATS[info.dtype]
    assert DTYPE_BYTES[info.dtype] == dtype.size
    raw = mx.array(cast("Any", memoryview(data).cast(form)))
    return raw.view(dtype).reshape(-1, width)
