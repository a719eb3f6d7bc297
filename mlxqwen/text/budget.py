"""How much work a chat template may do: counted in units, spent before the work is done.

One unit costs up to about a microsecond, and stands for at most 64 characters or one list slot.
The budget of a render lives in a context variable: no signals, no tracing, any number of threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Sequence, Sized, ValuesView
from contextvars import ContextVar
from typing import Any, TypeVar, cast


class BudgetSpent(Exception):
    """A render asked for more work than its budget allows."""


class Budget:
    """Units of work that are left to one render."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise BudgetSpent

    def measure(self, value: Any) -> int:
        """Charge for a value to its bottom, as printing or comparing it would visit it.

        Values that share parts are charged for every visit, so a value that would print as
        gigabytes spends the budget here first. Returns the units charged.
        """
        before = self.left
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str | bytes):
                self.spend(1 + (len(item) >> 6))
            elif isinstance(item, dict):
                table = cast(dict[Any, Any], item)
                self.spend(1 + len(table))
                stack.extend(table.keys())
                stack.extend(table.values())
            elif isinstance(item, _CONTAINERS):
                self.spend(1 + len(item))
                stack.extend(item)
            elif isinstance(item, range):
                self.spend(1 + (len(item) >> 3))
            elif isinstance(item, int):
                self.spend(1 + (item.bit_length() >> 6))
            else:
                self.spend(1)
        return before - self.left


_CONTAINERS: tuple[type[Any], ...] = (
    list,
    tuple,
    set,
    frozenset,
    KeysView,
    ValuesView,
    ItemsView,
)
_T = TypeVar("_T")
_budget: ContextVar[Budget] = ContextVar("mlxqwen_template_budget")
current = _budget.get


def within(budget: Budget, work: Callable[[], _T]) -> _T:
    """Run ``work`` with every charge going to ``budget``. Raises ``BudgetSpent``."""
    token = _budget.set(budget)
    try:
        return work()
    finally:
        _budget.reset(token)


def shallow(value: Any) -> int:
    """Units for copying or walking the outermost level of ``value``."""
    if isinstance(value, str | bytes):
        return 1 + (len(value) >> 6)
    return 1 + len(value) if isinstance(value, Sized) else 1


def counted(items: Iterator[Any], weight: int = 1) -> Iterator[Any]:
    budget = current()
    for item in items:
        budget.spend(weight)
        yield item


def settled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """``values`` with each iterator as a list, so that what it yields can be charged at once."""
    return tuple(
        list(cast(Iterator[Any], value)) if isinstance(value, Iterator) else value
        for value in values
    )


def charge_format(form: str, *values: Any) -> None:
    """``%`` and ``str.format``: a field may repeat any value, or name a width."""
    budget = current()
    fields = 1 + min(len(form) // 2, form.count("%") + form.count("{"))
    budget.spend(fields * sum(budget.measure(value) for value in values))
    widths = sum(int(number[:9]) for number in re.findall(r"\d{4,}", form))
    if "*" in form or re.search(r"\{[^}]*\{", form):  # a width among the values
        widths += sum(map(_numbers, values))
    budget.spend(fields * (widths >> 6))


def _numbers(value: Any) -> int:
    """The sum of all integers that a format could take for a width."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, dict):
        return sum(map(_numbers, cast(dict[Any, Any], value).values()))
    if isinstance(value, list | tuple):
        return sum(map(_numbers, cast(Sequence[Any], value)))
    return 0


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else abs(value) if isinstance(value, int) else 0


def charge_growth(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Operations whose result is larger than the sum of their operands."""
    spend = current().spend
    subject, *rest = args
    rest += kwargs.values()
    if name == "replace" and len(rest) >= 2:
        spend(_length(subject) // max(1, _length(rest[0])) * _length(rest[1]) >> 6)
    elif name == "join":
        spend(_length(subject) * max(map(_length, rest), default=0) >> 6)
    elif name == "indent":
        lines = 1 + str(subject).count("\n")
        spend(lines * max(map(_length, rest), default=4) >> 6)
    elif name == "tojson":
        spend(current().measure(subject) * max(map(_length, rest), default=0) >> 3)
    elif name == "sum" and any(isinstance(start, list | tuple) for start in rest):
        spend(_length(subject) * current().measure(subject))
    elif name == "format":
        charge_format(str(subject), *rest)
    elif name in _WIDE:
        spend(sum(_length(value) for value in rest if isinstance(value, int)) >> 4)


def charge_method(subject: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A method of a built-in type; its arguments are charged already."""
    if isinstance(subject, str):
        current().spend(len(subject) >> (3 if name in _SPLITTING else 6))
        charge_growth(name, (*args, subject) if name == "join" else (subject, *args), kwargs)
    elif isinstance(subject, list | tuple):
        current().measure(subject)


_SPLITTING = frozenset(("split", "rsplit", "splitlines"))
_WIDE = frozenset(
    ("center", "ljust", "rjust", "zfill", "batch", "slice", "truncate", "round", "wordwrap")
)
