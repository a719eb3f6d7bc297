"""Typed reading of a JSON object: every wrong type is refused by the name of its key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, cast

from ..errors import UnsupportedModel


class Fields:
    """Typed access to a configuration object.

    Args:
        values: The decoded JSON object.
        prefix: What to put before a key in messages, such as ``rope_scaling.``.

    Every method raises ``UnsupportedModel`` where the key is missing without a default, or has
    another type.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def _wrong(self, key: str, wanted: str) -> UnsupportedModel:
        found = f"{self._values[key]!r}" if key in self._values else "nothing"
        return UnsupportedModel(
            f"config.json has {found} under {self._prefix}{key}, where {wanted} belongs.",
            "The file is damaged or of another model family; download it again.",
        )

    def has(self, key: str) -> bool:
        """Whether ``key`` is there and not null."""
        return self._values.get(key) is not None

    def positive(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise self._wrong(key, "a positive whole number below 2^31")
        return value

    def number(self, key: str, default: float) -> float:
        """A finite number."""
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self._wrong(key, "a finite number")
        return float(value)

    def above_zero(self, key: str, default: float) -> float:
        """A finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(key, "a number above 0")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty where the key is absent."""
        value = self._values.get(key)
        if value is None:
            return ()
        if isinstance(value, list):
            items = cast(list[object], value)
            if all(isinstance(item, int) for item in items):
                return tuple(cast(list[int], items))
        raise self._wrong(key, "a list of whole numbers")

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Refuses any key outside ``known`` whose value is not null."""
        for key in self._values.keys() - set(known):
            if self._values[key] is not None:
                raise UnsupportedModel(
                    f"config.json has {self._prefix}{key} = {self._values[key]!r}, "
                    "which mlxqwen does not know and which may change the mathematics."
                )
