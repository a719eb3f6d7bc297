"""What a person has set, in one small TOML file that may be edited by hand.

A value that cannot be used is left out with a sentence, and the rest is kept; what this version
does not know stays in the file.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from mlxqwen.errors import OutputError
from mlxqwen.hub.places import data_folder

from .words import say

Think = Literal["auto", "on", "off"]
SAMPLING: Mapping[str, type] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "presence": float,
    "repetition": float,
    "seed": int,
    "max_tokens": int,
}
"""What ``/set`` and the table ``[sampling]`` may name; the rest is the checkpoint's own."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, math.inf),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "presence": (-100, 100),
    "repetition": (0.01, 100),
    "seed": (0, 2**63 - 1),
    "max_tokens": (1, math.inf),
}
"""The lowest and highest value of each; a seed is as long as TOML's integers are."""


def conversations_file() -> Path:
    """The SQLite file with all conversations, in the folder of everything mlxqwen keeps."""
    return data_folder() / "conversations.sqlite3"


def settings_file() -> Path:
    """The file with the settings."""
    return data_folder() / "settings.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set.

    Attributes:
        language: "en" or "it"; "" follows the system.
        theme: The name of a theme.
        model: What to load at the start; "" for the one used last.
        context: Tokens to make room for; 0 for as many as fit.
        think: Whether models that can think do; "auto" leaves it to the model.
        thoughts: Whether thoughts are shown at all.
        notify: Tell the terminal when a long answer ends unseen.
        greeted: The first-run page has been seen.
        sampling: By the names of ``SAMPLING``.
        keys: Action's name → key, where it is not the default.
    """

    language: Literal["", "en", "it"] = ""
    theme: str = "mlxqwen-night"
    model: str = ""
    context: int = 0
    think: Think = "auto"
    thoughts: bool = True
    notify: bool = True
    greeted: bool = False
    sampling: Mapping[str, float | int] = field(default_factory=dict[str, "float | int"])
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Opened:
    """``settings`` as read, and a sentence for each thing in the file that was not usable."""

    settings: Settings
    complaints: tuple[str, ...] = ()


def read_settings(path: Path) -> Opened:
    """Read ``path``; without it everything is at its default."""
    try:
        raw = _parse(path)
    except FileNotFoundError:
        return Opened(Settings())
    except (OSError, ValueError) as error:
        return Opened(Settings(), (say("settings.unreadable", path=path, error=error),))
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in raw.items():
        if name not in _KINDS:
            continue  # a newer version's, kept by `write_settings`
        if _is_usable(name, value):
            values[name] = _known_sampling(value, complaints) if name == "sampling" else value
        else:
            complaints.append(
                say("settings.unusable", file=path.name, name=name, value=repr(value))
            )
    return Opened(replace(Settings(), **values), tuple(complaints))


def write_settings(path: Path, settings: Settings) -> None:
    """Replace ``path`` at once, keeping what this version does not know.

    Raises:
        OutputError: It cannot be written, or what is there cannot be read and would be lost.
    """
    try:
        kept = _parse(path)
    except FileNotFoundError:
        kept = {}
    except ValueError as error:
        raise OutputError(
            say("settings.damaged", path=path, error=error), say("settings.mend")
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    default = asdict(Settings())
    wanted = {name: value for name, value in asdict(settings).items() if value != default[name]}
    kept = {name: value for name, value in kept.items() if name not in _KINDS}
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(_format({**kept, **wanted}), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


_KINDS: Mapping[str, type] = {
    "language": str,
    "theme": str,
    "model": str,
    "context": int,
    "think": str,
    "thoughts": bool,
    "notify": bool,
    "greeted": bool,
    "sampling": dict,
    "keys": dict,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "language": ("", "en", "it"),
    "think": ("auto", "on", "off"),
}


def _parse(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _is_usable(name: str, value: object) -> bool:
    if type(value) is not _KINDS[name]:
        return False
    if name == "keys":
        return all(isinstance(key, str) for key in cast("dict[str, object]", value).values())
    if name == "context":
        return cast(int, value) >= 0
    return name not in _CHOICES or value in _CHOICES[name]


def _known_sampling(table: dict[str, object], complaints: list[str]) -> dict[str, float | int]:
    usable: dict[str, float | int] = {}
    for name, value in table.items():
        kind = SAMPLING.get(name)
        if (
            kind is None
            or isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) <= sys.float_info.max  # NaN; and a whole number may be larger
            or not LIMITS[name][0] <= kind(value) <= LIMITS[name][1]
        ):
            complaints.append(
                say("settings.unusable", file="[sampling]", name=name, value=repr(value))
            )
        else:
            usable[name] = kind(value)
    return usable


def _format(values: Mapping[str, Any]) -> str:
    lines = [f"{name} = {_value(value)}" for name, value in values.items() if not _is_table(value)]
    for name, table in values.items():
        if _is_table(table) and table:
            lines += ["", f"[{name}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: object) -> str:
    """A TOML value: its strings, numbers, truths and lists are written as JSON writes them."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in cast("list[object]", value)) + "]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return str(value)  # dates and times


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        say("settings.unwritable", path=path, error=error.strerror), say("settings.elsewhere")
    )
