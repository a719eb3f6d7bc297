"""The conversation file as SQLite sees it: who may write, how it is opened, what can go wrong."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from pathlib import Path
from typing import IO

from mlxqwen.errors import OutputError

from .words import say

FAULTS = (sqlite3.Error, UnicodeError, OSError)
"""What the database raises where the disk, the file or a text is at fault."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """``text`` with U+FFFD for lone surrogates: they have no UTF-8, which the file is kept in."""
    return _SURROGATE.sub("\ufffd", text)


def refusal(what: str, error: Exception) -> OutputError:
    """The sentence for one of ``FAULTS``; ``what`` says what could not be done with which file."""
    match error:
        case sqlite3.OperationalError():  # a full disk, a failing one, a file that is locked
            hint = say("disk.full")
        case sqlite3.DatabaseError():
            hint = say("disk.damaged")
        case _:
            hint = say("disk.copy")
    return OutputError(f"{what}: {error}.", hint)


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
    try:
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n".encode())
        handle.flush()
    except OSError:
        handle.raw.close()  # what is buffered cannot be written, and closing would try again
        raise
    return handle


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open ``path`` with foreign keys, and write-ahead logging where it may be written.

    Raises ``sqlite3.Error``, with nothing left open.
    """
    # Autocommit mode: transactions are the explicit ones of `_writing`. The one worker thread that
    # uses the connection need not be the thread that opened it.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
