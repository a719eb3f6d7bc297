"""What a person types into the search box, as queries of SQLite's full-text tables.

``message_fts`` finds words without case and accents; it sees a run of CJK as one word, and no
fragments. ``message_tri`` (trigrams) finds any substring of three characters or more. Shorter ones
are read from the messages themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Hiragana to Hangul and the compatibility forms: scripts written without spaces between words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_WORDS_ONLY = re.compile(r"[\w\s'-]+")

_FTS = """
SELECT m.id, m.conversation_id, c.title, m.role, snippet({table}, 0, '', '', '…', 16)
FROM {table} f JOIN message m ON m.id = f.rowid JOIN conversation c ON c.id = m.conversation_id
WHERE {table} MATCH ? AND c.deleted_at IS NULL AND m.deleted_at IS NULL
ORDER BY rank LIMIT ?
"""
_SCAN = """
SELECT m.id, m.conversation_id, c.title, m.role, substr(m.text, 1, 80)
FROM message m JOIN conversation c ON c.id = m.conversation_id
WHERE m.text LIKE ? ESCAPE '\\' AND m.state <> 'streaming'
  AND c.deleted_at IS NULL AND m.deleted_at IS NULL
ORDER BY m.id DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Expression:
    """One way to look for a query: what ``MATCH`` is given, or ``LIKE`` where there is no index."""

    table: Literal["message_fts", "message_tri", ""]
    match: str


@dataclass(frozen=True, slots=True)
class Query:
    """A search as it was typed, without the space around it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Query:
        """Trim ``text``; control characters, which no message shows, become spaces."""
        return cls(" ".join("".join(c if c.isprintable() else " " for c in text).split()))

    @property
    def words(self) -> tuple[str, ...]:
        """Its words, where it consists of words; empty for CJK, code and punctuation."""
        if _UNSPACED.search(self.text) or not _WORDS_ONLY.fullmatch(self.text):
            return ()
        return tuple(re.findall(r"\w+", self.text))

    def expressions(self) -> Iterator[Expression]:
        """The ways to look for it, to try in turn until one finds something."""
        if not self.text:
            return
        if self.words:
            *whole, last = self.words
            match = " ".join([*(f'"{word}"' for word in whole), f'"{last}"*'])
            yield Expression("message_fts", match)
        if len(self.text) >= 3:
            quoted = self.text.replace('"', '""')
            yield Expression("message_tri", f'"{quoted}"')
        else:
            escaped = re.sub(r"([\\%_])", r"\\\1", self.text)
            yield Expression("", f"%{escaped}%")

    def statements(self) -> Iterator[tuple[str, str]]:
        """(SQL, argument) pairs to try in turn until one finds something."""
        for expression in self.expressions():
            table = expression.table
            yield (_FTS.format(table=table) if table else _SCAN), expression.match
