"""Commands that tune, name and describe the open conversation, for any interface.

Each takes the session and what followed the command, does it, and returns what to say. Where the
disk refused, the session has said so already, and there is nothing to add.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from mlxqwen.errors import OutputError, UsageError

from .figures import figure_rows, figures
from .session import Session
from .tuning import asked, set_rows, think_line, think_of, value_of
from .view import Severity
from .views import model_label, one_line
from .words import say


@dataclass(frozen=True, slots=True)
class Said:
    """What to tell the person: in passing, or, with a ``title``, to read at leisure."""

    text: str
    severity: Severity = "information"
    title: str = ""


Command = Callable[[Session, str], Awaitable[Said | None]]
RESET = "-"


async def rename(session: Session, argument: str) -> Said | None:
    """Another title."""
    if session.conversation is None:
        return Said(say("session.empty"), "warning")
    if not argument.strip():
        return Said(say("session.rename_how"), "warning")
    done = await session.rename(argument)
    return Said(say("session.renamed", title=one_line(argument))) if done else None


async def pin(session: Session, argument: str) -> Said | None:
    """At the top, or no longer."""
    if session.conversation is None:
        return Said(say("session.empty"), "warning")
    if not await session.pin():
        return None
    return Said(say("session.pinned" if session.conversation.pinned else "session.unpinned"))


async def delete(session: Session, argument: str) -> Said | None:
    """Out of sight, until it is brought back."""
    if session.conversation is None:
        return Said(say("session.empty"), "warning")
    return Said(say("chat.deleted")) if await session.delete() else None


async def undo(session: Session, argument: str) -> Said | None:
    """Bring back what was deleted last."""
    try:
        found = await session.undo()
    except OutputError as error:
        return Said(str(error), "error")
    if found is None:
        return Said(say("session.nothing_deleted"), "warning")
    return Said(say("session.restored", title=one_line(found.title) or say("chat.untitled")))


async def fork(session: Session, argument: str) -> Said | None:
    """Go on in a copy."""
    copy = await session.fork()
    return Said(say("session.forked", title=one_line(copy.title))) if copy else None


async def system(session: Session, argument: str) -> Said | None:
    """Show, replace (TEXT) or remove (-) what the model is told first."""
    text = argument.strip()
    if not text:
        if not session.system:
            return Said(say("system.none"))
        return Said(f"{session.system}\n\n{say('system.how')}", title=say("system.title"))
    if not await session.tune(system="" if text == RESET else text):
        return None
    return Said(say("system.removed" if text == RESET else "system.set"))


async def persona(session: Session, argument: str) -> Said | None:
    """Apply NAME, ``save NAME`` or ``rm NAME``; without an argument, list them."""
    word, _, rest = argument.strip().partition(" ")
    name = " ".join(rest.split())
    if not word:
        found = await session.personas()
        if not found:
            return Said(say("persona.none"))
        names = "\n".join(one_line(item.name) for item in found)
        return Said(names, title=say("persona.title"))
    if word == "save" and name:
        if not session.system and not session.params:
            return Said(say("persona.bare"), "warning")
        done = await session.save_persona(name)
        return Said(say("persona.saved", name=one_line(name))) if done else None
    if word == "rm" and name:
        if await session.remove_persona(name):
            return Said(say("persona.removed", name=one_line(name)))
        return Said(say("persona.unknown", name=one_line(name)), "warning")
    chosen = await session.apply(argument)
    if chosen is None:
        return Said(say("persona.unknown", name=one_line(argument)), "warning")
    return Said(say("persona.applied", name=one_line(chosen.name)))


async def set_(session: Session, argument: str) -> Said | None:
    """``NAME VALUE`` for this conversation, ``NAME -`` to reset; without an argument, show all."""
    name, _, value = argument.strip().partition(" ")
    if not name:
        table = columns(set_rows(session.settings, session.params))
        return Said(f"{table}\n\n{say('set.how')}", title=say("set.title"))
    name, value = name.lower().replace("-", "_"), value.strip()
    if not value:
        known = dict(set_rows(session.settings, session.params))
        if name in known:
            return Said(f"{name}: {known[name]}")
    try:
        params = dict(session.params)
        if value == RESET:
            value_of(name, "1")  # says so if there is no such parameter
            params.pop(name, None)
        else:
            params[name] = value_of(name, value)
    except UsageError as error:
        return Said(str(error), "warning")
    if not await session.tune(params=params):
        return None
    if value == RESET:
        return Said(say("set.reset", name=name))
    return Said(say("set.changed", name=name, value=params[name]))


async def think(session: Session, argument: str) -> Said | None:
    """``on``, ``off``, ``auto`` or a budget in tokens for this conversation; else, how it is set.

    Whether thoughts are shown at all is the interface's own business.
    """
    word = argument.strip().lower()
    if not word:
        return Said(think_line(asked(session.settings, session.params).think))
    try:
        wanted = think_of(word)
    except UsageError as error:
        return Said(str(error), "warning")
    if not await session.tune(params={**session.params, "think": wanted}):
        return None
    loaded = session.loaded
    if wanted not in (False, "auto") and loaded is not None and not loaded.thinks:
        return Said(say("think.cannot", model=model_label(session.model)), "warning")
    return Said(think_line(asked(session.settings, session.params).think))


async def stats(session: Session, argument: str) -> Said | None:
    """What the open branch has cost and used."""
    return Said(columns(figure_rows(figures(session))), title=say("stats.title"))


COMMANDS: Mapping[str, Command] = {
    "rename": rename,
    "pin": pin,
    "delete": delete,
    "undo": undo,
    "fork": fork,
    "system": system,
    "persona": persona,
    "set": set_,
    "think": think,
    "stats": stats,
}
"""By the names of the table of actions."""


def columns(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values, the values below each other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)
