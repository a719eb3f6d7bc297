"""The conversation file as the parts of the store share it: one connection, one way to write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlxqwen.errors import OutputError

from .. import database
from ..words import say


@dataclass(slots=True)
class File:
    """An open conversation file."""

    path: Path
    read_only: bool
    recovered: int
    """Answers that a previous process left unfinished and this one marked ``interrupted``."""
    _connection: sqlite3.Connection
    _lock: IO[bytes] | None
    _clock: Callable[[], float] = time.time

    def close(self) -> None:
        """Close the file and give the lock back; calling it again does nothing."""
        self._connection.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Cursor, None, None]:
        if self.read_only:
            raise OutputError(say("disk.read_only"), say("disk.close_other"))
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except database.FAULTS as error:
            self._roll_back()
            what = say("disk.unsaved", path=self.path)
            raise database.refusal(what, error) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite drops what is unfinished when the file closes
                self._connection.rollback()

    def _read(self, statement: str, parameters: Sequence[str | int | None] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except database.FAULTS as error:
            what = say("disk.unread", path=self.path)
            raise database.refusal(what, error) from error


def row_id(cursor: sqlite3.Cursor) -> int:
    """The id of the row that ``cursor`` inserted last."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid
