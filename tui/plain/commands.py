"""What a line means in the linear chat, and how each command is carried out.

Commands are those of the table of actions, as far as they make sense without a screen, and three
that stand for what one would see there: ``/open``, ``/read`` and ``/editor``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from .. import adjust
from ..actions import slash
from ..actions.slash import first_word
from ..actions.suggest import choices, paths
from ..actions.table import ACTIONS, BY_NAME, BY_SLASH
from ..figures import figure_rows, figures
from ..forecast import context_of
from ..units import count
from ..views import one_line
from ..words import LANGUAGES, known, say
from . import go, write
from .here import Here

Handler = Callable[[Here, str], None]

OWN: Mapping[str, tuple[str, str]] = {
    "/open": ("open", "[N]"),
    "/read": ("read", "[N|all]"),
    "/editor": ("editor", ""),
}
"""Commands that only this chat has: by what is typed, name and argument."""


@dataclass(frozen=True, slots=True)
class Command:
    """Carry out the command ``name``."""

    name: str
    argument: str


def parse(text: str) -> Command | slash.Text | slash.Unknown:
    """What a person meant by ``text``."""
    word, rest = first_word(text)
    if own := OWN.get(word.lower()):
        return Command(own[0], rest.strip())
    meant = slash.parse(text)
    if isinstance(meant, slash.Command):
        return Command(meant.action.name, meant.argument)
    return meant


def carry_out(here: Here, command: Command) -> None:
    """Do it, or say where it is done."""
    if handler := HANDLERS.get(command.name):
        handler(here, command.argument)
        return
    path = here.chat.settings_path
    instead = say(f"plain.instead.{command.name}", path=path)
    here.chat.say("plain.graphical", command=BY_NAME[command.name].slash, instead=instead)


def not_known(here: Here, unknown: slash.Unknown) -> None:
    """No such command."""
    key = "plain.unknown_near" if unknown.nearest else "plain.unknown"
    here.chat.say(key, word=one_line(unknown.word), nearest=unknown.nearest)


def complete(line: str, models: Sequence[str]) -> list[str]:
    """The lines that ``line`` may become; it is a command, or nothing completes it."""
    if not line.startswith("/"):
        return []
    word, rest = first_word(line)
    if not rest:
        return [
            f"{name} " if argument else name for name, argument in _lines() if name.startswith(line)
        ]
    if word == BY_NAME["attach"].slash:
        return [found.text for found in paths(line)]
    return [found.text for found in choices(line, {"models": models})]


def _lines() -> list[tuple[str, str]]:
    """Every command that can be carried out here, with its argument."""
    table = [(a.slash, a.argument) for a in ACTIONS if a.slash and a.name in HANDLERS]
    return table + [(name, argument) for name, (_, argument) in OWN.items()]


def _adjust(name: str, here: Here, argument: str) -> None:
    here.tell(here.chat.do(_said(here, name, argument)))


async def _said(here: Here, name: str, argument: str) -> adjust.Said | None:
    return await adjust.COMMANDS[name](here.chat.session, argument)


def _persona(here: Here, argument: str) -> None:
    """Those there are, to choose one by its number; or what ``argument`` says."""
    found = [] if argument.strip() else here.chat.do(_personas(here))
    if not found:
        _adjust("persona", here, argument)
        return
    here.chat.say("plain.persona_how")
    place = here.choose([one_line(name) for name in found])
    if place is not None:
        _adjust("persona", here, found[place])


async def _personas(here: Here) -> list[str]:
    return [persona.name for persona in await here.chat.session.personas()]


def _think(here: Here, argument: str) -> None:
    word = argument.strip().lower()
    if word in ("hide", "show"):
        here.chat.view.show_thoughts = word == "show"
        here.chat.say("think.shown" if word == "show" else "think.hidden")
    else:
        _adjust("think", here, argument)


def _context(here: Here, argument: str) -> None:
    chat, wanted = here.chat, argument.strip()
    loaded = chat.session.loaded
    if not wanted:
        key = "context.now" if loaded else "context.none"
        chat.say(key, context=count(loaded.context) if loaded else "")
        return
    tokens = context_of(wanted)
    if tokens is None:
        chat.say("context.unknown", value=one_line(wanted)[:40])
        return
    chat.change(context=tokens)
    if chat.session.model:
        go.use_model(chat, chat.session.model)


def _stats(here: Here, argument: str) -> None:
    for name, value in figure_rows(figures(here.chat.session)):
        here.chat.say("plain.stats", name=name, value=value)


def _language(here: Here, argument: str) -> None:
    wanted = argument.strip().lower()
    by_name = {name.lower(): code for code, name in LANGUAGES.items()}
    code = by_name.get(wanted, wanted)
    if code in LANGUAGES:
        here.chat.change(language=code)
        here.chat.say("plain.language")
    else:
        here.chat.say("plain.language_how")


def _help(here: Here, argument: str) -> None:
    here.chat.say("plain.help")
    by_slash = {name: own for name, (own, _) in OWN.items()}
    for typed, argument in _lines():
        name = by_slash[typed] if typed in by_slash else BY_SLASH[typed].name
        key = f"plain.help.{name}"
        meaning = say(key if known(key) else f"action.{name}.help")
        here.chat.say("plain.help_line", command=f"{typed} {argument}".strip(), meaning=meaning)


def _quit(here: Here, argument: str) -> None:
    here.leaving = True


HANDLERS: Mapping[str, Handler] = {
    **{
        name: partial(_adjust, name)
        for name in ("rename", "pin", "delete", "undo", "fork", "system", "set")
    },
    "regenerate": write.regenerate,
    "continue": write.continue_,
    "edit": write.edit,
    "editor": write.editor,
    "attach": write.attach,
    "copy": write.copy,
    "read": write.read,
    "export": write.export,
    "new": go.new,
    "open": go.open_,
    "search": go.search,
    "branches": go.branches,
    "models": go.models,
    "persona": _persona,
    "think": _think,
    "context": _context,
    "stats": _stats,
    "language": _language,
    "help": _help,
    "quit": _quit,
}
"""By the names of the table of actions, and of ``OWN``."""
