"""What a person keeps beside conversations: drafts, former prompts, personas."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ..database import storable
from ..records import Attachable, Attachment, Draft, Persona
from .attached import Attached

HISTORY = 1000
"""Prompts that are remembered."""


class Notes(Attached):
    """Drafts by conversation, None being the empty chat; prompts, newest first; personas."""

    __slots__ = ()

    def draft(self, conversation_id: int | None) -> Draft:
        """What was being written there."""
        rows = self._read(
            "SELECT text, attachments_json FROM draft WHERE conversation_id IS ?",
            (conversation_id,),
        )
        if not rows:
            return Draft()
        ((text, listed),) = rows
        attachments: list[Attachment] = []
        for name, mime, digest in json.loads(listed):
            found = self._read("SELECT text FROM blob WHERE sha256 = ?", (digest,))
            attachments += [Attachment(name, content, mime) for (content,) in found]
        return Draft(text, tuple(attachments))

    def keep_draft(
        self, conversation_id: int | None, text: str, attachments: Sequence[Attachable] = ()
    ) -> None:
        """Replace the draft there; with nothing in it, forget it."""
        with self._writing() as cursor:
            self._forget_draft(cursor, conversation_id)
            if not text and not attachments:
                return
            listed = [
                (storable(part.name), storable(part.mime), self._keep_text(cursor, part.text))
                for part in attachments
            ]
            # A conversation that has gone meanwhile takes its draft with it.
            cursor.execute(
                "INSERT INTO draft (conversation_id, text, attachments_json, updated_at) "
                "SELECT ?1, ?2, ?3, ?4 "
                "WHERE ?1 IS NULL OR EXISTS (SELECT 1 FROM conversation WHERE id = ?1)",
                (conversation_id, storable(text), json.dumps(listed), self._clock()),
            )

    def remember(self, text: str) -> None:
        """Add ``text`` to the prompts, unless it is the newest already."""
        with self._writing() as cursor:
            self._remember(cursor, text)

    def history(self, prefix: str = "", limit: int = HISTORY) -> list[str]:
        """Prompts that begin with ``prefix``, the newest first, each once."""
        rows = self._read(
            "SELECT text FROM prompt_history WHERE substr(text, 1, length(?1)) = ?1 "
            "GROUP BY text ORDER BY max(id) DESC LIMIT ?2",
            (storable(prefix), limit),
        )
        return [row[0] for row in rows]

    def personas(self) -> list[Persona]:
        """All of them, by name."""
        rows = self._read(
            "SELECT name, system, params_json FROM persona ORDER BY name COLLATE NOCASE"
        )
        return [Persona(name, system, json.loads(params)) for name, system, params in rows]

    def persona(self, name: str) -> Persona | None:
        """One, whatever the case of its name; None if there is none."""
        wanted = name.casefold()
        return next((item for item in self.personas() if item.name.casefold() == wanted), None)

    def save_persona(self, persona: Persona) -> None:
        """Add a persona, or replace the one of that name."""
        known = self.persona(storable(persona.name))
        with self._writing() as cursor:
            cursor.execute(
                "INSERT INTO persona (name, system, params_json) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET system = excluded.system, "
                "params_json = excluded.params_json",
                (
                    known.name if known else storable(persona.name),
                    storable(persona.system),
                    json.dumps(dict(persona.params)),
                ),
            )

    def remove_persona(self, name: str) -> bool:
        """Forget a persona; False if there is none of that name."""
        known = self.persona(storable(name))
        if known is None:
            return False
        with self._writing() as cursor:
            cursor.execute("DELETE FROM persona WHERE name = ?", (known.name,))
        return True

    def _forget_draft(self, cursor: sqlite3.Cursor, conversation_id: int | None) -> None:
        cursor.execute("DELETE FROM draft WHERE conversation_id IS ?", (conversation_id,))

    def _remember(self, cursor: sqlite3.Cursor, text: str) -> None:
        text = storable(text)
        newest = cursor.execute("SELECT text FROM prompt_history ORDER BY id DESC LIMIT 1")
        if not text.strip() or newest.fetchone() == (text,):
            return
        cursor.execute(
            "INSERT INTO prompt_history (text, created_at) VALUES (?, ?)", (text, self._clock())
        )
        cursor.execute(
            "DELETE FROM prompt_history WHERE id <= "
            "(SELECT id FROM prompt_history ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (HISTORY,),
        )
