"""What must hold when things happen at once, or the disk refuses, whatever the screen shows."""

from __future__ import annotations

import asyncio

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
        await chat.until(lambda: session.answer is None)
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
