"""The conversation store: the tree, its guarantees, its search, what a second process may do."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from mlxqwen.errors import OutputError
from tui import migrations
from tui.records import Statistics
from tui.store import Store, title_from


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "conversations.sqlite3"


@pytest.fixture
def store(path):
    store = Store.open(path)
    yield store
    store.close()


def answered(store, question="Why is the sky blue?", answer="Rayleigh scattering."):
    conversation = store.create(model="guide")
    user = store.add_user(conversation.id, None, question)
    reply = store.start_answer(conversation.id, user.id, model="guide", seed=7)
    return conversation, user, store.finish(reply.id, "done", answer, "hm")


def raw(path):
    return closing(sqlite3.connect(path))


def test_a_conversation_comes_back_as_it_was_written(store, path):
    conversation, user, _ = answered(store)
    follow = store.add_user(conversation.id, store.conversation(conversation.id).leaf_id, "And?")
    store.close()
    again = Store.open(path)
    (listed,) = again.conversations()
    assert (listed.title, listed.model_id, listed.leaf_id) == (
        "Why is the sky blue?",
        "guide",
        follow.id,
    )
    messages = again.branch(listed.leaf_id)
    assert [(m.role, m.text, m.state) for m in messages] == [
        ("user", "Why is the sky blue?", "done"),
        ("assistant", "Rayleigh scattering.", "done"),
        ("user", "And?", "done"),
    ]
    assert messages[1].reasoning == "hm"
    assert messages[1].parent_id == user.id
    assert messages[1].seed == 7
    again.close()


def test_the_file_has_the_promised_pragmas(store):
    def pragma(name):
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 1
    assert pragma("foreign_keys") == 1
    assert pragma("user_version") == len(migrations.MIGRATIONS)


def test_statistics_are_kept(store):
    conversation = store.create()
    user = store.add_user(conversation.id, None, "x")
    reply = store.start_answer(conversation.id, user.id, model="guide", params={"think": True})
    figures = Statistics(n_prompt=12, n_gen=34, ttft_ms=56.0, tok_s=78.0, thinking_ms=90.0)
    done = store.finish(reply.id, "done", "y", "", statistics=figures)
    assert (done.n_prompt, done.n_gen, done.ttft_ms, done.tok_s, done.thinking_ms) == (
        12,
        34,
        56.0,
        78.0,
        90.0,
    )


def test_a_finished_message_never_changes(store, path):
    _, user, reply = answered(store)
    store.flush(reply.id, "overwritten", "")
    assert store.finish(reply.id, "error", "overwritten", "").text == "Rayleigh scattering."
    store.close()
    with raw(path) as connection:
        for message in (user, reply):
            with pytest.raises(sqlite3.IntegrityError, match="never changes"):
                connection.execute("UPDATE message SET text = 'x' WHERE id = ?", (message.id,))


def test_regenerating_and_editing_add_siblings(store):
    conversation, user, first = answered(store)
    second = store.start_answer(conversation.id, user.id, model="guide")
    store.finish(second.id, "stopped", "Because", "")
    assert store.siblings(first.id) == [first.id, second.id] == store.siblings(second.id)
    edited = store.add_user(conversation.id, None, "Why is the sea blue?")
    assert store.siblings(user.id) == [user.id, edited.id]
    assert [m.text for m in store.branch(edited.id)] == ["Why is the sea blue?"]
    assert store.newest_leaf(user.id) == second.id
    store.set_leaf(conversation.id, first.id)
    assert store.conversation(conversation.id).leaf_id == first.id


def test_siblings_never_cross_conversations(store):
    _, one, _ = answered(store)
    _, two, _ = answered(store)
    assert store.siblings(one.id) == [one.id]
    assert store.siblings(two.id) == [two.id]


def test_deleting_is_undone(store):
    conversation, *_ = answered(store)
    other, *_ = answered(store, "Other?")
    store.delete(conversation.id)
    assert [c.id for c in store.conversations()] == [other.id]
    assert store.search("sky") == []
    assert store.undo_delete().id == conversation.id
    assert {c.id for c in store.conversations()} == {conversation.id, other.id}
    assert store.undo_delete() is None


def test_pinned_first_then_most_recent(tmp_path):
    now = iter(range(1000))
    store = Store.open(tmp_path / "c.sqlite3", clock=lambda: float(next(now)))
    first, second, third = (store.create(title=t) for t in "abc")
    store.pin(first.id, True)
    assert [c.id for c in store.conversations()] == [first.id, third.id, second.id]
    store.add_user(second.id, None, "hello")
    assert [c.id for c in store.conversations()] == [first.id, second.id, third.id]
    assert store.conversation(second.id).title == "b"
    store.close()


def test_renaming_and_changing_the_model(store):
    conversation = store.create(model="guide")
    store.rename(conversation.id, "Sky")
    store.set_model(conversation.id, "qwen3-4b")
    found = store.conversation(conversation.id)
    assert (found.title, found.model_id) == ("Sky", "qwen3-4b")
    assert store.conversation(999) is None


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("perche", "Perché il cielo è blu?"),
        ("perché", "Perche il cielo è blu?"),
        ("CIELO bl", "Perché il cielo è blu?"),
        ("天空是", "为什么天空是蓝色的?"),
        ("天空", "为什么天空是蓝色的?"),
        ("空", "为什么天空是蓝色的?"),
        ("ただの", "これはただのテストです"),
        ("fn(x", "call fn(x) now"),
        ("onditio", "air conditioning"),
        ("c++", "I like C++ most"),
        ('"quoted"', 'a "quoted" word'),
        ("100%", "it is 100% sure"),
    ],
)
def test_search_finds(store, wanted, text):
    _, user, _ = answered(store, text, "nothing of the sort")
    answered(store, "zzz", "unrelated")
    assert [hit.message_id for hit in store.search(wanted)] == [user.id]


@pytest.mark.parametrize("text", ["", "   ", '"', "'", "*", "AND", "NEAR(", "%", "_", "\x00", "()"])
def test_search_takes_any_text(store, text):
    answered(store)
    assert store.search(text) == []


def test_search_reaches_other_branches_but_not_what_still_streams(store):
    conversation, user, _ = answered(store)
    running = store.start_answer(conversation.id, user.id, model="guide")
    store.flush(running.id, "Mie scattering", "")
    assert len(store.search("scattering")) == 1
    store.finish(running.id, "done", "Mie scattering", "")
    assert len(store.search("scattering")) == 2


def test_startup_recovers_and_indexes_what_was_streaming(store, path):
    conversation = store.create()
    user = store.add_user(conversation.id, None, "hi")
    reply = store.start_answer(conversation.id, user.id, model="guide")
    store.flush(reply.id, "half an answ", "thought")
    store.close()
    again = Store.open(path)
    assert again.recovered == 1
    last = again.branch(reply.id)[-1]
    assert (last.state, last.text, last.reasoning) == ("interrupted", "half an answ", "thought")
    assert [hit.message_id for hit in again.search("half")] == [reply.id]
    again.close()


def test_a_second_instance_reads_and_touches_nothing(store, path):
    conversation, user, _ = answered(store)
    running = store.start_answer(conversation.id, user.id, model="guide")
    second = Store.open(path)
    assert second.read_only
    assert second.recovered == 0
    assert [c.id for c in second.conversations()] == [conversation.id]
    assert second.search("sky")
    with pytest.raises(OutputError, match="read-only"):
        second.add_user(conversation.id, None, "x")
    second.close()
    store.flush(running.id, "still mine", "")
    assert store.branch(running.id)[-1].state == "streaming"


def test_the_lock_is_given_back(store, path):
    store.close()
    again = Store.open(path)
    assert not again.read_only
    again.close()


def test_a_newer_file_is_refused_and_left_alone(path, store):
    store.close()
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="newer mlxqwen"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database, by a long way" * 100)
    with pytest.raises(OutputError, match=r"conversations\.sqlite3 cannot be opened"):
        Store.open(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Store.open(tmp_path / "file" / "conversations.sqlite3")


def test_migrating_backs_up_and_a_failing_step_changes_nothing(path, store):
    answered(store)
    store.close()
    grow = (*migrations.MIGRATIONS, "ALTER TABLE persona ADD COLUMN emoji TEXT;")
    fail = (*grow, "CREATE TABLE extra (a); INSERT INTO missing VALUES (1);")
    with raw(path) as connection:
        backup = migrations.migrate(connection, path, grow)
        assert migrations.version_of(connection) == len(grow)
        with pytest.raises(sqlite3.OperationalError):
            migrations.migrate(connection, path, fail)
        assert migrations.version_of(connection) == len(grow)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        assert "extra" not in tables
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (2,)
    with raw(backup) as connection:
        assert migrations.version_of(connection) == len(migrations.MIGRATIONS)
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (2,)


def test_a_full_disk_is_said_and_the_store_goes_on(store):
    conversation = store.create()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutputError, match="could not be saved"):
        store.add_user(conversation.id, None, "x" * 1_000_000)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.add_user(conversation.id, None, "fits now").text == "fits now"


def test_titles():
    assert title_from("\n  Hello  \nworld") == "Hello"
    assert title_from("") == ""
    long = title_from("word " * 40)
    assert len(long) <= 61
    assert long.endswith("word…")


def broken(store):
    """Overwrite all but the file's first page behind the store's back, as a failing disk does."""
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._connection.execute("PRAGMA cache_size = 0")
    content = store.path.read_bytes()
    store.path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


@pytest.mark.parametrize(
    "call",
    [
        lambda store, user: store.conversations(),
        lambda store, user: store.branch(user.id),
        lambda store, user: store.newest_leaf(user.id),
        lambda store, user: store.search("sky"),
        lambda store, user: store.undo_delete(),
        lambda store, user: store.versions(user.conversation_id),
        lambda store, user: store.add_user(user.conversation_id, user.id, "lost?"),
        lambda store, user: store.rename(user.conversation_id, "x"),
    ],
)
def test_a_damaged_file_is_said_in_a_sentence(store, call):
    _, user, _ = answered(store)
    broken(store)
    with pytest.raises(OutputError, match=r"sqlite3.*(malformed|not a database)") as caught:
        call(store, user)
    assert "damaged" in caught.value.hint
    assert not store._connection.in_transaction


def test_lone_surrogates_are_replaced(store):
    conversation = store.create(model="a\ud800", system="b\udfff")
    user = store.add_user(conversation.id, None, "sky \ud83d blue")
    reply = store.start_answer(conversation.id, user.id, model="guide\udc00")
    store.flush(reply.id, "so \udcff", "far \udcff")
    done = store.finish(reply.id, "error", "text \udcff", "hm \udcff", note="note \udcff")
    assert (user.text, done.text, done.reasoning, done.note, done.model_id) == (
        "sky \ufffd blue",
        "text \ufffd",
        "hm \ufffd",
        "note \ufffd",
        "guide\ufffd",
    )
    found = store.conversation(conversation.id)
    assert (found.title, found.model_id, found.system) == ("sky \ufffd blue", "a\ufffd", "b\ufffd")
    store.rename(conversation.id, "new \ud800")
    assert store.conversation(conversation.id).title == "new \ufffd"
    assert [hit.message_id for hit in store.search("sky \ud83d")] == [user.id]


@pytest.mark.parametrize("content", [b"not a database, by a long way" * 100, None])
def test_nothing_stays_open_when_opening_fails(path, monkeypatch, content):
    opened = []
    connect = sqlite3.connect

    def remember(*args, **kwargs):
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr("tui.database.sqlite3.connect", remember)
    path.parent.mkdir()
    if content:
        path.write_bytes(content)
    else:
        with raw(path) as connection:
            connection.execute("PRAGMA user_version = 99")
    opened.clear()
    with pytest.raises(OutputError):
        Store.open(path)
    (connection,) = opened
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    path.unlink()
    again = Store.open(path)
    assert not again.read_only
    again.close()
