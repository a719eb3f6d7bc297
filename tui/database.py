"""One process writes the conversation file; how it makes sure, and how it opens it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO


def take_lock(path: Path) -> IO[bytes] | None:
    """The lock of ``path`` as an open file, or None if another process holds it.

    The kernel releases it when the process ends, however it ends. Raises ``OSError``.
    """
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n".encode())
    handle.flush()
    return handle


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open ``path`` with foreign keys, and write-ahead logging where it may be written."""
    # Autocommit mode: transactions are the explicit ones of `_writing`. The one worker thread that
    # uses the connection need not be the thread that opened it.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection
