"""Conversations on disk: a SQLite file in which nothing a person typed or read is ever lost.

A conversation is a tree of messages; ``leaf_id`` names the branch that is open. The user's message
is committed before an answer is asked for, the answer is a ``streaming`` row flushed as it grows,
and a row that has reached a terminal state never changes again (a trigger refuses it): editing and
regenerating add siblings. One process writes: it holds an advisory lock, which the kernel releases
however that process ends. A second process finds the lock taken and opens the file read-only.

Every call is synchronous and may wait for the disk: the interface makes them in one worker thread.
Every call raises ``OutputError`` where the disk refuses or the file is damaged. Lone surrogates in
a text are stored as U+FFFD.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from mlxqwen.errors import OutputError

from . import database, migrations
from .database import storable
from .records import Conversation, End, Hit, Message, Statistics
from .search import Query

_CONVERSATION = "id, title, leaf_id, model_id, system, params_json, pinned, updated_at"
_MESSAGE = (
    "id, conversation_id, parent_id, role, text, reasoning, state, note, model_id, seed, "
    "n_prompt, n_gen, ttft_ms, tok_s, thinking_ms, created_at"
)
_TITLE_LENGTH = 60


def title_from(text: str) -> str:
    """A conversation's first title: the first line of its first message, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= _TITLE_LENGTH:
        return line
    head = line[:_TITLE_LENGTH]
    return (head.rsplit(" ", 1)[0] if " " in head[_TITLE_LENGTH // 2 :] else head) + "…"


@dataclass(slots=True)
class Store:
    """An open conversation file. Make one with ``Store.open``."""

    path: Path
    read_only: bool
    recovered: int
    """Answers that a previous process left unfinished and this one marked ``interrupted``."""
    _connection: sqlite3.Connection
    _lock: IO[bytes] | None
    _clock: Callable[[], float] = time.time

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

    # Conversations

    def conversations(self, limit: int = 500) -> list[Conversation]:
        """Those not deleted, pinned ones first, then the most recently used."""
        rows = self._read(
            f"SELECT {_CONVERSATION} FROM conversation WHERE deleted_at IS NULL "
            "ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT ?",
            (limit,),
        )
        return [_conversation(row) for row in rows]

    def conversation(self, conversation_id: int) -> Conversation | None:
        """One conversation, deleted or not; None if there is none of that id."""
        rows = self._read(
            f"SELECT {_CONVERSATION} FROM conversation WHERE id = ?", (conversation_id,)
        )
        return _conversation(rows[0]) if rows else None

    def create(self, *, title: str = "", model: str = "", system: str = "") -> Conversation:
        """Add an empty conversation."""
        with self._writing() as cursor:
            cursor.execute(
                "INSERT INTO conversation (title, model_id, system, updated_at) "
                "VALUES (?, ?, ?, ?)",
                (storable(title), storable(model), storable(system), self._clock()),
            )
            made = self.conversation(_row_id(cursor))
        assert made is not None
        return made

    def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title."""
        self._set(conversation_id, "title", title)

    def pin(self, conversation_id: int, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no longer."""
        self._set(conversation_id, "pinned", int(pinned))

    def set_model(self, conversation_id: int, model: str) -> None:
        """Remember which model this conversation goes on with."""
        self._set(conversation_id, "model_id", model)

    def set_leaf(self, conversation_id: int, message_id: int) -> None:
        """Open another branch."""
        self._set(conversation_id, "leaf_id", message_id)

    def delete(self, conversation_id: int) -> None:
        """Hide a conversation; ``undo_delete`` brings it back."""
        self._set(conversation_id, "deleted_at", self._clock())

    def undo_delete(self) -> Conversation | None:
        """Bring back the conversation deleted last; None if there is none."""
        rows = self._read(
            "SELECT id FROM conversation WHERE deleted_at IS NOT NULL "
            "ORDER BY deleted_at DESC, id DESC LIMIT 1"
        )
        if not rows:
            return None
        ((conversation_id,),) = rows
        self._set(conversation_id, "deleted_at", None)
        return self.conversation(conversation_id)

    # Messages

    def add_user(self, conversation_id: int, parent_id: int | None, text: str) -> Message:
        """Commit what the user sent. The first message names an untitled conversation."""
        text = storable(text)
        with self._writing() as cursor:
            message = self._insert(cursor, conversation_id, parent_id, "user", text, "done")
            self._index(cursor, message)
            cursor.execute(
                "UPDATE conversation SET title = ? WHERE id = ? AND title = ''",
                (title_from(text), conversation_id),
            )
        return self._message(message)

    def start_answer(
        self,
        conversation_id: int,
        parent_id: int | None,
        *,
        model: str,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Message:
        """Add an empty ``streaming`` answer under ``parent_id`` and open its branch."""
        with self._writing() as cursor:
            message = self._insert(cursor, conversation_id, parent_id, "assistant", "", "streaming")
            cursor.execute(
                "UPDATE message SET model_id = ?, params_json = ?, seed = ? WHERE id = ?",
                (storable(model), json.dumps(dict(params or {})), seed, message),
            )
        return self._message(message)

    def flush(self, message_id: int, text: str, reasoning: str) -> None:
        """Save what has streamed so far; a message already ended is left as it is."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE message SET text = ?, reasoning = ? WHERE id = ? AND state = 'streaming'",
                (storable(text), storable(reasoning), message_id),
            )

    def finish(
        self,
        message_id: int,
        state: End,
        text: str,
        reasoning: str,
        *,
        note: str = "",
        statistics: Statistics | None = None,
    ) -> Message:
        """End a streaming message for good, and index it. Ending it twice changes nothing."""
        texts = [storable(text), storable(reasoning), state, storable(note)]
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE message SET text = ?, reasoning = ?, state = ?, note = ?, n_prompt = ?, "
                "n_gen = ?, ttft_ms = ?, tok_s = ?, thinking_ms = ? "
                "WHERE id = ? AND state = 'streaming'",
                (*texts, *astuple(statistics or Statistics()), message_id),
            )
            if cursor.rowcount:
                self._index(cursor, message_id)
                self._touch(cursor, message_id)
        return self._message(message_id)

    def branch(self, leaf_id: int) -> list[Message]:
        """The messages from the root to ``leaf_id``, oldest first."""
        rows = self._read(
            "WITH RECURSIVE up(id, parent_id, depth) AS ("
            "  SELECT id, parent_id, 0 FROM message WHERE id = ?"
            "  UNION ALL SELECT m.id, m.parent_id, up.depth + 1"
            "  FROM message m JOIN up ON m.id = up.parent_id) "
            f"SELECT {', '.join('m.' + name for name in _MESSAGE.split(', '))} "
            "FROM up JOIN message m ON m.id = up.id ORDER BY up.depth DESC",
            (leaf_id,),
        )
        return [Message(*row) for row in rows]

    def siblings(self, message_id: int) -> list[int]:
        """The ids of all versions of a message, itself among them, oldest first."""
        rows = self._read(
            "SELECT s.id FROM message m JOIN message s "
            "ON s.conversation_id = m.conversation_id AND s.parent_id IS m.parent_id "
            "WHERE m.id = ? AND s.deleted_at IS NULL ORDER BY s.id",
            (message_id,),
        )
        return [row[0] for row in rows]

    def versions(self, conversation_id: int) -> dict[int, tuple[int, int]]:
        """(number from 1, count) of every message that has siblings, by id."""
        rows = self._read(
            "SELECT id, row_number() OVER same, count(*) OVER (PARTITION BY parent_id) "
            "FROM message WHERE conversation_id = ? AND deleted_at IS NULL "
            "WINDOW same AS (PARTITION BY parent_id ORDER BY id)",
            (conversation_id,),
        )
        return {number: (place, total) for number, place, total in rows if total > 1}

    def newest_leaf(self, message_id: int) -> int:
        """The leaf one reaches from ``message_id`` by taking the newest child each time."""
        newest = "SELECT max(id) FROM message WHERE parent_id = ? AND deleted_at IS NULL"
        while child := self._read(newest, (message_id,))[0][0]:
            message_id = child
        return message_id

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        """Messages of every branch that contain ``text``, the best first.

        Words match without case or accents, the last one as a beginning; text that has no words of
        that kind (CJK, code, fragments) matches wherever it stands.
        """
        query = Query.parse(text)
        for statement, argument in query.statements():
            rows = self._read(statement, (argument, limit))
            if rows:
                return [Hit(*row) for row in rows]
        return []

    # Within a transaction

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Cursor, None, None]:
        if self.read_only:
            raise OutputError(
                "Another mlxqwen is open, so conversations are read-only in this one.",
                "Close the other window, then start this one again.",
            )
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except database.FAULTS as error:
            self._roll_back()
            what = f"The conversation could not be saved in {self.path}"
            raise database.refusal(what, error) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite drops what is unfinished when the file closes
                self._connection.rollback()

    def _read(self, statement: str, parameters: Sequence[str | int] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except database.FAULTS as error:
            what = f"The conversations in {self.path} could not be read"
            raise database.refusal(what, error) from error

    def _set(
        self,
        conversation_id: int,
        column: Literal["title", "pinned", "model_id", "leaf_id", "deleted_at"],
        value: str | float | None,
    ) -> None:
        if isinstance(value, str):
            value = storable(value)
        with self._writing() as cursor:
            cursor.execute(
                f"UPDATE conversation SET {column} = ? WHERE id = ?", (value, conversation_id)
            )

    def _insert(
        self,
        cursor: sqlite3.Cursor,
        conversation_id: int,
        parent_id: int | None,
        role: str,
        text: str,
        state: str,
    ) -> int:
        cursor.execute(
            "INSERT INTO message (conversation_id, parent_id, role, text, state, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (conversation_id, parent_id, role, text, state, self._clock()),
        )
        message_id = _row_id(cursor)
        cursor.execute(
            "UPDATE conversation SET leaf_id = ? WHERE id = ?", (message_id, conversation_id)
        )
        self._touch(cursor, message_id)
        return message_id

    def _touch(self, cursor: sqlite3.Cursor, message_id: int) -> None:
        cursor.execute(
            "UPDATE conversation SET updated_at = ? "
            "WHERE id = (SELECT conversation_id FROM message WHERE id = ?)",
            (self._clock(), message_id),
        )

    def _index(self, cursor: sqlite3.Cursor, message_id: int) -> None:
        for table in ("message_fts", "message_tri"):
            cursor.execute(
                f"INSERT INTO {table} (rowid, text) SELECT id, text FROM message WHERE id = ?",
                (message_id,),
            )

    def _message(self, message_id: int) -> Message:
        (row,) = self._read(f"SELECT {_MESSAGE} FROM message WHERE id = ?", (message_id,))
        return Message(*row)

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


def _row_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _conversation(row: Sequence[Any]) -> Conversation:
    number, title, leaf_id, model_id, system, params, pinned, updated_at = row
    return Conversation(
        number, title, leaf_id, model_id, system, json.loads(params), bool(pinned), updated_at
    )
