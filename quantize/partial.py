"""The folder ``OUT.partial``: everything is written there and appears as ``OUT`` by one rename.

A marker file in it tells our own folder from anybody else's, and a lock on that file tells a
running quantisation from a dead one. The system drops the lock with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from mlxqwen.checkpoint.safetensors import sync
from mlxqwen.errors import OutputError

MARKER = ".mlxqwen-partial"


class PartialFolder:
    """As a context manager it creates and locks the folder, and removes it unless published.

    Args:
        output: The final folder, which must not exist.

    Raises:
        OutputError: On entry: ``output`` exists, its ``.partial`` is not ours or is in use, or it
            cannot be created.
    """

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()
        self.path = self.output.parent / f"{self.output.name}.partial"
        self._lock = -1
        self._published = False

    def __enter__(self) -> Self:
        self._refuse_existing()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(exist_ok=True)
            self._refuse_foreign()
            self._lock = os.open(self.path / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._take_lock()
                self._remove_all_but_marker()
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise unwritable(self.path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._published:
            # A file that cannot be removed must not hide why we are here; the next run removes it.
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def write(self, name: str, data: bytes) -> None:
        """Create a file in the folder and sync it.

        Raises:
            OutputError: The disk is full or the write failed.
        """
        path = self.path / name
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                sync(file.fileno())
        except OSError as error:
            raise unwritable(path, error) from error

    def publish(self) -> None:
        """Sync the folder and rename it; its files must be synced already.

        Raises:
            OutputError: ``output`` has appeared meanwhile, or the rename failed.
        """
        self._refuse_existing()
        try:
            _sync_folder(self.path)
            self.path.rename(self.output)
            self._published = True
            # After the rename: a folder without its marker would not be known as ours any more.
            (self.output / MARKER).unlink()
            _sync_folder(self.output)
            _sync_folder(self.output.parent)
        except OSError as error:
            raise unwritable(self.output, error) from error

    def _refuse_existing(self) -> None:
        if self.output.exists():
            raise OutputError(
                f"{self.output} exists already.", "Remove it or choose another output folder."
            )

    def _refuse_foreign(self) -> None:
        names = {entry.name for entry in self.path.iterdir()}
        # An empty folder is what a run that died in its first instant leaves.
        if self.path.is_symlink() or (names and MARKER not in names):
            raise OutputError(
                f"{self.path} exists and was not made by mlxqwen.",
                "Remove it or choose another output folder.",
            )

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{self.path} is being written by another process.",
                "Wait until it ends, or choose another output folder.",
            ) from error

    def _remove_all_but_marker(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error of a path that could not be written."""
    return OutputError(
        f"{path} cannot be written: {error.strerror}.",
        "Check the space and permissions there, or choose another folder.",
    )


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
