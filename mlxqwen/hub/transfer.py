"""One file from the hub to the disk: goes on where it broke off, and is checked before it counts.

The hub's own client begins a file anew after an interruption, which costs up to five gigabytes for
one shard. Here what has arrived stays in a file of its own, locked while it is written, and the
next run reads it for its hash and asks for the rest.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..checkpoint.safetensors import sync
from ..errors import HubError, MlxqwenError, OutputError
from .client import Hub, HubFile, NotAsAnnounced
from .places import hub_cache

_READ = 1 << 20
_LOCK_TICK = 0.1  # seconds between two tries for a lock


class Place(Protocol):
    """Where files go."""

    def path(self, file: HubFile) -> Path:
        """Where ``file`` is found once it is here."""
        ...

    def content(self, file: HubFile) -> Path:
        """Where its bytes lie."""
        ...

    def partial(self, file: HubFile) -> Path:
        """Where they lie until they are complete."""
        ...

    def link(self, file: HubFile) -> None:
        """Makes ``path`` lead to ``content``."""
        ...


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class FolderPlace:
    """A folder of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, file: HubFile) -> Path:
        return self.folder / file.name

    def content(self, file: HubFile) -> Path:
        return self.folder / file.name

    def partial(self, file: HubFile) -> Path:
        return self.folder / f".{file.etag}.incomplete"

    def link(self, file: HubFile) -> None:
        pass


class CachePlace:
    """A snapshot in the hub's cache: contents below ``blobs``, links below ``snapshots``."""

    def __init__(self, name: str, commit: str) -> None:
        self.repository = hub_cache() / ("models--" + name.replace("/", "--"))
        self.folder = self.repository / "snapshots" / commit

    def path(self, file: HubFile) -> Path:
        return self.folder / file.name

    def content(self, file: HubFile) -> Path:
        return self.repository / "blobs" / file.etag

    def partial(self, file: HubFile) -> Path:
        # Not a name that any version of the client writes to: each believes a lock of its own.
        return self.repository / "blobs" / f"{file.etag}.mlxqwen.incomplete"

    def link(self, file: HubFile) -> None:
        path, content = self.path(file), self.content(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            path.symlink_to(Path("..", "..", "blobs", file.etag))
        except OSError:
            content.replace(path)  # a file system without links, such as exFAT


def is_here(place: Place, file: HubFile) -> bool:
    """Whether ``file`` is found where it belongs, in its full size."""
    return _size(place.path(file)) == file.size


def bytes_here(place: Place, file: HubFile) -> int:
    """How much of ``file`` is on the disk."""
    if is_here(place, file) or _size(place.content(file)) == file.size:
        return file.size
    return min(max(_size(place.partial(file)), 0), file.size)


def fetch(
    hub: Hub,
    commit: str,
    file: HubFile,
    place: Place,
    advanced: Callable[[int], None] = lambda done: None,
) -> None:
    """Returns when ``file`` is here, complete and with the hash that the hub announced.

    Args:
        advanced: Called with the bytes that are here, after each piece.

    Raises:
        HubError: It could not be fetched, or is not what the hub announced (it is removed then).
        OutputError: The disk is full, the folder cannot be written, or another process writes it.
    """
    if is_here(place, file):
        return
    try:
        if _size(place.content(file)) != file.size:
            place.partial(file).parent.mkdir(parents=True, exist_ok=True)
            _fill(hub, commit, file, place, advanced)
        place.link(file)
    except OSError as error:
        raise unwritable(f"{hub.name}/{file.name}", error) from error


def unwritable(what: str, error: OSError) -> MlxqwenError:
    """The error of a file that could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutputError(
            f"{what} could not be written: the disk is full.",
            "Free some space, or let HF_HOME name another disk; what is here is kept.",
        )
    return OutputError(
        f"{what} could not be written: {error.strerror or error}.",
        "Check the permissions there, or let HF_HOME name another place; what is here is kept.",
    )


def verify(path: Path, file: HubFile, what: str) -> None:
    """Reads all of ``path`` and compares it with what the hub announced.

    Raises:
        HubError: It differs.
    """
    digest = _digest(file)
    with path.open("rb") as stream:
        _feed(digest, stream.fileno())
        size = os.fstat(stream.fileno()).st_size
    if size != file.size or digest.hexdigest() != file.etag:
        raise HubError(
            f"{path} is not what the hub announced for {what}: its hash differs.",
            "Remove it (`mlxqwen models rm` removes the whole model), then fetch it again.",
        )


def _fill(
    hub: Hub, commit: str, file: HubFile, place: Place, advanced: Callable[[int], None]
) -> None:
    partial = place.partial(file)
    descriptor = _locked(hub, partial, f"{hub.name}/{file.name}")
    try:
        if _size(place.content(file)) == file.size:  # another process was faster
            return
        digest = _digest(file)
        done = _feed(digest, descriptor)
        if done > file.size:
            done, digest = 0, _digest(file)
            os.ftruncate(descriptor, 0)
        advanced(done)

        def restart() -> None:
            nonlocal done, digest
            done, digest = 0, _digest(file)
            os.ftruncate(descriptor, 0)

        def take(data: bytes) -> None:
            nonlocal done
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, done)
                digest.update(view[:written])
                done += written
                view = view[written:]
            advanced(done)

        def attempt() -> None:
            if done < file.size:
                hub.stream(commit, file, done, take, restart=restart)
            if done < file.size:
                raise ConnectionError("it ended too early")

        try:
            hub.patiently(attempt, lambda: done)
        except NotAsAnnounced as error:
            partial.unlink()
            raise HubError(
                f"{hub.name}/{file.name} is not what the hub announced: it is shorter.",
                "It was removed; try again later.",
            ) from error
        if digest.hexdigest() != file.etag:
            partial.unlink()
            raise HubError(
                f"{hub.name}/{file.name} is not what the hub announced: its hash differs.",
                "It was removed; run the command again to fetch this file anew.",
            )
        sync(descriptor)
        partial.replace(place.content(file))
    finally:
        os.close(descriptor)


def _locked(hub: Hub, path: Path, what: str) -> int:
    """A descriptor of ``path``, which nobody else writes while it is open.

    A transfer of this process that was stopped may still hold it, until its connection ends.
    """
    left = hub.patience.silence
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            if left <= 0:
                raise OutputError(
                    f"{what} is being fetched by another process.", "Wait until it ends."
                ) from error
            hub.stop.wait(_LOCK_TICK)
            hub.check()
            left -= _LOCK_TICK
            continue
        status = os.fstat(descriptor)
        # It may have been complete, and moved, between the opening and the lock.
        try:
            if os.path.samestat(status, path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _digest(file: HubFile) -> Digest:
    if file.sha256:
        return hashlib.sha256()
    # A file that is not in LFS is known by git's hash of it.
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _feed(digest: Digest, descriptor: int) -> int:
    """Adds all that ``descriptor`` holds; the number of bytes."""
    position = 0
    while data := os.pread(descriptor, _READ, position):
        digest.update(data)
        position += len(data)
    return position


def _size(path: Path) -> int:
    """The size of the file at ``path``; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
