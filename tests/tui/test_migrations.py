"""Files of every released schema move forward with everything in them; newer ones are refused.

``version-1.sqlite3`` was written by the first released program: a conversation with a tree of five
messages and a draft, a deleted one, and one whose answer was cut off; a persona, two prompts, two
attachments (whose texts that version did not keep) and a row for a stored prefix.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlxqwen.errors import OutputError
from tui import migrations
from tui.records import Attachment, Draft, Persona
from tui.store import Store

FIRST = Path(__file__).parents[1] / "data" / "store" / "version-1.sqlite3"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    shutil.copy(FIRST, path)
    return path


def rows(path, table):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        order = "rowid" if table in ("conversation", "message") else "1"
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]


def test_a_file_of_the_first_version_keeps_everything(path):
    before = {table: rows(path, table) for table in ("conversation", "message", "kv_cache")}
    store = Store.open(path)
    assert store._connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert store._connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert store.recovered == 1
    after = {table: rows(path, table) for table in before}
    cut_off = next(row for row in before["message"] if row["state"] == "streaming")
    cut_off["state"] = "interrupted"
    assert after == before

    pinned, sky = store.conversations()
    assert (pinned.title, pinned.pinned) == ("Pinned", True)
    assert (sky.system, sky.model_id) == ("Answer briefly.", "qwen/Qwen3-4B-4bit")
    branch = store.branch(sky.leaf_id)
    assert [message.state for message in branch] == ["done", "done", "done", "error"]
    assert (branch[1].params, branch[1].seed, branch[1].n_gen) == ({"temperature": 0.7}, 7, 34)
    assert branch[1].reasoning == "Fammi pensare."
    assert len(store.siblings(branch[0].id)) == 2
    assert [hit.message_id for hit in store.search("perche")] == [branch[0].id]
    assert [hit.message_id for hit in store.search("天空")] == [branch[2].id]
    assert branch[0].attachments == (Attachment("a.txt", ""), Attachment("b.txt", ""))
    assert store.draft(sky.id) == Draft("half a thought")
    assert store.personas() == [Persona("Teacher", "Explain slowly.", {"temperature": 0.2})]
    assert store.history() == ["second", "first"]
    assert store.undo_delete().title == "Deleted"
    store.close()


def test_a_backup_of_the_old_file_lies_beside_the_new(path):
    before = {table: rows(path, table) for table in ("conversation", "message", "draft")}
    Store.open(path).close()
    backup = path.with_name(path.name + ".v1.backup")
    assert {table: rows(backup, table) for table in before} == before
    with closing(sqlite3.connect(backup)) as connection:
        assert migrations.version_of(connection) == 1


def test_an_interrupted_migration_leaves_the_file_as_it_was(path, monkeypatch):
    cut = migrations.MIGRATIONS[1].replace("DROP TABLE draft;", "DROP TABLE no_such_table;")
    known = (migrations.MIGRATIONS[0], cut)
    before = {table: rows(path, table) for table in ("attachment", "draft")}
    with closing(sqlite3.connect(path)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="no_such_table"):
            migrations.migrate(connection, path, known)
        assert migrations.version_of(connection) == 1
    assert {table: rows(path, table) for table in before} == before
    Store.open(path).close()


def test_a_second_instance_never_reads_an_older_schema(path):
    holder = Store.open(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(OutputError, match="older mlxqwen"):
        Store.open(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(OutputError, match="newer mlxqwen"):
        Store.open(path)
    holder.close()
    with pytest.raises(OutputError, match="newer mlxqwen"):
        Store.open(path)
