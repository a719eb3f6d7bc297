"""A conversation read for export, a few messages at a time however many it has."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from ..findings import reading

CHUNK = 64
"""Messages read at once."""
COLUMNS: tuple[str, ...] = (
    "id",
    "parent_id",
    "role",
    "text",
    "reasoning",
    "state",
    "note",
    "model_id",
    "params_json",
    "seed",
    "n_prompt",
    "n_gen",
    "ttft_ms",
    "tok_s",
    "thinking_ms",
    "created_at",
)
"""What is stored of a message, but for its conversation and when it was deleted."""

Row = Mapping[str, Any]
"""A message by the names of its columns, with ``params`` instead of ``params_json``, and its
``attachments`` as mappings of name, mime, sha256 and text."""


@dataclass(frozen=True, slots=True)
class Source:
    """A conversation at one moment; use it inside ``opened``."""

    title: str
    model: str
    system: str
    params: Mapping[str, Any]
    pinned: bool
    leaf_id: int | None
    updated_at: float
    _id: int
    _connection: Connection

    def branch(self) -> Iterator[Row]:
        """The messages of the open branch, from its first."""
        rows = self._connection.execute(
            "WITH RECURSIVE up(id, depth) AS (SELECT ?, 0 UNION ALL "
            "SELECT m.parent_id, up.depth + 1 FROM message m JOIN up ON m.id = up.id "
            "WHERE m.parent_id IS NOT NULL) SELECT id FROM up ORDER BY depth DESC",
            (self.leaf_id,),
        )
        yield from self._messages([number for (number,) in rows if number is not None])

    def tree(self) -> Iterator[Row]:
        """Every message of every branch, each after its parent."""
        rows = self._connection.execute(
            "SELECT id FROM message WHERE conversation_id = ? AND deleted_at IS NULL ORDER BY id",
            (self._id,),
        )
        yield from self._messages([number for (number,) in rows])

    def count(self) -> int:
        """Messages of the open branch."""
        (number,) = self._connection.execute(
            "WITH RECURSIVE up(id) AS (SELECT ? UNION ALL SELECT m.parent_id FROM message m "
            "JOIN up ON m.id = up.id) SELECT count(*) FROM up WHERE id IS NOT NULL",
            (self.leaf_id,),
        ).fetchone()
        return number

    def _messages(self, ids: list[int]) -> Iterator[Row]:
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            marks = ", ".join("?" * len(chunk))
            rows = self._connection.execute(
                f"SELECT {', '.join(COLUMNS)} FROM message WHERE id IN ({marks})", chunk
            )
            by_id = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows}
            for number in chunk:
                row = by_id[number]
                row["params"] = json.loads(row.pop("params_json"))
                row["attachments"] = self._attachments(number)
                yield row

    def _attachments(self, message_id: int) -> list[dict[str, str]]:
        rows = self._connection.execute(
            "SELECT a.name, a.mime, a.sha256, coalesce(b.text, '') FROM attachment a "
            "LEFT JOIN blob b ON b.sha256 = a.sha256 WHERE a.message_id = ? ORDER BY a.place",
            (message_id,),
        )
        names = ("name", "mime", "sha256", "text")
        return [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def opened(path: Path, conversation_id: int) -> Generator[Source, None, None]:
    """The conversation as it is now, whatever is saved meanwhile.

    Raises ``OutputError`` where the disk refuses, ``KeyError`` if there is no such conversation.
    """
    with reading(path) as connection:
        row = connection.execute(
            "SELECT title, model_id, system, params_json, pinned, leaf_id, updated_at "
            "FROM conversation WHERE id = ?",
            (conversation_id,),
        ).fetchone()
        if row is None:
            raise KeyError(conversation_id)
        title, model, system, params, pinned, leaf, updated = row
        yield Source(
            title,
            model,
            system,
            json.loads(params),
            bool(pinned),
            leaf,
            updated,
            conversation_id,
            connection,
        )
