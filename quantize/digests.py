"""SHA-256 of files while they are being written: each as far as it is without a hole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha256

from mlxqwen.checkpoint.safetensors import SafetensorsWriter

from .manifest import FileHash

# Read back from the system's cache while it still holds them.
_BLOCK = 4 << 20


class Digests:
    """Hashes of all ``files``; ``advance`` is called from one thread at a time."""

    def __init__(self, files: Sequence[SafetensorsWriter]) -> None:
        self._files = files
        self._hashes = [sha256() for _ in files]
        self._done = [0 for _ in files]
        self._stop = threading.Event()

    def advance(self) -> None:
        """Hash what has been written since, up to the first hole of each file."""
        for index, file in enumerate(self._files):
            end = file.prefix()
            while self._done[index] < end and not self._stop.is_set():
                block = file.read_at(self._done[index], min(_BLOCK, end - self._done[index]))
                self._hashes[index].update(block)
                self._done[index] += len(block)

    def stop(self) -> None:
        """Let ``advance`` return soon: its result is not wanted any more."""
        self._stop.set()

    def result(self) -> dict[str, FileHash]:
        """By file name; all files are complete and ``advance`` has been called since."""
        assert all(file.nbytes == done for file, done in zip(self._files, self._done, strict=True))
        return {
            file.path.name: FileHash(file.nbytes, digest.hexdigest())
            for file, digest in zip(self._files, self._hashes, strict=True)
        }
