"""Opening a conversation file, and the whole of what can be asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mlxqwen.errors import OutputError

from .. import database, migrations
from .conversations import Conversations
from .tree import Tree


class Store(Conversations, Tree):
    """An open conversation file. Make one with ``Store.open``."""

    __slots__ = ()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Store:
        """Open ``path``, creating it and its folder; migrate; recover what a dead process left.

        Raises:
            OutputError: The folder cannot be written, the file is no database, or it comes from a
                newer program.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = database.take_lock(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise OutputError(
                f"The folder {path.parent} cannot be written: {error.strerror}.",
                "Set MLXQWEN_HOME to a folder of yours.",
            ) from error
        with ExitStack() as undo:
            if lock:
                undo.callback(lock.close)
            try:
                connection = database.connect(path, read_only=lock is None)
                undo.callback(connection.close)
                if lock:
                    migrations.migrate(connection, path)
                else:
                    migrations.refuse_newer(connection, path)
                store = cls(path, lock is None, 0, connection, lock, clock)
                store.recovered = store._recover() if lock else 0
            except database.FAULTS as error:
                raise OutputError(
                    f"The conversations in {path} cannot be opened: {error}.",
                    "Move that file away to start afresh; backups lie beside it as *.backup.",
                ) from error
            undo.pop_all()
        return store

    def close(self) -> None:
        """Close the file and give the lock back; calling it again does nothing."""
        self._connection.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    def _recover(self) -> int:
        """Mark and index the answers of a process that died; only the lock's holder may."""
        with self._writing() as cursor:
            rows = cursor.execute("SELECT id FROM message WHERE state = 'streaming'").fetchall()
            for (message_id,) in rows:
                cursor.execute(
                    "UPDATE message SET state = 'interrupted' WHERE id = ?", (message_id,)
                )
                self._index(cursor, message_id)
        return len(rows)
