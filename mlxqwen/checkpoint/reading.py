"""Positioned reads of a tensor's rows and columns; nothing else of the file is touched."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO

from ..errors import CheckpointError
from .safetensors import CALL_BYTES, DTYPE_BYTES, TensorInfo, truncated


def read_rows(info: TensorInfo, start: int, stop: int) -> bytearray:
    """Read rows ``start`` to ``stop`` (see ``TensorInfo.rows``) and nothing else of the file.

    Raises:
        CheckpointError: The file vanished, cannot be read, or has become shorter.
    """
    data = bytearray((stop - start) * info.row_bytes)
    read_rows_into(info, start, memoryview(data))
    return data


def read_rows_into(info: TensorInfo, start: int, buffer: memoryview) -> None:
    """Fill ``buffer`` (bytes, whole rows) from row ``start`` on; as ``read_rows`` otherwise."""
    begin, count = start * info.row_bytes, buffer.nbytes
    if begin < 0 or begin + count > info.nbytes:
        raise ValueError(f"bytes {begin} to {begin + count} are outside {info.name}")
    with _opened(info) as file:
        _fill(file, info, begin, buffer)


def read_columns(info: TensorInfo, start: int, stop: int) -> bytearray:
    """Read columns ``start`` to ``stop`` of every row, side by side; raises as ``read_rows``."""
    if not 0 <= start <= stop <= info.shape[-1]:
        raise ValueError(f"columns {start} to {stop} are outside {info.name}")
    if stop - start == info.shape[-1]:
        return read_rows(info, 0, info.rows)
    item = DTYPE_BYTES[info.dtype]
    width = (stop - start) * item
    data = bytearray(info.rows * width)
    view = memoryview(data)
    with _opened(info) as file:
        for row in range(info.rows):
            begin = row * info.row_bytes + start * item
            _fill(file, info, begin, view[row * width : (row + 1) * width])
    return data


@contextmanager
def _opened(info: TensorInfo) -> Generator[FileIO]:
    try:
        with info.path.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise CheckpointError(
            f"{info.path} cannot be read: {error.strerror}.", "Check the disk it lies on."
        ) from error


def _fill(file: FileIO, info: TensorInfo, begin: int, buffer: memoryview) -> None:
    """Fills ``buffer`` from byte ``begin`` of the tensor on."""
    file.seek(info.start + begin)
    done = 0
    while done < buffer.nbytes:
        got = file.readinto(buffer[done : done + CALL_BYTES])
        if not got:
            size = os.fstat(file.fileno()).st_size
            raise truncated(info.path, info.start + info.nbytes, size, "it needs")
        done += got
