"""The folder ``OUT.partial``: work lies there until its finished half appears as ``OUT``.

::

    OUT.partial/.mlxqwen-partial   marks the folder as ours and is locked while someone works
    OUT.partial/journal            what was asked for, and what of it is on disk (journal.py)
    OUT.partial/source/            downloaded shards that are freed as soon as they are used
    OUT.partial/output/            the model; one rename makes it OUT

It survives errors, Ctrl-C and power loss, so that the same command continues. The system drops the
lock with the process, however it ends. ``OUT`` never holds a file of the work, and ``output`` has
no configuration before its weights are complete, so nothing unfinished can be taken for a model.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Set
from pathlib import Path
from types import TracebackType
from typing import Self

from mlxqwen.checkpoint.disk import sync
from mlxqwen.errors import CheckpointError, OutputError

from .manifest import read_manifest

MARKER = ".mlxqwen-partial"
JOURNAL = "journal"

# What a supply writes first into its folder, see mlxqwen.hub.supply.
SUPPLY_NOTES = "hub.json"


class PartialFolder:
    """As a context manager it creates or reopens the folder and locks it.

    On an error it stays as it is, unless there is nothing in it that is worth keeping.

    Args:
        output: The final folder, which must not exist.
        restart: Forget what an earlier run did.

    Attributes:
        path: ``OUT.partial``.
        files: Where the model's files go.
        source: Where a supply may keep shards that it frees again.
        journal: The journal's file.
        finished: An earlier run published ``output`` and ended before it could clear up.

    Raises:
        OutputError: On entry: ``output`` exists, its ``.partial`` is not ours or is in use, or it
            cannot be created.
    """

    def __init__(self, output: Path, *, restart: bool = False) -> None:
        # Not Path.resolve, to which links that lead in a circle are a fault of the program.
        self.output = Path(os.path.realpath(output))
        self.path = self.output.parent / f"{self.output.name}.partial"
        self.files = self.path / "output"
        self.source = self.path / "source"
        self.journal = self.path / JOURNAL
        self.finished = False
        self._restart = restart
        self._lock = -1

    def __enter__(self) -> Self:
        if not self.is_remains():
            self._refuse_existing()
        try:
            self._create()
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            # Once more under the lock: meanwhile another process may have finished.
            self.finished = self.is_remains() and not self._restart
            if not self.finished:
                self._refuse_existing()
                self._prepare()
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._clear_if_worthless()
            os.close(self._lock)
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What cannot be removed must not hide why we are here; the next run removes it.
        with contextlib.suppress(OSError):
            self._clear_if_worthless()
        os.close(self._lock)

    def write(self, name: str, data: bytes) -> None:
        """Write one of the model's files, over whatever an earlier run left of it, and sync it.

        Raises:
            OutputError: The disk is full or the write failed.
        """
        path = self.files / name
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o666)
            try:
                write_all(descriptor, data)
                sync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(path, error) from error

    def keep_only(self, names: Set[str]) -> None:
        """Remove whatever else lies among the model's files: loaders take every file they match.

        Raises:
            OutputError: Something could not be removed.
        """
        try:
            for entry in self.files.iterdir():
                if entry.name not in names:
                    _remove(entry)
        except OSError as error:
            raise unwritable(self.files, error) from error

    def sync_files(self) -> None:
        """Make the names of the model's files stable; their data must be synced already.

        Raises:
            OutputError: The sync failed.
        """
        try:
            sync_folder(self.files)
        except OSError as error:
            raise unwritable(self.files, error) from error

    def publish(self) -> None:
        """Rename the model's files, which must be synced, to ``output``, and remove the rest.

        Raises:
            OutputError: ``output`` has appeared meanwhile, or the rename failed.
        """
        self._refuse_existing()
        try:
            sync_folder(self.files)
            self.files.rename(self.output)
            sync_folder(self.output.parent)
            sync_folder(self.path)
        except OSError as error:
            raise unwritable(self.output, error) from error
        self.clear()

    def clear(self) -> None:
        """Remove the folder, the marker last: without it, it would not be known as ours."""
        # The model stands complete: what cannot be removed now, the next run removes.
        with contextlib.suppress(OSError):
            self._clear()

    def _create(self) -> None:
        """Makes and locks the folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if self.path.exists() and not self.path.is_dir():
                raise self._foreign()
            self.path.mkdir(exist_ok=True)
            self._refuse_foreign()
            marker = self.path / MARKER
            try:
                self._lock = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue
            try:
                self._take_lock()
                # A process that just finished may have removed the file that we now hold.
                if marker.exists() and os.path.samestat(os.fstat(self._lock), marker.stat()):
                    return
            except BaseException:
                os.close(self._lock)
                raise
            os.close(self._lock)

    def _prepare(self) -> None:
        if self._restart:
            # First of all: with its journal gone, nothing left behind counts as done.
            self.journal.unlink(missing_ok=True)
            sync_folder(self.path)
            self._remove_all_but(MARKER)
        elif not self.journal.exists():
            self._remove_all_but(MARKER, self.source.name)
        self.files.mkdir(exist_ok=True)
        sync_folder(self.path)
        sync_folder(self.path.parent)

    def is_remains(self) -> bool:
        """Whether ``output`` was published by a run that ended before it could clear up."""
        if not self.output.is_dir() or not self.path.is_dir():
            return False
        names = {entry.name for entry in self.path.iterdir()}
        # The marker goes last, so without it nothing else of ours can be there.
        return names <= {MARKER, JOURNAL, self.source.name} and (MARKER in names or not names)

    def _refuse_existing(self) -> None:
        if not (self.output.exists() or self.output.is_symlink()):
            return
        what = "exists already"
        try:
            manifest = read_manifest(self.output)
        except CheckpointError:
            manifest = None
        if manifest is not None:
            what = f"exists already: {manifest.source.name}, finished with recipe {manifest.name}"
        raise OutputError(
            f"{self.output} {what}.", "Use it, remove it, or choose another output folder."
        )

    def _refuse_foreign(self) -> None:
        names = {entry.name for entry in self.path.iterdir()}
        # An empty folder is what a run that died in its first instant leaves; one with nothing but
        # a supply's shards, what one leaves that had only begun to fetch.
        fetched = names == {self.source.name} and (self.source / SUPPLY_NOTES).is_file()
        if self.path.is_symlink() or (names and MARKER not in names and not fetched):
            raise self._foreign()

    def _foreign(self) -> OutputError:
        return OutputError(
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

    def _clear_if_worthless(self) -> None:
        if (self.path / MARKER).exists() and not (self.journal.exists() or self.source.exists()):
            self._clear()

    def _clear(self) -> None:
        self._remove_all_but(MARKER)
        sync_folder(self.path)
        (self.path / MARKER).unlink()
        self.path.rmdir()

    def _remove_all_but(self, *names: str) -> None:
        for entry in self.path.iterdir():
            if entry.name not in names:
                _remove(entry)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data`` at the file's position; raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    """Make the names in a folder stable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error of a path that could not be written."""
    return OutputError(
        f"{path} cannot be written: {error.strerror}.",
        "Check the space and permissions there, or choose another folder.",
    )


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
