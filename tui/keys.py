"""Which key does what: the defaults, what a person put in their place, and how keys read.

The keys in force are one set per process, as the language is: help, palette and status line name
them wherever they speak of an action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .actions.table import ACTIONS, BY_NAME
from .words import say

if TYPE_CHECKING:
    from textual.binding import BindingType

_NOWHERE = "nowhere:"  # begins the name of a key that no keyboard has

_SWALLOWED: Mapping[str, str] = {
    "ctrl+a": "keys.screen",
    "ctrl+b": "keys.tmux",
    "ctrl+h": "keys.is_backspace",
    "ctrl+i": "keys.is_tab",
    "ctrl+m": "keys.is_enter",
    "ctrl+left_square_bracket": "keys.is_escape",
    "ctrl+s": "keys.flow",
    "ctrl+q": "keys.flow",
    "ctrl+z": "keys.suspends",
    "ctrl+y": "keys.suspends",
    "ctrl+o": "keys.discards",
    "ctrl+v": "keys.pastes",
    "ctrl+backslash": "keys.kills",
    "ctrl+space": "keys.input_source",
    "ctrl+at": "keys.input_source",
    "ctrl+tab": "keys.tabs",
    "ctrl+shift+tab": "keys.tabs",
    "f11": "keys.desktop",
}
_FIXED: Mapping[str, str] = {
    "ctrl+c": "keys.fixed_copy",
    "ctrl+p": "keys.fixed_palette",
    "ctrl+j": "keys.fixed_newline",
    "ctrl+d": "keys.fixed_editing",
    "ctrl+e": "keys.fixed_editing",
    "ctrl+k": "keys.fixed_editing",
    "ctrl+u": "keys.fixed_editing",
    "ctrl+w": "keys.fixed_editing",
    "ctrl+x": "keys.fixed_editing",
}
_CONTROLS = frozenset("abcdefghijklmnopqrstuvwxyz") | {
    "right_square_bracket",
    "circumflex_accent",
    "underscore",
}
_FUNCTIONS = frozenset(f"f{number}" for number in range(1, 21))
_ARROWS = frozenset({"up", "down", "left", "right", "home", "end", "pageup", "pagedown"})

_given: Mapping[str, str] = {}


def use(given: Mapping[str, str]) -> None:
    """Name the keys of ``given`` (action's name → key, "" for none) from now on."""
    global _given
    _given = {name: key for name, key in given.items() if name in BY_NAME}


def key_of(action: str, given: Mapping[str, str] | None = None) -> str:
    """The key of ``action`` as Textual spells it; "" where it has none."""
    return (_given if given is None else given).get(action, BY_NAME[action].key)


def key_name(action: str) -> str:
    """The key of ``action`` as people read it; "" where it has none."""
    return shown(key_of(action))


def shown(key: str) -> str:
    """``ctrl+r`` as ``Ctrl+R``."""
    return "+".join(_part(part) for part in key.split("+")) if key else ""


def bindings() -> list[BindingType]:
    """A binding for every action, by whose id a keymap gives it another key.

    An action without a default key is bound to a key that no keyboard has.
    """
    from textual.binding import Binding  # the linear chat names keys and needs no Textual

    return [
        Binding(
            action.key or _NOWHERE + action.name,
            f"do('{action.name}')",
            id=action.name,
            # Esc closes what is open first; every other key means the same wherever one is.
            priority=action.key != "escape",
            show=False,
        )
        for action in ACTIONS
    ]


def keymap(given: Mapping[str, str]) -> dict[str, str]:
    """What ``App.set_keymap`` takes, of usable keys as ``usable`` gives them."""
    return {name: key or _NOWHERE + name for name, key in given.items()}


def usable(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those of ``given`` that can be used together, and a sentence for each that cannot."""
    taken: dict[str, str] = {}
    complaints: list[str] = []
    for name, key in given.items():
        if name not in BY_NAME:
            continue  # a newer version's
        why = refusal(name, key, {**given, **taken}) if key else ""
        if why:
            complaints.append(say("keys.complaint", action=say(f"action.{name}"), why=why))
        else:
            taken[name] = key
    return taken, tuple(complaints)


def refusal(action: str, key: str, given: Mapping[str, str]) -> str:
    """Why ``action`` cannot have ``key`` beside the keys ``given``; "" where it can."""
    if key == BY_NAME[action].key:
        why = ""
    elif reason := swallowed(key) or _FIXED.get(key, ""):
        return say(reason, key=shown(key))
    else:
        modifier, _, rest = key.rpartition("+")
        controls = modifier == "ctrl" and rest in _CONTROLS
        if not (controls or (modifier in ("", "shift", "ctrl") and rest in _FUNCTIONS)):
            return say("keys.not_usable", key=shown(key))
        why = ""
    for other in ACTIONS:
        if other.name != action and key_of(other.name, given) == key:
            why = say("keys.taken", key=shown(key), action=say(f"action.{other.name}"))
    return why


def swallowed(key: str) -> str:
    """The words' name for why ``key`` never reaches the program everywhere; "" where it does."""
    *modifiers, rest = key.split("+")
    if "alt" in modifiers or "super" in modifiers or "meta" in modifiers:
        return "keys.alt"
    if "ctrl" in modifiers and rest in _ARROWS:
        return "keys.spaces"
    return _SWALLOWED.get(key, "")


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """A hint such as ``Esc stop   F1 help``, without what has no key."""
    return "   ".join(f"{key} {meaning}" for key, meaning in rows if key)


_NAMED = frozenset(
    "escape enter tab space backspace delete up down left right home end pageup pagedown".split()
)
_SIGNS = {
    "right_square_bracket": "]",
    "circumflex_accent": "^",
    "underscore": "_",
    "left_square_bracket": "[",
    "backslash": "\\",
}


def _part(part: str) -> str:
    if part in _NAMED:
        return say(f"key.{part}")
    return _SIGNS.get(part, part.capitalize())
