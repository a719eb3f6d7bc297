"""What was measured about checkpoints, kept so that it need not be measured again.

One safetensors file for each result, named by a digest of all that the result depends on, in the
folder ``scores`` beside our models. Losing the folder loses time and nothing else: an entry that is
damaged, or cannot be written, is said and passed over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

import mlxqwen
from mlxqwen.checkpoint.origins import View
from mlxqwen.checkpoint.safetensors import Header, SafetensorsWriter, read_header
from mlxqwen.checkpoint.stored import FileReader
from mlxqwen.errors import CheckpointError, OutputError
from mlxqwen.hub.places import data_folder

# All entries together; the ones unused for longest go first.
LIMIT_BYTES = 8 << 30

# Raised when entries of the same name come to mean something else.
_FORMAT = 1

_SUFFIX = ".safetensors"
_NAMES = {
    mx.float32: "F32",
    mx.float16: "F16",
    mx.bfloat16: "BF16",
    mx.uint8: "U8",
    mx.int32: "I32",
    mx.uint32: "U32",
}
_UNSIGNED = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}
# An unfinished file older than this belongs to a process that has died.
_STALE_SECONDS = 86_400

Say = Callable[[str], None]


def in_silence(message: str) -> None:
    """A ``Say`` that does not."""
    del message


@dataclass(frozen=True, slots=True)
class Entry:
    """One result: arrays of one axis or more, and anything that JSON can hold."""

    arrays: Mapping[str, mx.array]
    value: Mapping[str, Any]

    def fingerprint(self) -> str:
        """SHA-256 in hex of all of it."""
        digest = sha256(_json(self.value).encode())
        for name, array in sorted(self.arrays.items()):
            digest.update(f"\n{name} {_NAMES[array.dtype]} {array.shape}\n".encode())
            digest.update(_bytes(array))
        return digest.hexdigest()


def key_of(kind: str, settings: Mapping[str, Any]) -> str:
    """The name of the result of ``kind`` (a word) under ``settings`` (all it depends on, as JSON).

    The versions of mlxqwen and MLX count as settings.
    """
    versions = [_FORMAT, mlxqwen.__version__, metadata.version("mlx")]
    text = _json({"versions": versions, "settings": settings})
    return f"{kind}-{sha256(text.encode()).hexdigest()}"


class Scores:
    """The results kept on this machine.

    Args:
        folder: Where; by default in mlxqwen's data folder. It is made when first written to.
        limit: Bytes of all entries together.
        say: Told, in a sentence, of entries that could not be used or written.
    """

    def __init__(
        self, folder: Path | None = None, *, limit: int = LIMIT_BYTES, say: Say = in_silence
    ) -> None:
        self.folder = data_folder() / "scores" if folder is None else folder
        self._limit = limit
        self._say = say

    def read(self, key: str) -> Entry | None:
        """The result named ``key``; None where there is none, or it is damaged."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            header = read_header(path)
            entry = _read(header)
            sound = entry.fingerprint() == header.metadata["fingerprint"]
            if sound:
                os.utime(path)
        except (CheckpointError, OSError, KeyError, ValueError):
            sound, entry = False, None
        if sound:
            return entry
        self._say(f"{path} is damaged, so what it held is measured again.")
        path.unlink(missing_ok=True)
        return None

    def write(self, key: str, entry: Entry) -> None:
        """Keeps a result under ``key``, whole or not at all, and drops the oldest for its room."""
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        layout = [(n, _NAMES[a.dtype], tuple(a.shape)) for n, a in sorted(entry.arrays.items())]
        strings = {"value": _json(entry.value), "fingerprint": entry.fingerprint()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with SafetensorsWriter(temporary, layout, strings) as writer:
                for name, array in entry.arrays.items():
                    writer.write(name, _bytes(array))
            temporary.replace(path)
            self._prune(path)
        except OutputError as error:
            self._say(f"A result is not kept for the next time: {error.what}")
        except OSError as error:
            self._say(f"A result is not kept for the next time: {path}: {error.strerror}.")

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _prune(self, newest: Path) -> None:
        """Removes entries from the one unused for longest on, until the rest is within limits."""
        for left in self.folder.glob("*.part"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink(missing_ok=True)
        found = [(p.stat(), p) for p in self.folder.glob(f"*{_SUFFIX}") if p != newest]
        total = newest.stat().st_size + sum(status.st_size for status, _ in found)
        for status, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
            if total <= self._limit:
                return
            path.unlink(missing_ok=True)
            total -= status.st_size


def _read(header: Header) -> Entry:
    value: object = json.loads(header.metadata["value"])
    if not isinstance(value, dict):
        raise ValueError("not an object")
    reader = FileReader()
    arrays = {
        name: reader.rows(View(info), 0, info.rows).reshape(info.shape)
        for name, info in header.tensors.items()
    }
    return Entry(arrays, cast("dict[str, Any]", value))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _bytes(array: mx.array) -> memoryview:
    # A memoryview knows no bfloat16; as unsigned integers of the same size it is the same bytes.
    unsigned = mx.contiguous(array).view(_UNSIGNED[array.dtype.size])
    return memoryview(cast("Any", unsigned)).cast("B")
