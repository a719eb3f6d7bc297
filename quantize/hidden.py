"""Hidden states of many sequences on their way through a model's layers.

They stay in memory up to a limit; above it they lie in a scratch file without a name, which
vanishes with the process.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import mlx.core as mx

from mlxqwen.errors import OutputError

# 64k tokens of width 4,096 in bfloat16, or of 2,048 in float32.
MEMORY_BYTES = 512 << 20

_UNSIGNED = {2: mx.uint16, 4: mx.uint32}
_FORMATS = {2: "H", 4: "I"}


class Hidden:
    """Batches of hidden states, each read and replaced on its own. Close it after use.

    Args:
        batches: How many there will be.
        nbytes: Of all of them together, as estimated: decides where they lie.
        limit: Bytes that may lie in memory.
        folder: Of the scratch file; by default the system's own for such files.

    Raises:
        OutputError: No scratch file can be made.
    """

    def __init__(
        self, batches: int, nbytes: int, *, limit: int = MEMORY_BYTES, folder: Path | None = None
    ) -> None:
        self._held: list[mx.array | None] = [None] * batches
        self._places: list[tuple[int, tuple[int, ...], mx.Dtype] | None] = [None] * batches
        self._end = 0
        self._file = None
        if nbytes > limit:
            try:
                # Open until close(): no block of code spans its use.
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
            except OSError as error:
                raise _unwritable(error) from error

    def __len__(self) -> int:
        return len(self._held)

    def write(self, batch: int, x: mx.array) -> None:
        """Sets a batch; a later one must have the shape and dtype of the first.

        Raises:
            OutputError: The disk is full.
        """
        if self._file is None:
            mx.eval(x)
            self._held[batch] = x
            return
        place = self._places[batch]
        if place is None:
            place = self._places[batch] = (self._end, x.shape, x.dtype)
            self._end += x.nbytes
        assert place[1:] == (x.shape, x.dtype)
        unsigned = mx.contiguous(x).view(_UNSIGNED[x.dtype.size])
        data = memoryview(cast("Any", unsigned)).cast("B")
        try:
            while data:
                done = os.pwrite(self._file.fileno(), data[: 1 << 30], place[0])
                data, place = data[done:], (place[0] + done, *place[1:])
        except OSError as error:
            raise _unwritable(error) from error

    def read(self, batch: int) -> mx.array:
        """A batch that was written."""
        if self._file is None:
            held = self._held[batch]
            assert held is not None
            return held
        place = self._places[batch]
        assert place is not None
        start, shape, dtype = place
        count = dtype.size
        for size in shape:
            count *= size
        data = bytearray(count)
        filled = 0
        while filled < count:
            part = os.pread(self._file.fileno(), min(count - filled, 1 << 30), start + filled)
            assert part, "all of it was written"
            data[filled : filled + len(part)] = part
            filled += len(part)
        raw = mx.array(cast("Any", memoryview(data).cast(cast("Any", _FORMATS[dtype.size]))))
        return raw.view(dtype).reshape(shape)

    def close(self) -> None:
        """Forgets all."""
        self._held = []
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"Hidden states cannot be kept in {tempfile.gettempdir()}: {error.strerror}.",
        "Make room there, name another folder in TMPDIR, or calibrate with fewer tokens.",
    )
