"""The list of conversations: title, model, pin, deletion and its undoing."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..database import storable
from ..records import Conversation
from .file import File, row_id

_CONVERSATION = "id, title, leaf_id, model_id, system, params_json, pinned, updated_at"
_TITLE_LENGTH = 60
_COUNTED = re.compile(r"(.+) \((\d{1,4})\)", re.DOTALL)


def title_from(text: str) -> str:
    """A conversation's first title: the first line of its first message, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= _TITLE_LENGTH:
        return line
    head = line[:_TITLE_LENGTH]
    return (head.rsplit(" ", 1)[0] if " " in head[_TITLE_LENGTH // 2 :] else head) + "…"


class Conversations(File):
    """What is asked and changed of conversations as a whole."""

    __slots__ = ()

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

    def create(
        self,
        *,
        title: str = "",
        model: str = "",
        system: str = "",
        params: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Add an empty conversation."""
        with self._writing() as cursor:
            made = self.conversation(self._create(cursor, title, model, system, params or {}))
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

    def tune(
        self,
        conversation_id: int,
        *,
        system: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what answers of this conversation are asked with, as far as given."""
        with self._writing() as cursor:
            cursor.execute(
                "UPDATE conversation SET system = coalesce(?, system), "
                "params_json = coalesce(?, params_json) WHERE id = ?",
                (
                    None if system is None else storable(system),
                    None if params is None else json.dumps(dict(params)),
                    conversation_id,
                ),
            )

    def set_leaf(self, conversation_id: int, message_id: int) -> None:
        """Open another branch."""
        self._set(conversation_id, "leaf_id", message_id)

    def delete(self, conversation_id: int) -> None:
        """Hide a conversation; ``undo_delete`` brings it back."""
        self._set(conversation_id, "deleted_at", self._clock())

    def restore(self, conversation_id: int) -> None:
        """Bring back one that was deleted."""
        self._set(conversation_id, "deleted_at", None)

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

    def free_title(self, title: str) -> str:
        """``title (2)``, or the first such number that no conversation has."""
        stem, number = title, 2
        if counted := _COUNTED.fullmatch(title):
            stem, number = counted[1], int(counted[2]) + 1
        rows = self._read("SELECT title FROM conversation WHERE deleted_at IS NULL")
        taken = {row[0] for row in rows}
        while f"{stem} ({number})" in taken:
            number += 1
        return f"{stem} ({number})"

    def _create(
        self,
        cursor: sqlite3.Cursor,
        title: str,
        model: str,
        system: str,
        params: Mapping[str, Any],
    ) -> int:
        texts = (storable(title), storable(model), storable(system), json.dumps(dict(params)))
        cursor.execute(
            "INSERT INTO conversation (title, model_id, system, params_json, updated_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (*texts, self._clock()),
        )
        return row_id(cursor)

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


def _conversation(row: Sequence[Any]) -> Conversation:
    number, title, leaf_id, model_id, system, params, pinned, updated_at = row
    return Conversation(
        number, title, leaf_id, model_id, system, json.loads(params), bool(pinned), updated_at
    )
