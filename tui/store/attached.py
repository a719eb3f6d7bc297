"""Texts that go with messages and drafts: stored once, by what is in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256

from ..database import storable
from ..records import Attachable, Attachment
from .file import File


class Attached(File):
    """Attachments of messages."""

    __slots__ = ()

    def _attach(
        self, cursor: sqlite3.Cursor, message_id: int, attachments: Sequence[Attachable]
    ) -> None:
        for place, attachment in enumerate(attachments):
            digest = self._keep_text(cursor, attachment.text)
            cursor.execute(
                "INSERT INTO attachment (message_id, place, sha256, name, mime) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    message_id,
                    place,
                    digest,
                    storable(attachment.name),
                    storable(attachment.mime),
                ),
            )

    def _keep_text(self, cursor: sqlite3.Cursor, text: str) -> str:
        """Store ``text``, unless it is stored already; returns its SHA-256."""
        text = storable(text)
        digest = sha256(text.encode()).hexdigest()
        cursor.execute("INSERT OR IGNORE INTO blob (sha256, text) VALUES (?, ?)", (digest, text))
        return digest

    def _attached(
        self, conversation_id: int, message_id: int | None = None
    ) -> dict[int, tuple[Attachment, ...]]:
        """The attachments of a conversation's messages, or of one of them, by message."""
        rows = self._read(
            "SELECT a.message_id, a.name, coalesce(b.text, ''), a.mime "
            "FROM message m CROSS JOIN attachment a ON a.message_id = m.id "
            "LEFT JOIN blob b ON b.sha256 = a.sha256 "
            "WHERE m.conversation_id = ? AND m.id = coalesce(?, m.id) "
            "ORDER BY a.message_id, a.place",
            (conversation_id, message_id),
        )
        found: dict[int, tuple[Attachment, ...]] = {}
        for owner, name, text, mime in rows:
            found[owner] = (*found.get(owner, ()), Attachment(name, text, mime))
        return found

    def _sweep(self, cursor: sqlite3.Cursor) -> None:
        """Forget texts that neither a message nor a draft has any more."""
        cursor.execute(
            "DELETE FROM blob WHERE sha256 NOT IN (SELECT sha256 FROM attachment) "
            "AND sha256 NOT IN (SELECT json_extract(part.value, '$[2]') "
            "FROM draft, json_each(draft.attachments_json) AS part)"
        )
