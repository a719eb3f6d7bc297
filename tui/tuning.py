"""What an answer is asked with: sampling and thinking, by default, by conversation, in words.

A conversation's ``params`` hold what was chosen in it: the names of ``SAMPLING``, and ``think`` as
True, False, "auto" or a number of tokens. What it does not say comes from the settings, and what
those do not say is the checkpoint's own.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mlxqwen.errors import UsageError
from mlxqwen.generate.options import Sampling

from .settings import SAMPLING, Settings
from .units import whole
from .words import say

LARGEST_SEED = 2**63 - 1
"""What the store's column of integers holds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one answer is asked with; ``think`` None leaves it to the model."""

    think: bool | int | None = None
    sampling: Mapping[str, float | int] = field(default_factory=dict[str, "float | int"])
    max_tokens: int | None = None

    @property
    def seed(self) -> int | None:
        """What makes it repeatable."""
        return cast("int | None", self.sampling.get("seed"))

    def params(self, system: str = "") -> dict[str, Any]:
        """As it is stored with the answer."""
        used: dict[str, Any] = dict(self.sampling)
        if self.think is not None:
            used["think"] = self.think
        if self.max_tokens is not None:
            used["max_tokens"] = self.max_tokens
        if system:
            used["system"] = system
        return used


def asked(settings: Settings, params: Mapping[str, Any]) -> Asked:
    """What a conversation with ``params`` is asked with. A seed nobody chose is drawn here, so
    that it is known afterwards.
    """
    chosen: dict[str, Any] = {
        name: value
        for name, value in {**settings.sampling, **params}.items()
        if name in SAMPLING and value is not None
    }
    chosen.setdefault("seed", secrets.randbits(32))
    return Asked(
        think=_thinks(params.get("think", settings.think)),
        max_tokens=chosen.pop("max_tokens", None),
        sampling=chosen,
    )


def value_of(name: str, text: str) -> float | int:
    """The value ``text`` of the parameter ``name``.

    Raises:
        UsageError: There is no such parameter, or its value is out of range.
    """
    kind = SAMPLING.get(name)
    if kind is None:
        raise UsageError(say("set.unknown", name=name), say("set.names", names=", ".join(SAMPLING)))
    try:
        value: float | int = int(text) if kind is int else float(text.replace(",", "."))
    except ValueError as error:
        wanted = say("set.whole" if kind is int else "set.number", name=name, value=text)
        raise UsageError(wanted) from error
    # Compared as it is: a whole number may be too large for a float. Nothing is so for NaN.
    if not abs(value) <= (LARGEST_SEED if kind is int else sys.float_info.max):
        raise UsageError(say("set.large", name=name))
    if name == "max_tokens":
        if value < 1:
            raise UsageError(say("set.few", name=name))
    else:
        Sampling(**cast("dict[str, Any]", {name: value}))
    return value


def think_of(text: str) -> bool | int | str:
    """What ``/think TEXT`` means for ``params``.

    Raises:
        UsageError: It means nothing.
    """
    known: dict[str, bool | str] = {"on": True, "off": False, "auto": "auto"}
    if text in known:
        return known[text]
    tokens = whole(text)
    if tokens and tokens <= 10_000_000:
        return tokens
    raise UsageError(say("think.unknown", value=text), say("think.values"))


def think_line(think: bool | int | None) -> str:
    """How thinking is set, in words."""
    if think is None:
        return say("think.auto")
    if think is True:
        return say("think.on")
    return say("think.limited", number=think) if think else say("think.off")


def set_rows(settings: Settings, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every parameter, and its value with where that comes from."""
    rows: list[tuple[str, str]] = []
    for name in SAMPLING:
        if name in params:
            rows.append((name, say("set.here", value=params[name])))
        elif name in settings.sampling:
            rows.append((name, say("set.settings", value=settings.sampling[name])))
        else:
            rows.append((name, say("set.drawn" if name == "seed" else "set.model")))
    return rows


def _thinks(value: object) -> bool | int | None:
    match value:
        case bool() | int():
            return value
        case "on":
            return True
        case "off":
            return False
        case _:
            return None
