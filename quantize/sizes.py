"""Sizes as people write them: 16GB of memory, 32k tokens of context."""

from __future__ import annotations

import re
from decimal import Decimal

from mlxqwen.errors import UsageError

CONTEXT = 8192
"""Tokens for which ``fit`` keeps room, and a plan counts memory, where nobody says otherwise."""

_NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", re.ASCII)
_BYTES = {
    **{"": 1, "b": 1},
    **{f"{p}{e}": 1000**n for n, p in enumerate("kmgt", 1) for e in ("", "b")},
    **{f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)},
}
_TOKENS = {"": 1, "k": 1024, "m": 1024**2}


def parse_size(text: str) -> int:
    """Bytes of ``16GB`` (10⁹ each), ``1.5 GiB`` (2³⁰), ``900MB`` or a plain number of bytes.

    Raises:
        UsageError: It is none of these, or less than one byte.
    """
    return _parse(text, _BYTES, "a size", "Write it as 16GB, 1.5GiB, 900MB or a number of bytes.")


def parse_tokens(text: str) -> int:
    """Tokens of ``32k`` (1,024 each) or a plain number.

    Raises:
        UsageError: It is neither, or less than one token.
    """
    return _parse(text, _TOKENS, "a number of tokens", "Write it as 32k or 32768.")


def at_least(size: int) -> str:
    """A size as ``parse_size`` reads it, three digits long, and never less than ``size`` bytes."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= scale:
            step = max(1, 10 ** (len(str(size // scale)) - 3 + len(str(scale)) - 1))
            whole, rest = divmod(-(-size // step) * step, scale)
            fraction = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
            return f"{whole}.{fraction}{unit}" if fraction else f"{whole}{unit}"
    return str(size)


def _parse(text: str, units: dict[str, int], what: str, hint: str) -> int:
    found = _NUMBER.fullmatch(text)
    scale = None if found is None else units.get(found[2].lower())
    if found is None or scale is None:
        raise UsageError(f"{text!r} is not {what}.", hint)
    number = int(Decimal(found[1]) * scale)
    if number < 1:
        raise UsageError(f"{text!r} is not {what}: it must be above zero.", hint)
    return number
