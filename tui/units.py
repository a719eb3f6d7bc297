"""Quantities in as few characters as say them, in the interface's language."""

from __future__ import annotations

from .words import plural, say

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def whole(text: str) -> int | None:
    """The number that ``text`` writes in digits, 18 at most; None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def decimal(value: float, digits: int = 1) -> str:
    """``value`` with so many digits after the language's own decimal sign."""
    return f"{value:.{digits}f}".replace(".", say("unit.decimal"))


def age(seconds: float) -> str:
    """How long ago something was, in as few characters as say it."""
    if seconds < _MINUTE:
        return say("unit.now")
    if seconds < _HOUR:
        return say("unit.minutes", number=int(seconds // _MINUTE))
    if seconds < _DAY:
        return say("unit.hours", number=int(seconds // _HOUR))
    if seconds < 60 * _DAY:
        return say("unit.days", number=int(seconds // _DAY))
    if seconds < 365 * _DAY:
        return say("unit.months", number=int(seconds // (30 * _DAY)))
    return plural("unit.years", int(seconds // (365 * _DAY)))


def clock(seconds: float) -> str:
    """A span of time as a clock shows it: ``0:07``, ``12:31``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(tokens: int) -> str:
    """A token count as a meter shows it: ``980``, ``3.1k``, ``32k`` for 32,768."""
    if tokens and tokens % 1024 == 0:
        return f"{tokens // 1024}k"
    if tokens < 1000:
        return str(tokens)
    return f"{decimal(tokens / 1000)}k" if tokens < 10_000 else f"{tokens / 1000:.0f}k"


def size(amount: int) -> str:
    """Bytes in powers of ten, as disks are sold: ``4.3 GB``."""
    for unit, scale in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if amount >= scale:
            return f"{decimal(amount / scale)} {unit}"
    return f"{amount} B"
