"""The list of completions above the prompt. The prompt keeps the focus and the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from ..actions.suggest import Suggestion
from .bars import two_ends

ROWS = 8
_GAP = 2


class Completion(Widget):
    """Up to ``ROWS`` suggestions around the marked one; none hides it."""

    @dataclass
    class Clicked(Message):
        """Somebody clicked a suggestion."""

        suggestion: Suggestion

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._suggestions: Sequence[Suggestion] = ()
        self._index: int | None = None
        self._top = 0
        self._names = 0  # cells of the widest name with its argument
        self.display = False

    @property
    def is_open(self) -> bool:
        """There is something to choose."""
        return bool(self._suggestions)

    @property
    def chosen(self) -> Suggestion | None:
        """The marked suggestion."""
        return None if self._index is None else self._suggestions[self._index]

    def present(self, suggestions: Sequence[Suggestion], *, mark: bool) -> None:
        """Offer ``suggestions``; ``mark`` the first, or none until an arrow is pressed."""
        self._suggestions = suggestions
        self._index = 0 if mark and suggestions else None
        self._top = 0
        self._names = max((cell_len(_head(item)) for item in suggestions), default=0)
        self.display = bool(suggestions)
        height = min(ROWS, len(suggestions)) + 2  # and the frame
        self.styles.height = height
        self.styles.offset = (0, -height)
        self.border_subtitle = f"{len(suggestions)}" if len(suggestions) > ROWS else ""
        self.refresh(layout=True)

    def close(self) -> None:
        """Offer nothing."""
        if self.is_open:
            self.present((), mark=False)

    def move(self, step: int) -> None:
        """Mark the next suggestion, or the one before; the ends meet."""
        count = len(self._suggestions)
        if count:
            start = self._index if self._index is not None else -1 if step > 0 else 0
            self._index = (start + step) % count
            self._top = max(self._index - ROWS + 1, min(self._top, self._index))
            self.refresh()

    def render(self) -> Content:
        """Name and argument in a column, the explanation beside them."""
        width = self.content_size.width
        column = min(self._names, max(12, width // 3))
        lines: list[Content] = []
        for number in range(self._top, min(self._top + ROWS, len(self._suggestions))):
            item = self._suggestions[number]
            head = two_ends(_head(item), "", column + 1)[:-1]
            cut = min(len(item.name), len(head))
            line = Content.assemble(
                (head[:cut], "bold $text-primary"),
                (head[cut:], "$text-secondary"),
                (" " * _GAP + item.meaning, "$text-muted"),
            ).truncate(width, ellipsis=True, pad=True)
            lines.append(line.stylize("on $panel-lighten-1") if number == self._index else line)
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        """A click takes what it hits."""
        event.stop()
        number = self._top + event.get_content_offset_capture(self).y
        if 0 <= number < len(self._suggestions):
            self.post_message(self.Clicked(self._suggestions[number]))


def _head(item: Suggestion) -> str:
    return f"{item.name} {item.argument}" if item.argument else item.name
