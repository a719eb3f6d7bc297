"""Actions on one message: edit it, copy it or its code, look at its other versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records import Message
from ..units import whole
from ..widgets.reader import Reader
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def edit(chat: ChatScreen, argument: str) -> None:
    """Write the last question anew, or replace it by ``argument`` at once."""
    own = chat.own_messages()
    if not own:
        chat.say(say("message.none_to_edit"), "warning")
    elif argument:
        await chat.session.edit(own[-1].id, argument)
    else:
        chat.composer.edit(own[-1])


async def copy(chat: ChatScreen, argument: str) -> None:
    """Copy the last answer, or code block ``argument`` of it."""
    for key, message in reversed(chat.shown_messages()):
        if message.role == "assistant":
            if not argument:
                copy_text(chat, chat.transcript.view(key).text)
            elif (number := whole(argument)) is not None:
                copy_code(chat, key, number)
            else:
                chat.say(say("message.which_code", word=argument), "warning")
            return
    chat.say(say("message.none_to_copy"), "warning")


async def wished(chat: ChatScreen, event: Reader.Wished) -> None:
    """Do what a key asked for in the conversation."""
    found = dict(chat.shown_messages()).get(event.key)
    if found is None:
        return
    place = chat.transcript.keys.index(event.key)
    match event.wish:
        case "edit":
            _edit_at(chat, found)
        case "copy":
            copy_text(chat, chat.transcript.view(event.key).text)
        case "code":
            copy_code(chat, event.key, event.number)
        case "fold":
            chat.transcript.toggle_thinking(event.key)
        case "older" | "newer":
            await chat.session.switch(found.id, -1 if event.wish == "older" else 1)
            chat.reader_at(place)
        case "regenerate":
            await chat.session.regenerate(found.id)
            chat.reader_at(place)
        case "fork":
            await chat.session.fork(found.id)


def copy_text(chat: ChatScreen, text: str) -> None:
    """To the clipboard, and say so."""
    chat.app.copy_to_clipboard(text)
    chat.say(say("chat.copied"), "information")


def copy_code(chat: ChatScreen, key: int, number: int) -> None:
    """Code block ``number`` of message ``key``, if it has one."""
    try:
        code = chat.transcript.code_block(key, number)
    except IndexError:
        chat.say(say("message.no_code", number=number), "warning")
        return
    chat.app.copy_to_clipboard(code)
    chat.say(say("chat.code_copied", number=number), "information")


def _edit_at(chat: ChatScreen, message: Message) -> None:
    """The question that ``message`` is or answers."""
    before = [other for other in chat.own_messages() if other.id <= message.id]
    if before:
        chat.composer.edit(before[-1])
