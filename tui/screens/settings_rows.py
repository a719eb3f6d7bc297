"""The lines of the settings form: what each is called, what it says, what it can become."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..actions.table import ACTIONS, BY_NAME
from ..keys import key_of, shown
from ..settings import LIMITS, SAMPLING, Settings
from ..themes import short_name
from ..units import decimal
from ..views import model_label
from ..words import LANGUAGES, say, system_language


@dataclass(frozen=True, slots=True)
class Choices:
    """A setting that is one of a few ``values``."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A setting that is a number; "context", or a name of ``SAMPLING``."""

    name: str


@dataclass(frozen=True, slots=True)
class Key:
    """The key of the action ``name``."""

    name: str


Row = Choices | Number | Key


def groups(themes: Sequence[str], models: Sequence[str]) -> list[tuple[str, list[Row]]]:
    """All lines under their headings."""
    return [
        (
            "settings.look",
            [Choices("language", ("", *LANGUAGES)), Choices("theme", tuple(themes))],
        ),
        ("settings.model_group", [Choices("model", ("", *models)), Number("context")]),
        (
            "settings.answers",
            [
                Choices("think", ("auto", "on", "off")),
                Choices("thoughts", (True, False)),
                Choices("notify", (True, False)),
            ],
        ),
        ("settings.sampling", [Number(name) for name in SAMPLING]),
        ("settings.keys", [Key(action.name) for action in ACTIONS]),
    ]


def identity(row: Row) -> str:
    """A name no other line has."""
    return f"{type(row).__name__}.{row.name}"


def label(row: Row) -> str:
    """What the line is called."""
    if isinstance(row, Key):
        return say(f"action.{row.name}")
    return say(f"settings.{_path(row)}")


def about(row: Row) -> str:
    """A sentence on what it does."""
    if isinstance(row, Key):
        return say("settings.key_help", about=say(f"action.{row.name}.help"))
    return say(f"settings.{_path(row)}.help")


def value(row: Row, settings: Settings) -> str:
    """What the line says now."""
    if isinstance(row, Key):
        return shown(key_of(row.name, settings.keys)) or say("settings.key_none")
    if isinstance(row, Choices):
        return choice(row.name, asdict(settings)[row.name])
    if row.name == "context":
        number = settings.context
        return (
            say("settings.context_tokens", number=number)
            if number
            else say("settings.context_auto")
        )
    given = settings.sampling.get(row.name)
    return say("settings.sampling_default") if given is None else number_text(given)


def choice(name: str, chosen: Any) -> str:
    """One of the values of a ``Choices`` line."""
    if isinstance(chosen, bool):
        return say("settings.on") if chosen else say("settings.off")
    match name:
        case "language" if not chosen:
            return say("settings.system_language", name=LANGUAGES[system_language()])
        case "language":
            return LANGUAGES[chosen]
        case "theme":
            return short_name(chosen)
        case "think":
            return say("settings.think_auto") if chosen == "auto" else say(f"settings.{chosen}")
        case _:
            return model_label(chosen) if chosen else say("settings.model_last")


def is_default(row: Row, settings: Settings) -> bool:
    """Nobody has set it."""
    if isinstance(row, Key):
        return key_of(row.name, settings.keys) == BY_NAME[row.name].key
    if isinstance(row, Number) and row.name != "context":
        return row.name not in settings.sampling
    return asdict(settings)[row.name] == asdict(Settings())[row.name]


def step(row: Choices, settings: Settings, direction: int) -> dict[str, Any]:
    """The next or previous value, round and round, as ``change`` takes it."""
    now = asdict(settings)[row.name]
    place = row.values.index(now) + direction if now in row.values else 0
    return {row.name: row.values[place % len(row.values)]}


def with_number(row: Number, settings: Settings, given: float | None) -> dict[str, Any]:
    """``given`` for the line, or its default for None, as ``change`` takes it."""
    if row.name == "context":
        return {"context": 0 if given is None else given}
    kept = {name: number for name, number in settings.sampling.items() if name != row.name}
    return {"sampling": kept if given is None else {**kept, row.name: given}}


def with_key(row: Key, settings: Settings, key: str) -> dict[str, Any]:
    """``key`` for the action, as ``change`` takes it."""
    kept: Mapping[str, str] = {
        name: other for name, other in settings.keys.items() if name != row.name
    }
    return {"keys": kept if key == BY_NAME[row.name].key else {**kept, row.name: key}}


def reset(row: Row, settings: Settings) -> dict[str, Any]:
    """The line's default, as ``change`` takes it."""
    if isinstance(row, Key):
        return with_key(row, settings, BY_NAME[row.name].key)
    if isinstance(row, Number):
        return with_number(row, settings, None)
    return {row.name: asdict(Settings())[row.name]}


def number(row: Number, settings: Settings) -> str:
    """What one would write to have what is set; "" for the default."""
    if row.name == "context":
        return str(settings.context or "")
    given = settings.sampling.get(row.name)
    return "" if given is None else number_text(given)


def number_text(number: float) -> str:
    """A number as one would write it."""
    return str(number) if isinstance(number, int) else decimal(number, 4).rstrip("0").rstrip(".,")


def number_of(row: Number, text: str) -> float | None:
    """The number that ``text`` means; None for the default. Raises ``ValueError`` for none."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    return int(text) if row.name == "context" or SAMPLING[row.name] is int else float(text)


def refusal(row: Number, text: str) -> str:
    """Why the line cannot become ``text``; "" where it can."""
    try:
        number = number_of(row, text)
    except ValueError:
        whole = row.name == "context" or SAMPLING[row.name] is int
        return say("settings.not_whole" if whole else "settings.not_number", text=text.strip())
    low, high = (0, math.inf) if row.name == "context" else LIMITS[row.name]
    if number is None or (abs(number) <= sys.float_info.max and low <= number <= high):
        return ""
    if high == math.inf:
        return say("settings.at_least", low=number_text(low))
    return say("settings.between", low=number_text(low), high=number_text(high))


def _path(row: Choices | Number) -> str:
    sampled = isinstance(row, Number) and row.name != "context"
    return f"sampling.{row.name}" if sampled else row.name
