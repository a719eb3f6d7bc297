"""A field with a few values, of which arrows left and right show the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Cycle(Widget, can_focus=True):
    """``◂ balanced ▸  what that means``.

    Args:
        choices: Value, name and explanation of each.
        value: The one to begin with.
    """

    DEFAULT_CSS = """
    Cycle {
        height: auto;
        width: 1fr;
        &:focus { background: $panel; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", show=False),
        Binding("right,space", "step(1)", show=False),
    ]

    place: reactive[int] = reactive(0, layout=True)

    @dataclass
    class Changed(Message):
        """Another value is chosen."""

        cycle: Cycle

    def __init__(
        self, choices: Sequence[tuple[str, str, str]], value: str, *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._choices = tuple(choices)
        values = [choice[0] for choice in self._choices]
        self.set_reactive(Cycle.place, values.index(value) if value in values else 0)

    @property
    def value(self) -> str:
        """The chosen one."""
        return self._choices[self.place][0]

    def render(self) -> Content:
        """The name between signs that say where there is more."""
        _, name, about = self._choices[self.place]
        first, last = self.place == 0, self.place == len(self._choices) - 1
        parts = [
            ("  " if first else "◂ ", "$text-primary"),
            (name, "bold"),
            ("  " if last else " ▸", "$text-primary"),
        ]
        if about:
            parts.append((f"  {about}", "$text-muted"))
        return Content.assemble(*parts)

    def action_step(self, direction: int) -> None:
        """The next or previous value; it ends at the ends."""
        place = min(max(self.place + direction, 0), len(self._choices) - 1)
        if place != self.place:
            self.place = place
            self.post_message(self.Changed(self))

    def on_click(self) -> None:
        """A click shows the next value, and the first after the last."""
        self.place = (self.place + 1) % len(self._choices)
        self.post_message(self.Changed(self))
