"""Actions that look at all there is: the library, the tree of branches, the export."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content
from textual.markup import escape

from mlxqwen.errors import MlxqwenError

from .. import findings
from ..export import FORMATS, Order, order
from ..export import export as write
from ..store import Store
from ..views import one_line
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def search(chat: ChatScreen, argument: str) -> None:
    """Find a chat, or anything ever said in one."""
    from ..screens.library import LibraryScreen, Opening

    def found(opening: Opening | None) -> None:
        if opening is not None:
            chat.spawn(open_at(chat, opening.conversation_id, opening.message_id))

    shown = chat.app.screen
    if isinstance(shown, LibraryScreen):
        shown.search(argument)
        return
    path = await chat.archive.call(path_of)
    chat.app.push_screen(LibraryScreen(chat, path, argument), found)


async def branches(chat: ChatScreen, argument: str) -> None:
    """Every version of the open conversation."""
    from ..screens.branches import BranchesScreen

    conversation = chat.session.conversation
    if conversation is None:
        chat.say(say("branches.none"), "information")
        return
    number = conversation.id

    def chosen(message_id: int | None) -> None:
        if message_id is not None:
            chat.spawn(switch_to(chat, number, message_id))

    try:
        path = await chat.archive.call(path_of)
        nodes = await chat.archive.background(partial(findings.outline, path, number))
    except MlxqwenError as error:
        chat.say(str(error), "error")
        return
    leaf = chat.session.branch[-1].id if chat.session.branch else None
    chat.app.push_screen(BranchesScreen(nodes, leaf, chat.clock()), chosen)


async def switch_to(chat: ChatScreen, conversation_id: int, message_id: int) -> None:
    """Go to the branch of a message for good, and look at the message."""
    try:
        path = await chat.archive.call(path_of)
        if not await chat.archive.background(partial(findings.on_open_branch, path, message_id)):
            leaf = await chat.archive.call(Store.newest_leaf, message_id)
            await chat.archive.call(Store.set_leaf, conversation_id, leaf)
    except MlxqwenError as error:
        chat.say(str(error), "error")
        return
    await chat.open(conversation_id)
    chat.call_after_refresh(_mark, chat, message_id)


async def export(chat: ChatScreen, argument: str) -> None:
    """Write the open chat to a file."""
    conversation = chat.session.conversation
    wanted = order(argument)
    if wanted is None:
        word = one_line(argument).partition(" ")[0]
        chat.say(say("export.formats", word=word), "warning")
    elif conversation is None:
        chat.say(say("export.nothing"), "warning")
    else:
        await export_to(chat, conversation.id, wanted)


async def export_to(chat: ChatScreen, conversation_id: int, wanted: Order) -> None:
    """Write a chat in a thread of its own, and say where it lies."""
    try:
        conversations = await chat.archive.call(path_of)
        path = await asyncio.to_thread(
            write,
            conversations,
            conversation_id,
            wanted.format,
            wanted.file,
            folder=Path.cwd(),
            now=chat.clock(),
        )
    except (MlxqwenError, OSError) as error:
        chat.say(str(error), "error")
        return
    chat.say(say("export.done", path=path), "information")


def ask_export(chat: ChatScreen, conversation_id: int, title: str) -> None:
    """Ask for the format, then write a chat beside where the program was started."""
    from ..screens.picker import Choice, Picker

    async def formats(wanted: str) -> Sequence[Choice]:
        lines = {kind: say(f"export.{kind}") for kind in FORMATS}
        return [
            Choice(kind, Content(line))
            for kind, line in lines.items()
            if wanted.lower() in line.lower()
        ]

    def chosen(value: str | None) -> None:
        if value and (wanted := order(value)):
            chat.spawn(export_to(chat, conversation_id, wanted))

    name = escape(say("export.title", title=title))  # a frame's title is read as markup
    chat.app.push_screen(Picker(name, say("export.hint"), formats), chosen)


async def open_at(chat: ChatScreen, conversation_id: int, message_id: int | None) -> None:
    """Open a conversation, at a message of it if given, in a branch that it is part of."""
    if message_id is None:
        await chat.open(conversation_id)
        return
    try:
        path = await chat.archive.call(path_of)
        here = await chat.archive.background(partial(findings.on_open_branch, path, message_id))
    except MlxqwenError as error:
        chat.say(str(error), "error")
        return
    await chat.open(conversation_id, None if here else message_id)
    # Once the transcript is laid out: an empty one was not even displayed.
    chat.call_after_refresh(_mark, chat, message_id)


def _mark(chat: ChatScreen, message_id: int) -> None:
    key = chat.session.key_of(message_id)
    if key is not None:
        chat.transcript.highlight(key)


def path_of(store: Store) -> Path:
    """The file behind a store."""
    return store.path
