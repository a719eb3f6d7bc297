"""What a disk must be asked for explicitly: stable storage and room."""

from __future__ import annotations

import errno
import os
import sys

if sys.platform == "darwin":
    import fcntl


def sync(descriptor: int) -> None:
    """Bring a file's or folder's data to stable storage.

    On macOS ``fsync`` leaves data in the drive's cache; F_FULLFSYNC flushes it, where the file
    system knows it.
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass  # network and foreign file systems lack it: the next line is all there is
    os.fsync(descriptor)


def allocate(descriptor: int, size: int) -> None:
    """Give an open file its size and reserve the space, where the file system can; keeps data."""
    if sys.platform == "darwin":
        os.ftruncate(descriptor, size)  # no posix_fallocate there; a full disk shows on writing
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, size)  # a file system that cannot reserve space
