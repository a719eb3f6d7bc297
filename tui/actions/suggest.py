"""What may complete a line that begins with a slash: commands, their choices, models, paths."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..markdown.text import clean
from ..tilde import expanded
from ..words import say
from .slash import first_word
from .table import ACTIONS, BY_SLASH, Action

MOST = 200
_SCANNED = 5000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One completion.

    Attributes:
        text: What the prompt says once it is taken.
        name: What is shown for it, then ``argument`` and ``meaning``, more quietly.
        runs: Taking it with Enter carries it out; otherwise more is to be written.
    """

    text: str
    name: str
    argument: str = ""
    meaning: str = ""
    runs: bool = False


def commands(typed: str, known: Collection[str]) -> list[Suggestion]:
    """Commands whose name begins with, or else contains, what is ``typed`` after the slash.

    ``known`` are the actions that can be carried out now.
    """
    wanted = typed.removeprefix("/").lower()
    offered = [action for action in ACTIONS if action.slash and action.name in known]
    first = [action for action in offered if action.slash[1:].startswith(wanted)]
    then = [action for action in offered if wanted in action.slash[1:] and action not in first]
    return [_command(action, exact=action.slash[1:] == wanted) for action in first + then]


def choices(typed: str, names: Mapping[str, Sequence[str]]) -> list[Suggestion]:
    """What may follow a command: its fixed choices, or ``names`` by action."""
    word, rest = first_word(typed)
    action = BY_SLASH.get(word)
    if action is None or not rest:
        return []
    wanted = rest.lstrip().lower()
    offered = [*_fixed(action), *names.get(action.name, ())]
    found = [name for name in offered if name.lower().startswith(wanted)]
    found += [name for name in offered if wanted in name.lower() and name not in found]
    if found == [wanted]:
        return []
    return [
        Suggestion(f"{word} {name}", clean(name).replace("\n", " "), runs=True)
        for name in found[:MOST]
    ]


def paths(typed: str) -> list[Suggestion]:
    """Files and folders that complete the path after ``/attach``. Reads the disk."""
    word, rest = first_word(typed)
    written = rest.lstrip()
    folder, slash, start = written.rpartition("/")
    where = expanded((folder or "/") if slash else ".")
    found: list[tuple[bool, str]] = []
    try:
        with os.scandir(where) as entries:
            for entry, _ in zip(entries, range(_SCANNED), strict=False):
                if entry.name.startswith(".") and not start.startswith("."):
                    continue
                if entry.name.lower().startswith(start.lower()):
                    found.append((not entry.is_dir(), entry.name))
    except (OSError, ValueError):
        return []
    found.sort(key=lambda item: (item[0], item[1].lower()))
    suggestions: list[Suggestion] = []
    for is_file, name in found[:MOST]:
        end = "" if is_file else "/"
        text = f"{word} {folder}{slash}{name}{end}"
        if "\n" not in name:
            suggestions.append(Suggestion(text, clean(name) + end, runs=is_file))
    return suggestions


def _command(action: Action, *, exact: bool) -> Suggestion:
    needed = bool(action.argument) and not action.argument.startswith("[")
    return Suggestion(
        f"{action.slash} " if action.argument else action.slash,
        action.slash,
        action.argument,
        say(f"action.{action.name}.help"),
        runs=exact or not needed,
    )


def _fixed(action: Action) -> list[str]:
    """The words in small letters of ``on|off|TOKENS``: they are to be written as they are."""
    spec = action.argument.strip("[]").partition(" ")[0]
    return [word for word in spec.split("|") if word.islower()] if "|" in spec else []
