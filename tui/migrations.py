"""The schema of the conversation database, version by version, and how a file moves forward.

``PRAGMA user_version`` counts the migrations a file has seen. A migration runs in one transaction
and never backwards; before an existing file moves, SQLite's own backup copies it beside itself. A
file written by a newer program is refused, never guessed at.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlxqwen.errors import OutputError

from .words import say

# `message_fts` and `message_tri` read their text from `message` itself, so it is stored once. They
# are filled by the store when a message reaches a terminal state: triggers would index every flush.
_V1 = """
CREATE TABLE conversation (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL DEFAULT '',
    leaf_id INTEGER REFERENCES message(id),
    model_id TEXT NOT NULL DEFAULT '',
    system TEXT NOT NULL DEFAULT '',
    params_json TEXT NOT NULL DEFAULT '{}',
    pinned INTEGER NOT NULL DEFAULT 0,
    deleted_at REAL,
    updated_at REAL NOT NULL
);
CREATE INDEX conversation_recent ON conversation(pinned DESC, updated_at DESC);

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    conversation_id INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
    parent_id INTEGER REFERENCES message(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    text TEXT NOT NULL DEFAULT '',
    reasoning TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL
        CHECK (state IN ('streaming', 'done', 'stopped', 'interrupted', 'error')),
    note TEXT NOT NULL DEFAULT '',
    model_id TEXT NOT NULL DEFAULT '',
    params_json TEXT NOT NULL DEFAULT '{}',
    seed INTEGER,
    n_prompt INTEGER,
    n_gen INTEGER,
    ttft_ms REAL,
    tok_s REAL,
    thinking_ms REAL,
    created_at REAL NOT NULL,
    deleted_at REAL
);
CREATE INDEX message_conversation ON message(conversation_id);
CREATE INDEX message_parent ON message(parent_id);
CREATE INDEX message_streaming ON message(id) WHERE state = 'streaming';

CREATE TRIGGER message_is_final
BEFORE UPDATE OF conversation_id, parent_id, role, text, reasoning, state ON message
WHEN OLD.state <> 'streaming'
BEGIN SELECT RAISE(ABORT, 'a finished message never changes'); END;

CREATE TABLE attachment (
    message_id INTEGER NOT NULL REFERENCES message(id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    PRIMARY KEY (message_id, sha256)
);
CREATE TABLE persona (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    system TEXT NOT NULL,
    params_json TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE prompt_history (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE draft (
    conversation_id INTEGER PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    updated_at REAL NOT NULL
);
CREATE TABLE kv_cache (
    leaf_id INTEGER NOT NULL REFERENCES message(id) ON DELETE CASCADE,
    model_hash TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    used_at REAL NOT NULL,
    PRIMARY KEY (leaf_id, model_hash)
);

CREATE VIRTUAL TABLE message_fts USING fts5(
    text, content='message', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE message_tri USING fts5(
    text, content='message', content_rowid='id', tokenize='trigram'
);
"""

# Attached texts are stored once, by their SHA-256. A message may have the same text twice, under
# two names; the empty chat has a draft, too, its conversation being NULL; and drafts have
# attachments, of which `attachments_json` lists [name, mime, sha256].
_V2 = """
CREATE TABLE blob (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE attachment_2 (
    message_id INTEGER NOT NULL REFERENCES message(id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    PRIMARY KEY (message_id, place)
) WITHOUT ROWID;
INSERT INTO attachment_2
    SELECT message_id, row_number() OVER (PARTITION BY message_id ORDER BY rowid) - 1,
        sha256, name, mime
    FROM attachment;
DROP TABLE attachment;
ALTER TABLE attachment_2 RENAME TO attachment;

CREATE TABLE draft_2 (
    conversation_id INTEGER UNIQUE REFERENCES conversation(id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    attachments_json TEXT NOT NULL DEFAULT '[]',
    updated_at REAL NOT NULL
);
INSERT INTO draft_2 (conversation_id, text, updated_at)
    SELECT conversation_id, text, updated_at FROM draft;
DROP TABLE draft;
ALTER TABLE draft_2 RENAME TO draft;
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2)
"""SQL that takes a file from version ``index`` to ``index + 1``."""


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations the open file has seen; 0 for a new one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def refuse_newer(connection: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> None:
    """Raises ``OutputError`` if ``path`` was written by a program that knows a newer schema."""
    version = version_of(connection)
    if version > known:
        raise OutputError(
            say("disk.newer", path=path, version=version, known=known), say("disk.update")
        )


def refuse_other(connection: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> None:
    """Raises ``OutputError`` unless ``path`` is of exactly the schema that this program reads."""
    refuse_newer(connection, path, known)
    if version_of(connection) < known:
        raise OutputError(say("disk.older", path=path), say("disk.close_older"))


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: tuple[str, ...] = MIGRATIONS
) -> Path | None:
    """Bring the open file up to date; returns the backup made before, or None if none was needed.

    Raises:
        OutputError: The file comes from a newer program.
        sqlite3.Error: A step failed; the file is as it was before that step.
    """
    refuse_newer(connection, path, len(migrations))
    version = version_of(connection)
    if version == len(migrations):
        return None
    backup = _back_up(connection, path, version) if version else None
    for step in range(version, len(migrations)):
        # executescript() commits on its own, so the transaction is part of the script.
        script = f"BEGIN IMMEDIATE;\n{migrations[step]}\nPRAGMA user_version = {step + 1};\nCOMMIT;"
        try:
            connection.executescript(script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()
            raise
    return backup


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    target = path.with_name(f"{path.name}.v{version}.backup")
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
    return target
