"""What must hold when things happen at once, or the disk refuses, whatever the screen shows."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from mlxqwen.errors import OutputError
from tui.actions.conversation import undo
from tui.store import Store
from tui.widgets.prompt import Prompt


async def test_a_new_chat_waits_for_the_message_being_stored(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        session, number = chat.session, chat.session.conversation.id
        sending = asyncio.ensure_future(session.send("history"))
        await asyncio.sleep(0)
        opening = asyncio.ensure_future(session.new())
        assert await sending
        await opening
        assert chat.shown == []
        assert session.conversation is None
        await chat.until(lambda: session.answer is None and session.saved)
        leaf = (await chat.app._archive.call(Store.conversation, number)).leaf_id
        branch = await chat.app._archive.call(Store.branch, leaf)
        assert [message.text.strip() for message in branch] == [
            "first",
            "You said: **first**",
            "history",
            "first/You said: **first** /history",
        ]
        await chat.ask("history")
        assert chat.shown[1][1].strip() == "history"


async def test_deleting_a_chat_leaves_the_one_opened_meanwhile(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        first = chat.session.conversation.id
        await chat.session.new()
        await chat.ask("second")
        await chat.session.delete(first)
        assert chat.shown[0][1] == "second"
        await chat.session.delete(chat.session.conversation.id)
        assert chat.shown == []


async def test_an_answer_the_disk_refused_is_in_the_next_prompt(run_chat, monkeypatch):
    monkeypatch.setattr("tui.saving.SAVE_AGAIN_SECONDS", 0.02)
    finish, full = Store.finish, True

    def refuse(self, *args, **kwargs):
        if full:
            raise OutputError("The disk is full.", "Free some space.")
        return finish(self, *args, **kwargs)

    monkeypatch.setattr(Store, "finish", refuse)
    async with run_chat() as chat:
        session = chat.session
        assert await session.send("first")
        await chat.until(lambda: session.answer is None)
        assert (session.branch[-1].n_prompt, session.branch[-1].n_gen) == (12, 3)
        assert await session.send("history")
        await chat.until(lambda: session.answer is None)
        said = [text.strip() for _, text, _ in chat.shown]
        assert said[3] == "first/You said: **first** /history"
        number = session.conversation.id
        await session.new()
        await session.open(number)
        assert [text.strip() for _, text, _ in chat.shown] == said
        assert [state for _, _, state in chat.shown] == ["done"] * 4
        full = False
        await chat.until(lambda: session.saved)
        assert chat.stored() == chat.shown


class Malformed:
    """A connection of which every statement ``refused`` is refused, as a damaged file does."""

    def __init__(self, connection, refused):
        self._connection, self._refused = connection, refused

    def execute(self, statement, *parameters):
        if self._refused(statement):
            raise sqlite3.DatabaseError("database disk image is malformed")
        return self._connection.execute(statement, *parameters)

    def cursor(self):
        return Malformed(self._connection.cursor(), self._refused)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def notices(chat):
    return [notification.message for notification in chat.app._notifications]


def damage(chat, refused):
    store = chat.app._archive._store
    store._connection = Malformed(store._connection, refused)


async def test_a_message_a_damaged_file_refuses_is_given_back(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        damage(chat, lambda statement: statement.startswith("INSERT"))
        prompt = chat.app._chat.query_one(Prompt)
        await chat.type("dear words")
        await chat.pilot.press("enter")
        await chat.until(lambda: notices(chat))
        await chat.until(lambda: prompt.text == "dear words")
        assert "malformed" in notices(chat)[0]
        assert len(chat.shown) == 2
        assert chat.app._exit is False


async def test_a_file_that_can_no_longer_be_read_leaves_the_chat_alive(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        number, screen = chat.session.conversation.id, chat.app._chat
        before = chat.shown
        damage(chat, lambda statement: statement.split()[0] in ("SELECT", "WITH", "UPDATE"))
        await chat.session.open(number)
        assert chat.shown == before
        await screen._list()
        await undo(screen, "")
        await chat.session.delete(number)
        assert chat.session.conversation.id == number
        assert all("malformed" in notice for notice in notices(chat))
        assert chat.app._exit is False


async def test_a_stored_message_is_asked_though_nothing_else_can_be_read(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        damage(chat, lambda statement: "crowd" in statement or "pinned," in statement)
        assert await chat.session.send("history")
        await chat.ended(4)
        assert chat.shown[3][1].strip() == "first/You said: **first** /history"


@pytest.mark.parametrize("text", ["lone \ud83d half", "\udcff"])
async def test_a_lone_surrogate_is_sent_as_a_replacement(run_chat, text):
    async with run_chat() as chat:
        await chat.ask(text)
        assert chat.shown[0][1] == text.replace("\ud83d", "\ufffd").replace("\udcff", "\ufffd")
        assert chat.stored() == chat.shown


async def test_what_was_being_written_is_there_at_the_next_start(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        await chat.type("an answer to this")
        await chat.app._chat.new()
        await chat.type("unsent words")
        await chat.until(lambda: chat.app._archive._store.draft(None).text == "unsent words")
    async with run_chat() as chat:
        prompt = chat.app._chat.query_one(Prompt)
        await chat.until(lambda: prompt.text == "unsent words")
        await chat.app._chat.open(1)
        await chat.until(lambda: prompt.text == "an answer to this")
        await chat.app._chat.new()
        await chat.until(lambda: prompt.text == "unsent words")


async def test_an_interrupted_answer_says_how_to_go_on(run_chat, tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3")
    user = store.send(None, None, "history")
    reply = store.start_answer(user.conversation_id, user.id, model="guide")
    store.flush(reply.id, "half an", "")
    store.close()
    async with run_chat() as chat:
        await chat.app._chat.open(user.conversation_id)
        assert (chat.views[1].state, chat.views[1].text) == ("interrupted", "half an")
        assert "/continue" in chat.views[1].detail
        await chat.until(lambda: "/continue" in chat.screen_text)
        await chat.type("/continue")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.branch[-1].id != reply.id)
        await chat.ended(2)
        assert chat.session.branch[-1].text.startswith("half an ")
        assert chat.views[1].sibling == (2, 2)
