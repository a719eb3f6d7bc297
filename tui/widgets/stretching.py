"""A list in which left and right mean something of their own."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList


class StretchingList(OptionList):
    """Up and down (k and j) choose; left and right are for whoever shows the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "stretch(-1)", show=False),
        Binding("right", "stretch(1)", show=False),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    class Stretched(Message):
        """Less (-1, left) or more (1, right) is wanted."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def action_stretch(self, direction: int) -> None:
        """Left or right."""
        self.post_message(self.Stretched(direction))
