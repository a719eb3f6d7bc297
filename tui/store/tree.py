"""The tree of messages: what is said, and which branches there are.

The user's message is committed before an answer is asked for, the answer is a ``streaming`` row
flushed as it grows, and a row that has reached a terminal state never changes again (a trigger
refuses it): editing and regenerating add siblings.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from ..database import storable
from ..records import Attachable, Attachment, End, Hit, Message, Statistics
from ..search import Query
from .attached import Attached
from .conversations import title_from
from .file import row_id

_MESSAGE = (
    "id, conversation_id, parent_id, role, text, reasoning, state, note, model_id, seed, "
    "n_prompt, n_gen, ttft_ms, tok_s, thinking_ms, created_at, params_json"
)


class Tree(Attached):
    """What is asked of and added to the messages of conversations."""

    __slots__ = ()

    def add_user(
        self,
        conversation_id: int,
        parent_id: int | None,
        text: str,
        attachments: Sequence[Attachable] = (),
    ) -> Message:
        """Commit what the user sent. The first message names an untitled conversation."""
        with self._writing() as cursor:
            message_id = self._add_user(cursor, conversation_id, parent_id, text, attachments)
        return self.message(message_id)

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
                (storable(model), json.dumps(dict(params or {})), _column(seed), message),
            )
        return self.message(message)

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
        return self.message(message_id)

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
        attached = self._attached(rows[0][1]) if rows else {}
        return [_message(row, attached) for row in rows]

    def message(self, message_id: int) -> Message:
        """One message. Raises ValueError if there is none of that id."""
        rows = self._read(f"SELECT {_MESSAGE} FROM message WHERE id = ?", (message_id,))
        if not rows:
            raise ValueError(f"There is no message {message_id}.")
        return _message(rows[0], self._attached(rows[0][1], message_id))

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
            "WITH crowd(parent_id) AS (SELECT parent_id FROM message "
            "  WHERE conversation_id = ?1 AND deleted_at IS NULL"
            "  GROUP BY parent_id HAVING count(*) > 1) "
            "SELECT m.parent_id, m.id FROM crowd CROSS JOIN message m "
            "ON m.parent_id IS crowd.parent_id "
            "WHERE m.conversation_id = ?1 AND m.deleted_at IS NULL ORDER BY m.id",
            (conversation_id,),
        )
        versions: dict[int | None, list[int]] = {}
        for parent_id, message_id in rows:
            versions.setdefault(parent_id, []).append(message_id)
        return {
            message_id: (place, len(family))
            for family in versions.values()
            for place, message_id in enumerate(family, 1)
        }

    def newest_leaf(self, message_id: int) -> int:
        """The leaf one reaches from ``message_id`` by taking the newest child each time."""
        # A child is younger than its parent, so the last of the walk has the largest id.
        rows = self._read(
            "WITH RECURSIVE down(id) AS (SELECT ?1 UNION ALL "
            "  SELECT (SELECT max(id) FROM message WHERE parent_id = down.id"
            "  AND deleted_at IS NULL) FROM down WHERE down.id IS NOT NULL) "
            "SELECT max(id) FROM down",
            (message_id,),
        )
        return int(rows[0][0])

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

    def _add_user(
        self,
        cursor: sqlite3.Cursor,
        conversation_id: int,
        parent_id: int | None,
        text: str,
        attachments: Sequence[Attachable],
    ) -> int:
        text = storable(text)
        message_id = self._insert(cursor, conversation_id, parent_id, "user", text, "done")
        self._attach(cursor, message_id, attachments)
        self._index(cursor, message_id)
        name = text if text.strip() or not attachments else storable(attachments[0].name)
        cursor.execute(
            "UPDATE conversation SET title = ? WHERE id = ? AND title = ''",
            (title_from(name), conversation_id),
        )
        return message_id

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
        message_id = row_id(cursor)
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


def _message(row: Sequence[Any], attached: Mapping[int, tuple[Attachment, ...]]) -> Message:
    *plain, params = row
    used: dict[str, Any] = {} if params == "{}" else json.loads(params)
    return Message(*plain, params=used, attachments=attached.get(plain[0], ()))


def _column(seed: int | None) -> int | None:
    # SQLite's integers are signed; a seed beyond them is in `params_json` all the same.
    return seed if seed is not None and seed < 2**63 else None
