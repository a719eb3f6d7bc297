"""The tree of a conversation, whatever a person does to it: nothing is lost, all is in its place.

The session runs over a real store, with a view that keeps what it is told and an engine that is
none: it answers at once, or when it is told to.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.engine.events import Done, Text, Timings, Usage
from mlxqwen.errors import OutputError
from tui import drafts
from tui.archive import Archive
from tui.bridge import Loaded, Streamed
from tui.records import Attachment, Draft, Persona
from tui.session import Session
from tui.settings import Settings
from tui.store import Store
from tui.widgets.transcript import MessageView


class Engine:
    """Answers every request at once with its number, unless it is to wait."""

    alive = True

    def __init__(self):
        self.requests, self.events, self.asked = 0, [], []
        self.waits = False

    def load(self, model, context=None):
        self.requests += 1
        self.events.append(
            Loaded(self.requests, model, f"/{model}", 4096, 0.1, 5_000_000, True, "")
        )
        return self.requests

    def chat(self, messages, *, think=None, sampling=None, max_tokens=None, stop=()):
        self.requests += 1
        self.asked.append(
            {"messages": messages, "think": think, "max_tokens": max_tokens, **sampling}
        )
        self.events.append(Streamed(self.requests, Text(f"answer {self.requests}")))
        if not self.waits:
            self.finish(self.requests)
        return self.requests

    def forecast(self, messages, *, think=None, max_tokens=None):
        return None

    def finish(self, request, reason="stop"):
        done = Done(reason, Usage(12, 0, 5, 0), Timings(0.1, 0.2, 1.2, 0.0))
        self.events.append(Streamed(request, done))

    def cancel(self, request):
        self.finish(request, "cancelled")

    def drain(self):
        drained, self.events = self.events, []
        return drained

    def close(self):
        pass


class Shown:
    """A view that remembers."""

    def __init__(self):
        self.messages: dict[int, MessageView] = {}
        self.said, self.tasks = [], set()
        self.box = Draft()

    def show(self, views):
        self.messages = dict(enumerate(views))
        return list(self.messages)

    def add(self, view):
        key = len(self.messages)
        self.messages[key] = view
        return key

    def cut(self, key):
        self.messages = {at: view for at, view in self.messages.items() if at < key}

    def stream(self, key, text, thinking):
        view = self.messages[key]
        self.messages[key] = replace(view, text=view.text + text)

    def end(self, key, view):
        self.messages[key] = replace(self.messages[key], state=view.state, header=view.header)

    def changed(self):
        pass

    def listed(self):
        pass

    def say(self, text, severity):
        self.said.append(text)

    def written(self):
        return self.box

    def write(self, draft):
        self.box = draft

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Desk:
    """A session with what a test asks of it."""

    def __init__(self, path):
        self.engine, self.view = Engine(), Shown()
        self.archive = Archive(path)
        self.session = Session(self.archive, self.engine, self.view)
        self.session.model = "guide"

    @property
    def store(self):
        return self.archive._store

    async def settle(self):
        """Take in what the engine said, and wait until it is stored."""
        while self.engine.events or self.view.tasks:
            self.session.pump()
            await asyncio.gather(*self.view.tasks)

    async def ask(self, text, **more):
        assert await self.session.send(text, **more)
        await self.settle()
        return self.session.branch[-2:]

    @property
    def said(self):
        return [message.text for message in self.session.branch]


@asynccontextmanager
async def desk(path):
    made = Desk(path)
    await made.archive.open()
    try:
        yield made
    finally:
        await made.session.close()
        await asyncio.gather(*made.view.tasks)
        await made.archive.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "conversations.sqlite3"


def all_rows(store):
    return store._connection.execute(
        "SELECT id, conversation_id, parent_id, role, text, state FROM message ORDER BY id"
    ).fetchall()


async def check(desk, before):
    """What has to hold after every step; returns all rows."""
    session, store = desk.session, desk.store
    rows = all_rows(store)
    assert rows[: len(before)] == before, "a message was lost or changed"
    branch = list(session.branch)
    marks = Counter((row[1], row[2]) for row in rows)
    if session.conversation is None:
        assert branch == []
    else:
        stored = store.conversation(session.conversation.id)
        assert [m.id for m in store.branch(stored.leaf_id)] == [m.id for m in branch]
        assert (
            stored == session.conversation
            or replace(session.conversation, leaf_id=stored.leaf_id, updated_at=stored.updated_at)
            == stored
        )
    assert [m.parent_id for m in branch] == [None, *(m.id for m in branch)][: len(branch)]
    assert [m.role for m in branch] == ["user", "assistant"] * (len(branch) // 2)
    shown = list(desk.view.messages.values())
    assert [view.text for view in shown] == [m.text for m in branch]
    assert [session.key_of(m.id) for m in branch] == list(desk.view.messages)
    versions = store.versions(session.conversation.id) if session.conversation else {}
    for message, view in zip(branch, shown, strict=True):
        siblings = store.siblings(message.id)
        assert len(siblings) == marks[message.conversation_id, message.parent_id]
        place = (siblings.index(message.id) + 1, len(siblings))
        assert versions.get(message.id, (1, 1)) == place
        # What was on the screen before a version came after it may still say the old count.
        assert (view.sibling or (1, 1))[0] == place[0]
    assert store._connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return rows


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            "send send edit edit again continue older newer fork new open delete undo".split()
        ),
        st.integers(0, 7),
    ),
    min_size=3,
    max_size=14,
)


async def act(desk, step, number, counter):
    session = desk.session
    branch = session.branch
    chosen = branch[number % len(branch)] if branch else None
    known = [item.id for item in desk.store.conversations()]
    match step:
        case "send":
            assert await session.send(f"question {counter}")
        case "edit" if chosen and chosen.role == "user":
            assert await session.edit(chosen.id, f"edited {counter}")
        case "again" if chosen:
            assert await session.regenerate(chosen.id)
        case "continue" if chosen:
            assert await session.continue_(chosen.id)
        case "older" | "newer" if chosen:
            await session.switch(chosen.id, -1 if step == "older" else 1)
        case "fork" if chosen and chosen.role == "assistant":
            assert await session.fork(chosen.id)
        case "new":
            await session.new()
        case "open" if known:
            await session.open(known[number % len(known)])
        case "delete":
            await session.delete()
        case "undo":
            await session.undo()
        case _:
            pass


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_is_done_nothing_is_lost_and_everything_is_in_its_place(steps):
    async def run():
        with tempfile.TemporaryDirectory() as folder:
            async with desk(Path(folder) / "c.sqlite3") as here:
                rows = []
                for counter, (step, number) in enumerate(steps):
                    await act(here, step, number, counter)
                    await here.settle()
                    rows = await check(here, rows)
                assert here.view.said == []

    asyncio.run(run())


ASYNC_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            "send edit again continue older newer fork new open delete undo stop finish "
            "flush".split()
        ),
        st.integers(0, 7),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(ASYNC_STEPS)
def test_wherever_one_goes_while_an_answer_is_written_it_ends_in_its_place(steps):
    async def step_by_step(here, step, number, counter):
        session = here.session
        match step:
            case "stop":
                session.stop()
            case "flush":
                await session.flush()
            case "finish" if session.answer and session.answer.request:
                here.engine.finish(session.answer.request)
            case "finish":
                pass
            case _ if session.answer and step in ("send", "edit", "again", "continue"):
                before = all_rows(here.store)
                assert not await session.send("two at once")
                assert all_rows(here.store) == before
            case _:
                await act(here, step, number, counter)
        session.pump()
        for message in session.branch:
            key = session.key_of(message.id)
            if session.answer and message.id == session.answer.message_id:
                assert session.answer.key == key
                assert here.view.messages[key].text == session.answer.text
                assert here.view.messages[key].state == "streaming"
            else:
                assert here.view.messages[key].text == message.text
        if session.answer and session.answer.key is not None:
            assert session.branch[-1].id == session.answer.message_id

    async def run():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.sqlite3"
            async with desk(path) as here:
                here.engine.waits = True
                final = {}
                for counter, (step, number) in enumerate(steps):
                    await step_by_step(here, step, number, counter)
                    rows = {row[0]: row for row in all_rows(here.store)}
                    assert all(rows[known] == row for known, row in final.items())
                    final = {known: row for known, row in rows.items() if row[5] != "streaming"}
            store = Store.open(path)
            assert store.recovered == 0, "an answer was not stored at the end"
            assert all(row[4] for row in all_rows(store) if row[5] == "done")
            store.close()

    asyncio.run(run())


async def test_an_edit_is_a_branch_beside_the_old_one(path):
    async with desk(path) as here:
        first, answer = await here.ask("Why?")
        await here.ask("And then?")
        assert await here.session.edit(first.id, "Why not?")
        await here.settle()
        assert here.said == ["Why not?", "answer 4"]
        await here.session.switch(here.session.branch[0].id, -1)
        assert here.said == ["Why?", answer.text, "And then?", "answer 3"]
        assert here.store.conversation(1).leaf_id == here.session.branch[-1].id
        await here.session.switch(first.id, -1)  # there is none before
        assert here.said[0] == "Why?"


async def test_only_questions_are_edited(path):
    async with desk(path) as here:
        _, answer = await here.ask("Why?")
        assert not await here.session.edit(answer.id, "Because.")
        assert "answers" in here.view.said[0]
        assert here.said == ["Why?", answer.text]


async def test_any_answer_is_asked_for_again(path):
    async with desk(path) as here:
        _, first = await here.ask("one")
        await here.ask("two")
        assert await here.session.regenerate(first.id)
        await here.settle()
        assert here.said == ["one", "answer 4"]
        assert here.engine.asked[-1]["messages"] == [{"role": "user", "content": "one"}]
        assert len(here.store.siblings(first.id)) == 2


async def test_a_branch_that_is_not_shown_is_gone_on_with(path):
    async with desk(path) as here:
        first, _ = await here.ask("one")
        await here.ask("two")
        hidden = here.session.branch[2]
        assert await here.session.edit(first.id, "uno")
        await here.settle()
        assert await here.session.edit(hidden.id, "zwei")
        await here.settle()
        assert here.said == ["one", "answer 2", "zwei", "answer 5"]
        await here.session.new()
        assert await here.session.regenerate() is False
        await check(here, [])


async def test_what_was_cut_off_is_gone_on_with_beside_it(path):
    async with desk(path) as here:
        question, _ = await here.ask("count")
        here.engine.waits = True
        assert await here.session.regenerate()
        here.session.pump()
        assert here.session.stop()
        await here.settle()
        cut = here.session.branch[-1]
        assert (cut.state, cut.text) == ("stopped", "answer 3")
        here.engine.waits = False
        assert await here.session.continue_()
        await here.settle()
        whole = here.session.branch[-1]
        assert (whole.state, whole.text) == ("done", "answer 3 answer 4")
        assert here.view.messages[1].text == "answer 3 answer 4"
        assert whole.parent_id == question.id
        sent = here.engine.asked[-1]["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "user"]
        assert sent[1]["content"] == "answer 3"


async def test_switching_leaves_an_answer_that_is_being_written_to_itself(path):
    async with desk(path) as here:
        _, first = await here.ask("one")
        here.engine.waits = True
        assert await here.session.regenerate()
        here.session.pump()
        await here.session.switch(here.session.branch[-1].id, -1)
        assert here.session.branch[-1].id == first.id
        assert here.session.answer.key is None
        await here.session.switch(first.id, 1)
        assert here.session.answer.key == 1
        assert here.view.messages[1].state == "streaming"
        here.engine.finish(here.session.answer.request)
        await here.settle()
        assert here.said == ["one", "answer 3"]


async def test_a_chat_opened_during_an_answer_has_its_own_model_after_it(path):
    async with desk(path) as here:
        here.session.model = "small"
        await here.ask("one")
        await here.session.new()
        here.session.model = "large"
        here.engine.waits = True
        assert await here.session.send("two")
        here.session.pump()
        await here.session.open(1)
        assert here.session.model == "large"
        here.engine.finish(here.session.answer.request)
        await here.settle()
        assert here.session.model == "small"


async def test_a_fork_is_a_copy_with_everything(path):
    async with desk(path) as here:
        notes = Attachment("notes.txt", "Some `code` here")
        _, answer = await here.ask("read this", attachments=[notes])
        await here.ask("more")
        await here.session.tune(system="Be brief.", params={"temperature": 0.2})
        copy = await here.session.fork(answer.id)
        assert (copy.title, copy.system, copy.params) == (
            "read this (2)",
            "Be brief.",
            {"temperature": 0.2},
        )
        assert here.said == ["read this", "answer 2"]
        assert here.session.branch[0].attachments == (notes,)
        assert here.session.conversation.id == copy.id
        assert (await here.session.fork()).title == "read this (3)"
        assert {hit.conversation_id for hit in here.store.search("read this")} == {1, 2, 3}


async def test_attachments_are_asked_with_and_not_shown_as_text(path):
    async with desk(path) as here:
        fenced = Attachment("a ``` b.md", "```\ncode\n```\n")
        question, _ = await here.ask("What is it?", attachments=[fenced, fenced])
        content = here.engine.asked[-1]["messages"][0]["content"]
        part = "a ``` b.md:\n````\n```\ncode\n```\n````"
        assert content == f"{part}\n\n{part}\n\nWhat is it?"
        assert here.view.messages[0].text == "What is it?"
        assert here.store.message(question.id).attachments == (fenced, fenced)
        assert here.store._connection.execute("SELECT count(*) FROM blob").fetchone() == (1,)
        await here.session.edit(question.id, "And now?")
        await here.settle()
        assert here.engine.asked[-1]["messages"][0]["content"].endswith("````\n\nAnd now?")
        await here.session.edit(question.id, "Without?", attachments=[])
        await here.settle()
        assert here.engine.asked[-1]["messages"] == [{"role": "user", "content": "Without?"}]


async def test_an_attachment_may_be_all_that_is_sent(path):
    async with desk(path) as here:
        await here.ask("", attachments=[Attachment("notes.txt", "x")])
        assert here.session.conversation.title == "notes.txt"
        assert here.engine.asked[-1]["messages"][0]["content"] == "notes.txt:\n```\nx\n```"


async def test_what_an_answer_was_asked_with_is_stored_with_it(path):
    async with desk(path) as here:
        here.session.settings = Settings(think="off", sampling={"top_k": 40, "temperature": 0.9})
        await here.session.tune(
            system="Rhyme.", params={"temperature": 0.3, "seed": 3, "think": 500, "max_tokens": 64}
        )
        _, answer = await here.ask("hello")
        asked = here.engine.asked[-1]
        assert asked["messages"][0] == {"role": "system", "content": "Rhyme."}
        assert (asked["think"], asked["max_tokens"]) == (500, 64)
        assert {name: asked[name] for name in ("temperature", "top_k", "seed")} == {
            "temperature": 0.3,
            "top_k": 40,
            "seed": 3,
        }
        stored = here.store.message(answer.id)
        assert stored.seed == 3
        assert stored.params == {
            "temperature": 0.3,
            "top_k": 40,
            "seed": 3,
            "think": 500,
            "max_tokens": 64,
            "system": "Rhyme.",
        }
        await here.session.new()
        assert (here.session.system, dict(here.session.params)) == ("", {})
        _, other = await here.ask("hello")
        assert here.engine.asked[-1]["think"] is False
        drawn = here.store.message(other.id)
        assert drawn.seed == here.engine.asked[-1]["seed"] == drawn.params["seed"]


async def test_personas_come_and_go(path):
    async with desk(path) as here:
        session = here.session
        await session.tune(system="Explain slowly.", params={"temperature": 0.2})
        assert await session.save_persona("  My  Teacher ")
        await session.new()
        assert await session.apply("nobody") is None
        persona = Persona("My Teacher", "Explain slowly.", {"temperature": 0.2})
        assert await session.apply("my teacher") == persona
        await here.ask("hello")
        assert here.engine.asked[-1]["messages"][0]["content"] == "Explain slowly."
        assert here.store.conversation(1).params == {"temperature": 0.2}
        await session.tune(system="Fast.")
        assert await session.save_persona("MY TEACHER")
        assert [item.system for item in await session.personas()] == ["Fast."]
        assert await session.remove_persona("my teacher")
        assert not await session.remove_persona("my teacher")


async def test_drafts_stay_where_they_were_written(path, monkeypatch):
    monkeypatch.setattr(drafts, "SAVE_SECONDS", 0.01)
    chip = Attachment("paste 1", "long text")

    def write(here, text, *attachments):
        here.view.box = Draft(text, attachments)
        here.session.drafted()

    async with desk(path) as here:
        await here.ask("one")
        write(here, "half a th", chip)
        await here.session.new()
        assert here.view.box == Draft()
        write(here, "something new")
        await here.session.open(1)
        assert here.view.box == Draft("half a th", (chip,))
        write(here, "half a thought", chip)
        await asyncio.sleep(0.05)
        await asyncio.gather(*here.view.tasks)
        assert here.store.draft(1) == Draft("half a thought", (chip,))
        write(here, "typed just before leaving")
    async with desk(path) as here:
        await here.session.restore()
        assert here.view.box == Draft("something new")
        here.view.write(Draft())
        here.session.drafted()
        await here.ask("something new")
        assert here.store.draft(None) == Draft()
        await here.session.open(1)
        assert here.view.box == Draft("typed just before leaving")
        here.view.write(Draft())
        here.session.drafted()
        await here.ask("typed just before leaving")
        assert here.store.draft(1) == Draft()
        assert await here.session.history() == [
            "typed just before leaving",
            "something new",
            "one",
        ]
    # The chip's text belongs to nothing any more.
    store = Store.open(path)
    assert store._connection.execute("SELECT count(*) FROM blob").fetchone() == (0,)
    store.close()


async def test_a_text_typed_before_the_file_is_read_is_not_overwritten(path):
    async with desk(path) as here:
        await here.archive.call(Store.keep_draft, None, "from last time")
        here.view.box = Draft("already typing")
        await here.session.restore()
        assert here.view.box == Draft("already typing")
        assert await here.session.history() == ["from last time"]


async def test_a_second_instance_looks_at_every_branch_and_changes_nothing(path):
    async with desk(path) as first:
        question, answer = await first.ask("one")
        assert await first.session.regenerate()
        await first.settle()
        leaf = first.store.conversation(1).leaf_id
        await first.session.new()
        await first.ask("gone")
        assert await first.session.delete()
        before = all_rows(first.store)
        async with desk(path) as second:
            session = second.session
            await session.open(1)
            await session.switch(session.branch[-1].id, -1)
            assert [m.id for m in session.branch] == [question.id, answer.id]
            assert second.view.said == []
            second.view.box = Draft("not kept")
            session.drafted()
            assert not await session.send("x")
            assert not await session.edit(question.id, "x")
            assert not await session.regenerate()
            assert await session.fork() is None
            assert not await session.rename("x")
            assert not await session.pin()
            assert not await session.delete()
            with pytest.raises(OutputError, match="read-only"):
                await session.undo()
            assert not await session.tune(system="x")
            assert not await session.save_persona("x")
            assert all("read-only" in said for said in second.view.said)
        assert all_rows(first.store) == before
        assert first.store.conversation(1).leaf_id == leaf
        assert first.store.draft(1) == Draft()


async def test_a_refusing_disk_leaves_everything_as_it_was(path):
    async with desk(path) as here:
        question, answer = await here.ask("one")
        here.store.read_only = True  # every write is refused, as by a full disk
        before = all_rows(here.store)
        session = here.session
        assert not await session.send("two", [Attachment("a", "b")])
        assert here.said == ["one", answer.text]
        assert await session.fork() is None
        assert not await session.rename("x")
        assert not await session.tune(params={"seed": 1})
        assert (session.system, dict(session.params)) == ("", {})
        assert session.conversation.title == "one"
        assert not await session.edit(question.id, "uno")
        assert not await session.regenerate(answer.id)
        assert all_rows(here.store) == before
        assert len(here.view.said) == 6
        assert here.said == ["one", answer.text]
        assert [view.text for view in here.view.messages.values()] == here.said
        here.store.read_only = False
        assert await session.edit(question.id, "uno")
        await here.settle()
        await check(here, before)


async def test_a_deleted_chat_comes_back_open(path):
    async with desk(path) as here:
        await here.ask("one")
        assert await here.session.delete()
        assert here.said == []
        assert (await here.session.undo()).id == 1
        assert here.said == ["one", "answer 2"]
        assert await here.session.undo() is None
        assert await here.session.pin()
        assert here.session.conversation.pinned
        assert await here.session.rename("  A \n title ")
        assert here.store.conversation(1).title == "A title"
        assert here.store.conversation(1).pinned
