"""Actions on how the open conversation is answered, and what it has cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from .. import adjust
from ..records import Persona
from ..views import one_line
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


def tell(chat: ChatScreen, said: adjust.Said | None) -> None:
    """Show what a command says: a passing notice, or a page."""
    from ..screens.text import TextScreen

    if said is None:
        return
    if said.title:
        chat.app.push_screen(TextScreen(said.title, said.text))
    else:
        chat.say(said.text, said.severity)


async def system(chat: ChatScreen, argument: str) -> None:
    """What the model is told before this chat."""
    tell(chat, await adjust.system(chat.session, argument))


async def persona(chat: ChatScreen, argument: str) -> None:
    """A named system prompt with its sampling; without a name, choose one."""
    found: Sequence[Persona] = () if argument.strip() else await chat.session.personas()
    if not found:
        tell(chat, await adjust.persona(chat.session, argument))
        return
    from ..screens.picker import Choice, Picker

    async def source(wanted: str) -> Sequence[Choice]:
        return [
            Choice(
                item.name,
                Content.assemble(
                    (one_line(item.name), "bold"), (f"   {one_line(item.system)}", "$text-muted")
                ),
            )
            for item in found
            if wanted.lower() in item.name.lower()
        ]

    def chosen(name: str | None) -> None:
        if name:
            chat.spawn(_apply(chat, name))

    chat.app.push_screen(Picker(say("persona.title"), say("persona.hint"), source), chosen)


async def set_(chat: ChatScreen, argument: str) -> None:
    """Temperature and the like, for this chat."""
    tell(chat, await adjust.set_(chat.session, argument))


async def think(chat: ChatScreen, argument: str) -> None:
    """Whether the model thinks first, and whether thoughts are shown."""
    word = argument.strip().lower()
    if word in ("hide", "show"):
        chat.change(thoughts=word == "show")
        chat.say(say("think.shown" if word == "show" else "think.hidden"), "information")
    else:
        tell(chat, await adjust.think(chat.session, argument))


async def stats(chat: ChatScreen, argument: str) -> None:
    """Tokens, seconds and memory of this chat."""
    tell(chat, await adjust.stats(chat.session, argument))


async def _apply(chat: ChatScreen, name: str) -> None:
    applied = await chat.session.apply(name)
    if applied:
        chat.say(say("persona.applied", name=one_line(applied.name)), "information")
