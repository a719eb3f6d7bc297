"""Where every message of a transcript stands, without rendering those nobody has seen.

Heights of messages never seen are estimates. They are measured when a view reaches them, and
`settle` then moves the view so that what stays visible does not move on the screen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, KeysView
from dataclasses import dataclass
from itertools import accumulate

from .transcript_message import Message

KEPT = 128
"""Messages whose lines are kept once laid out; the rest are rendered again when seen again."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place that survives a change of width: a message and a share of its height, 0 to 1."""

    index: int
    share: float


class Layout:
    """The messages of a transcript and their vertical positions at one width."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.width = 80
        self._heights: list[int] = []
        self._starts: list[int] = [0]  # starts[i] valid for i <= _valid; one more than messages
        self._valid = 0
        self._measured: set[int] = set()
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def laid_out(self) -> KeysView[int]:
        """The messages whose lines are at hand."""
        return self._kept.keys()

    def known(self, index: int) -> bool:
        """The height of message `index` is measured, not guessed."""
        return index in self._measured

    @property
    def total(self) -> int:
        """Height of everything, measured or guessed."""
        return self.start(len(self.messages))

    def start(self, index: int) -> int:
        """The first line of message `index`."""
        if index > self._valid:
            done = self._valid
            sums = accumulate(self._heights[done:], initial=self._starts[done])
            self._starts[done:] = sums
            self._valid = len(self.messages)
        return self._starts[index]

    def set_messages(self, messages: Iterable[Message]) -> None:
        """Replace everything."""
        self.messages = list(messages)
        self._guess()

    def set_width(self, width: int) -> None:
        """Everything measured becomes a guess at the new width."""
        if width != self.width:
            self.width = width
            self._guess()

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        self.messages.append(message)
        self._heights.append(message.estimate(self.width))

    def remove_from(self, index: int) -> None:
        """Drop message `index` and all after it."""
        gone = range(index, len(self.messages))
        self._measured.difference_update(gone)
        for number in gone:
            self._kept.pop(number, None)
        del self.messages[index:]
        del self._heights[index:]
        del self._starts[index + 1 :]
        self._valid = min(self._valid, index)

    def measure(self, index: int) -> int:
        """Lay message `index` out; return by how many lines its height changed."""
        height = self.messages[index].layout(self.width)
        change = height - self._heights[index]
        if change:
            self._heights[index] = height
            self._valid = min(self._valid, index)
        self._measured.add(index)
        self._kept[index] = None
        self._kept.move_to_end(index)
        return change

    def forget(self, index: int) -> None:
        """Message `index` changed while nobody could see it: its height is a guess again."""
        self._measured.discard(index)
        self._kept.pop(index, None)

    def prune(self, first: int, last: int) -> None:
        """Release the lines of the messages unseen longest, but for `first` to `last`."""
        excess = len(self._kept) - KEPT
        if excess <= 0:
            return
        for index in [i for i in self._kept if not first <= i <= last][:excess]:
            del self._kept[index]
            self.messages[index].release()

    def at(self, y: int) -> tuple[int, int]:
        """The message at line `y` and the line within it; (count, 0) below everything."""
        total = self.total
        if not 0 <= y < total:
            return (0, 0) if y < 0 else (len(self.messages), 0)
        index = bisect_right(self._starts, y, 0, len(self.messages)) - 1
        return index, y - self._starts[index]

    def settle(self, top: int, height: int, pivot: int) -> int:
        """Measure what lines `top` to `top + height` show.

        Message `pivot` and those after it keep their place on the screen, so messages measured
        above it shift the view: the returned line is the new top.
        """
        while True:
            first, _ = self.at(max(0, top))
            last, _ = self.at(top + height - 1)
            change = 0
            clean = True
            for index in range(first, min(last + 1, len(self.messages))):
                if index not in self._kept:
                    seen = index in self._measured
                    moved = self.measure(index)
                    clean = clean and seen and not moved
                    if index < pivot:
                        change += moved
                else:
                    self._kept.move_to_end(index)
            top += change
            if clean:
                self.prune(first, last)
                return max(0, min(top, self.total - height))

    def settle_end(self, height: int) -> int:
        """Measure the last `height` lines and return the top of that view."""
        while True:
            top = max(0, self.total - height)
            first, _ = self.at(top)
            fresh = [i for i in range(first, len(self.messages)) if i not in self._kept]
            for index in fresh:
                self.measure(index)
            if not fresh:
                self.prune(first, len(self.messages))
                return top

    def anchor(self, y: int) -> Anchor:
        """The place of line `y`."""
        index, line = self.at(y)
        if index >= len(self.messages):
            return Anchor(index, 0.0)
        return Anchor(index, line / max(1, self._heights[index]))

    def position(self, anchor: Anchor) -> int:
        """The line of `anchor`, its message measured."""
        if anchor.index >= len(self.messages):
            return self.total
        self.measure(anchor.index)
        offset = round(anchor.share * self._heights[anchor.index])
        return self.start(anchor.index) + offset

    def _guess(self) -> None:
        self._heights = [message.estimate(self.width) for message in self.messages]
        self._starts = [0]
        self._valid = 0
        self._measured.clear()
        self._kept.clear()
