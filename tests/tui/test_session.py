"""What must hold when things happen at once, or the disk refuses, whatever the screen shows."""

from __future__ import annotations

import asyncio

from mlxqwen.errors import OutputError
from tui.store import Store


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
        await chat.until(lambda: session.answer is None and not session._unsaved)
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
        await chat.app._chat._delete(first)
        assert chat.shown[0][1] == "second"
        await chat.app._chat._delete(chat.session.conversation.id)
        assert chat.shown == []


async def test_an_answer_the_disk_refused_is_in_the_next_prompt(run_chat, monkeypatch):
    monkeypatch.setattr("tui.session.SAVE_AGAIN_SECONDS", 0.02)
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
        assert session.context_used == 15
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
        await chat.until(lambda: not session._unsaved)
        assert chat.stored() == chat.shown
