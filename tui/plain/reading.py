"""Stored conversations read out: opened, from their last question, or message by message."""

from __future__ import annotations

from ..store import Store
from ..views import one_line
from ..words import plural, say
from .chat import PlainChat
from .view import read_out


def title_of(title: str) -> str:
    """A chat's title in one line, whoever wrote it."""
    return one_line(title) or say("chat.untitled")


async def read(chat: PlainChat, first: int, end: int) -> None:
    """Read the messages ``first`` to ``end`` (from 0, without the last) of the open branch."""
    conversation = chat.session.conversation
    if conversation is None:
        return
    marks = await chat.archive.call(Store.versions, conversation.id)
    for message in chat.session.branch[first:end]:
        text = read_out(message, marks.get(message.id), thoughts=chat.view.show_thoughts)
        chat.output.line(text.rstrip("\n"))


async def opened(chat: PlainChat, at: int | None = None) -> None:
    """Say which chat is open now, and read its last question with the answer, or message ``at``."""
    conversation, branch = chat.session.conversation, chat.session.branch
    if conversation is None:
        chat.say("plain.new")
        return
    title = title_of(conversation.title)
    chat.output.line(plural("plain.opened", len(branch), title=title))
    questions = [place for place, message in enumerate(branch) if message.role == "user"]
    first = questions[-1] if questions else 0
    end = len(branch)
    if at is not None and at < len(branch):
        first, end = at, at + 1
    if first:
        chat.output.line(plural("plain.earlier", first))
    await read(chat, first, end)


async def open_chat(chat: PlainChat, conversation_id: int, message_id: int | None = None) -> None:
    """Open a chat, at the branch of a message if given, and read its end."""
    await chat.session.open(conversation_id, message_id)
    await opened(chat)
