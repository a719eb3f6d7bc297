"""What the library and the tree of branches show: read from the file beside the store.

Each call opens a connection of its own, which can only read: SQLite's log lets it see a consistent
file while answers are being saved. Hits come newest first and in pages, because SQLite then stops
as soon as a page is full; a search by relevance has to weigh every message first.

Every function raises ``OutputError`` where the disk refuses or the file is damaged. All text is as
it was stored: whoever shows it has to clean it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from . import database
from .marks import Marked, around, mark_literally, marked
from .records import Role
from .search import Expression, Query
from .words import say

PAGE = 60
"""Hits in a page."""
SCAN = 4000
"""Messages that one page looks through where no index helps."""
_NEWEST = 2**62


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation in the library's list; times in seconds since 1970."""

    id: int
    title: str
    model_id: str
    leaf_id: int | None
    pinned: bool
    deleted: bool
    updated_at: float


@dataclass(frozen=True, slots=True)
class Find:
    """A message that matches, with the passage around its first match."""

    message_id: int
    conversation_id: int
    role: Role
    passage: Marked


@dataclass(frozen=True, slots=True)
class Page:
    """Hits, newest first; ``after`` is where the next page begins, None where there is none."""

    finds: tuple[Find, ...]
    expression: Expression | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A message in the surroundings of another; its text is cut to what a preview needs."""

    message_id: int
    role: Role
    model_id: str
    text: Marked


@dataclass(frozen=True, slots=True)
class Node:
    """A message as the tree of branches shows it."""

    id: int
    parent_id: int | None
    role: Role
    head: str
    """The beginning of its text."""
    state: str
    model_id: str
    created_at: float


@contextmanager
def reading(path: Path) -> Generator[Connection, None, None]:
    """A connection that sees the file as it is now until it is left."""
    try:
        with closing(database.connect(path, read_only=True)) as connection:
            connection.execute("BEGIN")
            yield connection
    except database.FAULTS as error:
        what = say("disk.unread", path=path)
        raise database.refusal(what, error) from error


def entries(path: Path, *, deleted: bool = False) -> list[Entry]:
    """Every conversation, pinned ones first, then the most recently used; or all deleted ones."""
    with reading(path) as connection:
        rows = connection.execute(
            "SELECT id, title, model_id, leaf_id, pinned, deleted_at, updated_at FROM conversation "
            "WHERE (deleted_at IS NOT NULL) = ? ORDER BY pinned DESC, updated_at DESC, id DESC",
            (deleted,),
        ).fetchall()
    return [
        Entry(number, title, model, leaf, bool(pinned), gone is not None, updated)
        for number, title, model, leaf, pinned, gone, updated in rows
    ]


def search(path: Path, text: str, *, deleted: bool = False) -> Page:
    """The newest messages of every branch that contain ``text``: see ``Query`` for what matches."""
    page = Page(())
    for expression in Query.parse(text).expressions():
        page = more(path, expression, None, deleted=deleted)
        if page.finds or page.after is not None:
            break
    return page


def more(path: Path, expression: Expression, after: int | None, *, deleted: bool = False) -> Page:
    """The page of ``expression`` that begins after message ``after``, or the first."""
    below = _NEWEST if after is None else after
    with reading(path) as connection:
        if expression.table:
            return _indexed(connection, expression, below, deleted)
        return _scanned(connection, expression, below, deleted)


def _indexed(connection: Connection, expression: Expression, below: int, deleted: bool) -> Page:
    table = expression.table
    # A token of the trigram table is one character; of the other, a word.
    tokens = 48 if table == "message_tri" else 14
    # CROSS JOIN keeps the index outermost: it hands out its rows in descending order as they are.
    rows = connection.execute(
        f"SELECT m.id, m.conversation_id, m.role, "
        f"  snippet({table}, 0, char(2), char(3), '…', {tokens}) "
        f"FROM {table} f CROSS JOIN message m ON m.id = f.rowid "
        "CROSS JOIN conversation c ON c.id = m.conversation_id "
        f"WHERE {table} MATCH ? AND f.rowid < ? AND m.deleted_at IS NULL "
        "AND (c.deleted_at IS NOT NULL) = ? ORDER BY f.rowid DESC LIMIT ?",
        (expression.match, below, deleted, PAGE),
    ).fetchall()
    finds = tuple(Find(m, c, role, marked(text)) for m, c, role, text in rows)
    return Page(finds, expression, finds[-1].message_id if len(finds) == PAGE else None)


def _scanned(connection: Connection, expression: Expression, below: int, deleted: bool) -> Page:
    """One stretch of messages, so that a search which finds little does not take long at once."""
    (floor,) = connection.execute(
        "SELECT min(id) FROM (SELECT id FROM message WHERE id < ? ORDER BY id DESC LIMIT ?)",
        (below, SCAN),
    ).fetchone()
    if floor is None:
        return Page((), expression)
    rows = connection.execute(
        "SELECT m.id, m.conversation_id, m.role, m.text FROM message m "
        "CROSS JOIN conversation c ON c.id = m.conversation_id "
        "WHERE m.id < ? AND m.id >= ? AND m.text LIKE ? ESCAPE '\\' AND m.state <> 'streaming' "
        "AND m.deleted_at IS NULL AND (c.deleted_at IS NOT NULL) = ? ORDER BY m.id DESC LIMIT ?",
        (below, floor, expression.match, deleted, PAGE),
    ).fetchall()
    finds = tuple(
        Find(m, c, role, around(mark_literally(text, expression.match), 24, 60))
        for m, c, role, text in rows
    )
    return Page(finds, expression, finds[-1].message_id if len(finds) == PAGE else floor)


def surroundings(
    path: Path, message_id: int, expression: Expression | None = None, *, reach: int = 2
) -> tuple[Shown, ...]:
    """The message in its branch, with up to ``reach`` messages before it and as many after.

    What matches ``expression`` is marked. After it come the newest children.
    """
    with reading(path) as connection:
        before = _chain(connection, message_id, "SELECT parent_id FROM message WHERE id = ?", reach)
        newest = "SELECT max(id) FROM message WHERE parent_id = ? AND deleted_at IS NULL"
        after = _chain(connection, message_id, newest, reach)
        shown: list[Shown] = []
        for number in (*reversed(before), message_id, *after):
            role, model, head = connection.execute(
                "SELECT role, model_id, substr(text, 1, 1200) FROM message WHERE id = ?", (number,)
            ).fetchone()
            text: Marked = ((head, False),)
            if number == message_id and expression is not None:
                text = around(_highlighted(connection, number, expression), 300, 4000)
            shown.append(Shown(number, role, model, text))
    return tuple(shown)


def _chain(connection: Connection, message_id: int, step: str, reach: int) -> list[int]:
    chain: list[int] = []
    while len(chain) < reach:
        row = connection.execute(step, (message_id,)).fetchone()
        if row is None or row[0] is None:
            break
        message_id = row[0]
        chain.append(message_id)
    return chain


def on_open_branch(path: Path, message_id: int) -> bool:
    """The branch that its conversation was left in goes through the message."""
    with reading(path) as connection:
        (found,) = connection.execute(
            "WITH RECURSIVE up(id) AS (SELECT c.leaf_id FROM message m "
            "JOIN conversation c ON c.id = m.conversation_id WHERE m.id = ?1 UNION ALL "
            "SELECT m.parent_id FROM message m JOIN up ON m.id = up.id) "
            "SELECT EXISTS (SELECT 1 FROM up WHERE id = ?1)",
            (message_id,),
        ).fetchone()
    return bool(found)


def outline(path: Path, conversation_id: int) -> list[Node]:
    """Every message of a conversation, oldest first: parents before their children."""
    with reading(path) as connection:
        rows = connection.execute(
            "SELECT id, parent_id, role, substr(text, 1, 200), state, model_id, created_at "
            "FROM message WHERE conversation_id = ? AND deleted_at IS NULL ORDER BY id",
            (conversation_id,),
        ).fetchall()
    return [Node(*row) for row in rows]


def _highlighted(connection: Connection, message_id: int, expression: Expression) -> Marked:
    table = expression.table
    if table:
        row = connection.execute(
            f"SELECT highlight({table}, 0, char(2), char(3)) FROM {table} "
            f"WHERE {table} MATCH ? AND rowid = ?",
            (expression.match, message_id),
        ).fetchone()
        if row is not None:
            return marked(row[0])
    (text,) = connection.execute("SELECT text FROM message WHERE id = ?", (message_id,)).fetchone()
    return ((text, False),) if table else mark_literally(text, expression.match)
