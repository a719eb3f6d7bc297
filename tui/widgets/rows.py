"""A list of any number of one-line rows, each painted when it comes into view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

Paint = Callable[[int, int], Content]
"""(row, width) → the row's line in at most that many cells."""


class Rows(ScrollView, can_focus=True):
    """Rows of which one is under the cursor; Enter or a click chooses.

    Each row has a name, unique in the list, by which the cursor stays where it was when the rows
    are replaced. Only the rows in view are ever painted.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor"}
    DEFAULT_CSS = """
    Rows {
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        text-wrap: nowrap;
        scrollbar-size-vertical: 1;
        & > .rows--cursor { background: $panel; }
        &:ansi > .rows--cursor { text-style: bold underline; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("pagedown", "leap(1)", show=False),
        Binding("pageup", "leap(-1)", show=False),
        Binding("home", "go(0)", show=False),
        Binding("end", "go(-1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    cursor: reactive[int] = reactive(-1)
    """The row under the cursor, -1 in an empty list."""

    @dataclass
    class Moved(Message):
        """The cursor is on row ``name``, or on none."""

        rows: Rows
        name: str | None

        @property
        def control(self) -> Rows:
            """The list, for `on` with a selector."""
            return self.rows

    @dataclass
    class Chosen(Message):
        """Row ``name`` was chosen."""

        rows: Rows
        name: str

        @property
        def control(self) -> Rows:
            """The list, for `on` with a selector."""
            return self.rows

    @dataclass
    class LeftAbove(Message):
        """Up was pressed on the first row."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names: Sequence[str] = ()
        self._paint: Paint = lambda row, width: Content("")

    @property
    def names(self) -> Sequence[str]:
        """The names of the rows, from the top."""
        return self._names

    @property
    def current(self) -> str | None:
        """The name of the row under the cursor."""
        return self._names[self.cursor] if 0 <= self.cursor < len(self._names) else None

    def present(self, names: Sequence[str], paint: Paint, *, at: str | None = None) -> None:
        """Show other rows, with the cursor on ``at``, else where it was, else on the first."""
        wanted = self.current if at is None else at
        self._names, self._paint = names, paint
        self.virtual_size = Size(0, len(names))
        place = next((row for row, name in enumerate(names) if name == wanted), None)
        before = self.cursor
        if place is None:
            place = 0 if names else -1
        self.set_reactive(Rows.cursor, place)
        if place != before or self.current != wanted:
            self._show_cursor()
        self.post_message(self.Moved(self, self.current))
        self.refresh()

    def repaint(self) -> None:
        """The rows are the same and look different."""
        self.refresh()

    def text(self, row: int) -> str:
        """What row ``row`` shows."""
        return self._paint(row, self._width).plain

    def validate_cursor(self, row: int) -> int:
        """Stay within the list."""
        return max(min(row, len(self._names) - 1), 0 if self._names else -1)

    def watch_cursor(self) -> None:
        """The cursor moved."""
        self._show_cursor()
        self.post_message(self.Moved(self, self.current))
        self.refresh()

    def action_move(self, step: int) -> None:
        """One row up or down."""
        if step < 0 and self.cursor <= 0:
            self.post_message(self.LeftAbove())
        else:
            self.cursor += step

    def action_leap(self, step: int) -> None:
        """A page up or down."""
        self.cursor += step * max(1, self.scrollable_content_region.height - 1)

    def action_go(self, row: int) -> None:
        """To row ``row``; negative ones count from the end."""
        self.cursor = row if row >= 0 else len(self._names) + row

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self.current is not None:
            self.post_message(self.Chosen(self, self.current))

    def on_click(self, event: events.Click) -> None:
        """A click chooses what it hits."""
        row = self.scroll_offset.y + event.y - self.gutter.top
        if 0 <= row < len(self._names):
            self.cursor = row
            self.action_choose()

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self._show_cursor()

    @property
    def _width(self) -> int:
        return max(1, self.scrollable_content_region.width)

    def _show_cursor(self) -> None:
        height = self.scrollable_content_region.height
        if not self.is_mounted or not height or self.cursor < 0:
            return
        top = self.scroll_offset.y
        top = min(max(top, self.cursor - height + 1), self.cursor)
        self.scroll_to(y=top, animate=False, force=True, immediate=True)

    def render_line(self, y: int) -> Strip:
        """Paint line ``y`` of the screen."""
        row = self.scroll_offset.y + y
        width = self._width
        if row >= len(self._names):
            return Strip([Segment(" " * width, self.rich_style)], width)
        here = row == self.cursor
        style = self.get_visual_style("rows--cursor") if here else self.visual_style
        strips = Visual.to_strips(self, self._paint(row, width), width, 1, style)
        return strips[0].adjust_cell_length(width, style.rich_style)
