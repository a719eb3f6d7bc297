"""The conversation with a cursor on one message, and the keys that act on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType
from textual.message import Message

from .transcript import Transcript

Wish = Literal["edit", "copy", "code", "older", "newer", "fold", "regenerate", "fork"]

_WISHES: tuple[tuple[str, Wish], ...] = (
    ("e", "edit"),
    ("y,c", "copy"),
    ("left,h", "older"),
    ("right,l", "newer"),
    ("o", "fold"),
    ("r", "regenerate"),
    ("f", "fork"),
)


class Reader(Transcript):
    """Focused, it marks a message; what a key wishes of it is asked of whoever composed it.

    A click does not focus it: who selects text with the mouse goes on writing.
    """

    FOCUS_ON_CLICK = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "step(1)", show=False),
        Binding("k,up", "step(-1)", show=False),
        Binding("home,g", "jump(0)", show=False),
        Binding("end,G", "jump(-1)", show=False),
        *[Binding(keys, f"wish('{wish}')", show=False) for keys, wish in _WISHES],
        *[Binding(str(number), f"wish('code', {number})", show=False) for number in range(1, 10)],
        Binding("enter,escape,tab,i", "leave", show=False),
    ]

    @dataclass
    class Wished(Message):
        """A key was pressed for message ``key``; ``number`` is that of a code block."""

        wish: Wish
        key: int
        number: int

    @dataclass
    class Focused(Message):
        """It has the keys from now on, or has them no more."""

        focused: bool

    class Left(Message):
        """Back to writing."""

    def enter(self, key: int | None = None) -> bool:
        """Mark message ``key``, or the last one, and take the keys; False where there is none."""
        if not self.keys:
            return False
        self.highlight(self.keys[-1] if key is None else key)
        self.focus(scroll_visible=False)
        return True

    @property
    def current(self) -> int | None:
        """The key of the marked message."""
        return None if self.marked is None else self.keys[self.marked]

    def on_focus(self) -> None:
        """The keys are here."""
        self.post_message(self.Focused(True))

    def on_blur(self) -> None:
        """No mark without the keys, but for a terminal that is looked away from."""
        if self.app.app_focus:
            self.highlight(None)
            self.post_message(self.Focused(False))

    def action_step(self, step: int) -> None:
        """The message below or above; a tall one is read through first."""
        key = self.current
        if key is None:
            self.enter()
            return
        message = self.keys.index(key)
        start, end = self.heights.start(message), self.heights.start(message + 1)
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if step > 0 and end > top + height and end - start > height:
            self.scroll_to(y=min(top + height // 2, end - height))
        elif step < 0 and start < top and end - start > height:
            self.scroll_to(y=max(start, top - height // 2))
        elif key + step in self.keys:
            self.highlight(key + step)

    def action_jump(self, place: int) -> None:
        """The first message or the last one."""
        if self.keys:
            self.highlight(self.keys[place])
            if place:
                self.follow()

    def action_wish(self, wish: Wish, number: int = 0) -> None:
        """Ask for something to be done to the marked message."""
        if self.current is not None:
            self.post_message(self.Wished(wish, self.current, number))

    def action_leave(self) -> None:
        """Back to writing."""
        self.post_message(self.Left())
