"""The safetensors format, read and written without NumPy or MLX.

A file is an 8-byte little-endian header length, a JSON header padded with spaces, and the data.
The header maps a tensor name to ``{"dtype", "shape", "data_offsets": [begin, end]}``, with offsets
counted from the end of the header, and ``__metadata__`` to a dictionary of strings. Data are
little-endian, in C order, and fill the file without holes or overlaps
(https://huggingface.co/docs/safetensors). Nothing here ever reads a whole file: headers come
first, then positioned reads and writes of row ranges.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from ..errors import CheckpointError, OutputError
from .disk import allocate, sync
from .written import Written

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

# The limit of the reference implementation; a longer header is a file of another kind.
MAX_HEADER_BYTES = 100_000_000

# One read or write call moves at most this much: macOS refuses more than 2³¹ - 1 bytes.
CALL_BYTES = 1 << 30

_DAMAGED = "The file is damaged or of another kind: download it again."


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies. ``start`` is the absolute byte offset of its data in ``path``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    nbytes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, a vector along the last axis."""
        return (self.shape[-1] if self.shape else 1) * DTYPE_BYTES[self.dtype]

    @property
    def rows(self) -> int:
        """Rows of the tensor with all leading axes flattened; a scalar is one row."""
        return prod(self.shape[:-1])


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of one file by name, in the order of their data, and its metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read and check one file's header; no data are read.

    Raises:
        CheckpointError: The file cannot be read, is no safetensors file, is truncated, or its
            header does not describe its data exactly (unknown dtype, shape and range at odds,
            overlap, hole, duplicate name).
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = header_length(path, file.read(8), size)
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    return parse_header(path, text, size)


def header_length(path: Path, prefix: bytes, size: int) -> int:
    """Bytes of the JSON that follows a file's first 8 bytes; ``size`` is that of the whole file.

    Raises:
        CheckpointError: ``prefix`` begins no safetensors file of that size.
    """
    if prefix == b"version ":
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights.",
            "Run `git lfs pull` in that folder, or download the file again.",
        )
    if len(prefix) < 8:
        raise CheckpointError(
            f"{path} has {size} bytes, fewer than the 8 a safetensors file begins with.",
            "Download it again.",
        )
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES or length < 2:
        raise CheckpointError(
            f"{path} claims a header of {length:,} bytes, so it is no safetensors file.",
            _DAMAGED,
        )
    if 8 + length > size:
        raise truncated(path, 8 + length, size, "its header alone needs")
    return length


class SafetensorsWriter:
    """Writes one file whose tensors are known beforehand, in any order and from any thread.

    The file is created with its full size first, so a full disk shows before any work. As a
    context manager it closes on success; on an error it deletes the file.

    Args:
        path: A file that does not exist yet.
        tensors: Name, dtype and shape of each tensor in the order of their data.
        metadata: Strings for ``__metadata__``.
        resume: Reopen the file of an earlier writer of the same tensors where there is one, and
            never delete it. What it holds counts only as far as ``claim`` says.

    Raises:
        OutputError: The file exists, cannot be created, or does not fit on the disk.
    """

    def __init__(
        self,
        path: Path,
        tensors: Sequence[tuple[str, str, tuple[int, ...]]],
        metadata: Mapping[str, str],
        *,
        resume: bool = False,
    ) -> None:
        header, self._ranges, self.nbytes = layout_header(tensors, metadata)
        self._written = Written(self._ranges, len(header))
        self._keeps = resume
        self.path = path
        fresh = 0 if resume else os.O_EXCL
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | fresh | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._open = True
        try:
            if resume and os.fstat(self._fd).st_size > self.nbytes:
                os.ftruncate(self._fd, self.nbytes)
            allocate(self._fd, self.nbytes)
            self._put(header, 0)
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError):
                raise _unwritable(path, error) from error
            raise

    def write(self, name: str, data: bytes | bytearray | memoryview, *, offset: int = 0) -> None:
        """Write ``data`` (C-contiguous, any item format) ``offset`` bytes into tensor ``name``.

        Raises:
            OutputError: The disk is full or the write failed.
            ValueError: The bytes would leave the tensor.
        """
        begin, end = self._ranges[name]
        view = memoryview(data).cast("B")
        if offset < 0 or begin + offset + view.nbytes > end:
            raise ValueError(f"{view.nbytes} bytes at {offset} do not lie inside {name}")
        try:
            self._put(view, begin + offset)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.claim(name, view.nbytes, offset=offset)

    def claim(self, name: str, nbytes: int, *, offset: int = 0) -> None:
        """Count these bytes of a tensor as written, because an earlier writer wrote them."""
        self._written.add(name, offset, offset + nbytes)

    def read(self, name: str, nbytes: int, *, offset: int = 0) -> bytearray:
        """Bytes of a tensor as the file holds them now, written or not.

        Raises:
            OutputError: The file cannot be read or has become shorter.
        """
        return self.read_at(self._ranges[name][0] + offset, nbytes)

    def read_at(self, position: int, nbytes: int) -> bytearray:
        """``nbytes`` of the file from ``position`` on; raises as ``read``."""
        data = bytearray()
        while len(data) < nbytes:
            size = min(nbytes - len(data), CALL_BYTES)
            try:
                more = os.pread(self._fd, size, position + len(data))
            except OSError as error:
                raise _unreadable(self.path, error.strerror) from error
            if not more:
                raise _unreadable(self.path, "it has become shorter")
            data += more
        return data

    def prefix(self) -> int:
        """Bytes from the file's beginning up to the first one that is not written."""
        return self._written.prefix()

    def sync(self) -> None:
        """Bring all that is written to stable storage.

        Raises:
            OutputError: The sync failed.
        """
        try:
            sync(self._fd)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Check that every byte was written, sync and close.

        Raises:
            OutputError: A tensor has unwritten bytes, or the sync failed; the file is deleted,
                unless it is to be resumed.
        """
        missing = self._written.missing()
        if missing is not None:
            self.abort()
            raise OutputError(
                f"{self.path} was closed with unwritten bytes in {missing}.",
                "This is a fault of the program: please report it.",
            )
        try:
            sync(self._fd)
        except OSError as error:
            self.abort()
            raise _unwritable(self.path, error) from error
        self._open = False
        os.close(self._fd)

    def abort(self) -> None:
        """Close without checks and delete the file, unless it is to be resumed.

        Harmless when it is closed already.
        """
        if self._open:
            self._open = False
            os.close(self._fd)
            if not self._keeps:
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _put(self, data: bytes | memoryview, position: int) -> None:
        view = memoryview(data)
        done = 0
        while done < view.nbytes:
            done += os.pwrite(self._fd, view[done : done + CALL_BYTES], position + done)


def layout_header(
    tensors: Sequence[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, tuple[int, int]], int]:
    """A file's first bytes, each tensor's absolute byte range, and the file's size."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    ranges: dict[str, tuple[int, int]] = {}
    end = 0
    for name, dtype, shape in tensors:
        if name in ranges or name == "__metadata__":
            raise ValueError(f"tensor name {name!r} occurs twice or is reserved")
        begin, end = end, end + prod(shape) * DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        ranges[name] = (begin, end)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # The data begin on a multiple of 8, so that readers that map the file see aligned numbers.
    text += b" " * (-len(text) % 8)
    base = 8 + len(text)
    absolute = {name: (base + a, base + b) for name, (a, b) in ranges.items()}
    return len(text).to_bytes(8, "little") + text, absolute, base + end


