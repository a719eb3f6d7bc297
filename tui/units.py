"""Quantities in as few characters as say them."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def age(seconds: float) -> str:
    """How long ago something was, in as few characters as say it."""
    if seconds < _MINUTE:
        return "now"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)}m"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)}h"
    if seconds < 60 * _DAY:
        return f"{int(seconds // _DAY)}d"
    return (
        f"{int(seconds // (30 * _DAY))}mo"
        if seconds < 365 * _DAY
        else f"{int(seconds // (365 * _DAY))}y"
    )


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
    return f"{tokens / 1000:.1f}k" if tokens < 10_000 else f"{tokens / 1000:.0f}k"


def size(amount: int) -> str:
    """Bytes in powers of ten, as disks are sold: ``4.3 GB``."""
    for unit, scale in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if amount >= scale:
            return f"{amount / scale:.1f} {unit}"
    return f"{amount} B"
