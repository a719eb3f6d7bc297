"""The action that loads the model with another context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..forecast import context_of
from ..units import count
from ..views import one_line
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def context(chat: ChatScreen, argument: str) -> None:
    """Make room for so many tokens; without a number, say for how many there is room."""
    session = chat.session
    wanted = argument.strip()
    if not wanted:
        room = count(session.loaded.context) if session.loaded else ""
        chat.say(say("context.now" if room else "context.none", context=room), "information")
        return
    tokens = context_of(wanted)
    if tokens is None:
        chat.say(say("context.unknown", value=one_line(wanted)[:40]), "warning")
        return
    chat.change(context=tokens)
    if session.model:
        session.choose_model(session.model)