def parse_header(path: Path, text: bytes, size: int) -> Header:
    """The header whose JSON is ``text``, of a file of ``size`` bytes that will lie at ``path``.

    Raises:
        CheckpointError: As ``read_header``.
    """
    if not text.startswith(b"{"):
        raise CheckpointError(f"{path} has no JSON header, so it is no safetensors file.", _DAMAGED)
    try:
        # Pairs, because a dictionary would hide a name that occurs twice.
        parsed: object = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has an unreadable header: {error}.", _DAMAGED) from error
    entries = cast("dict[str, object]", parsed)
    # mx.save_safetensors writes null where it is given no metadata.
    metadata: object = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in cast("dict[str, object]", metadata).values()
    ):
        raise CheckpointError(f"{path} has metadata that are not strings.", _DAMAGED)
    base = 8 + len(text)
    infos = [_parse_entry(path, name, entry, base) for name, entry in entries.items()]
    infos.sort(key=lambda info: (info.start, info.nbytes))
    position = base
    for info in infos:
        if info.start != position:
            fault = "overlaps another tensor" if info.start < position else "leaves a hole"
            raise CheckpointError(f"{path}: {info.name} {fault} in the data.", _DAMAGED)
        position += info.nbytes
    if position > size:
        raise truncated(path, position, size, "its header promises")
    if position < size:
        raise CheckpointError(
            f"{path} has {size - position:,} bytes after its last tensor.", _DAMAGED
        )
    return Header({i.name: i for i in infos}, cast("dict[str, str]", metadata))


def _parse_entry(path: Path, name: str, entry: object, base: int) -> TensorInfo:
    fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
    dtype, shape, offsets = (fields.get(k) for k in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise CheckpointError(f"{path}: {name} has the unknown dtype {dtype!r}.", _DAMAGED)
    if not (_is_sizes(shape) and _is_sizes(offsets)) or len(cast("list[int]", offsets)) != 2:
        raise CheckpointError(f"{path}: {name} has no valid shape and data_offsets.", _DAMAGED)
    begin, end = cast("list[int]", offsets)
    sizes = tuple(cast("list[int]", shape))
    nbytes = prod(sizes) * DTYPE_BYTES[dtype]
    if end - begin != nbytes:
        raise CheckpointError(
            f"{path}: {name} of shape {list(sizes)} and dtype {dtype} needs {nbytes:,} bytes, "
            f"but its range holds {end - begin:,}.",
            _DAMAGED,
        )
    return TensorInfo(name, dtype, sizes, path, base + begin, nbytes)


def _is_sizes(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(v) is int and v >= 0 for v in cast("list[object]", value))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return entries


def truncated(path: Path, expected: int, actual: int, promise: str) -> CheckpointError:
    """The error for a file that is shorter than ``promise`` says."""
    return CheckpointError(
        f"{path} is truncated: {promise} {expected:,} bytes, but the file has {actual:,}.",
        "Download it again.",
    )


def _unreadable(path: Path, fault: str | None) -> OutputError:
    return OutputError(
        f"{path} cannot be read back: {fault}.", "Check the disk, or begin anew elsewhere."
    )


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror}.",
        "Check the space and permissions there, or choose another folder.",
    )
