"""A virtual view of laid-out messages: place, following, selection and painting.

Only what is in view is laid out. The place of the view is its top line; when a guessed height
above it is corrected the view moves along, so that nothing on the screen does.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Size
from textual.message import Message as TextualMessage
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.types import AnimationLevel, CallbackType

from .transcript_layout import Anchor, Layout
from .transcript_paint import GUTTER, Painter
from .transcript_selection import ROW_SPAN, selected_text, word_at
from .transcript_styles import COMPONENT_CLASSES, STYLE_CSS

TEXT_WIDTH = 110
"""Widest text column in cells; longer lines are hard to read."""


class TranscriptView(ScrollView, can_focus=True):
    """The view of a transcript, without the interface that fills it."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENT_CLASSES
    DEFAULT_CSS = (
        """
    TranscriptView {
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
        + STYLE_CSS
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("end", "follow", "Follow", show=False),
    ]

    @dataclass
    class FollowChanged(TextualMessage, namespace="transcript"):
        """Following ended or began again, or `new_lines` below the view changed."""

        transcript: TranscriptView
        following: bool
        new_lines: int

        @property
        def control(self) -> TranscriptView:
            """The transcript, for `on` with a selector."""
            return self.transcript

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.heights = Layout()
        self.marked: int | None = None  # the message with a bar
        self.paint_seconds = 0.0  # spent painting since somebody set it to zero
        self._following = True
        self._new_lines = 0
        self._reported = (True, 0)
        self._anchor = Anchor(0, 0.0)
        self._top = 0
        self._adjusting = False
        self._painter = Painter(self, "transcript--")

    # Place

    @property
    def following(self) -> bool:
        """New output keeps the view at the end."""
        return self._following

    @property
    def new_lines(self) -> int:
        """Lines below the view that came since following ended."""
        if self._following:
            return 0
        below = self.heights.total - self._top - self._page
        return max(0, min(self._new_lines, below))

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._following = True
        self._place()

    def action_follow(self) -> None:
        """End key."""
        self.follow()

    def scroll_to(
        self,
        x: float | None = None,
        y: float | None = None,
        *,
        animate: bool = True,
        speed: float | None = None,
        duration: float | None = None,
        easing: object = None,
        force: bool = False,
        on_complete: CallbackType | None = None,
        level: AnimationLevel = "basic",
        immediate: bool = False,
    ) -> None:
        """Scroll at once: an animation would fight the corrections of heights."""
        del animate, speed, duration, easing
        super().scroll_to(
            x,
            y,
            animate=False,
            force=force,
            on_complete=on_complete,
            level=level,
            immediate=immediate,
        )

    def reveal(self, index: int) -> None:
        """Bring the beginning of message `index` into view, and its end if there is room."""
        self.heights.measure(index)
        start, end = self.heights.start(index), self.heights.start(index + 1)
        if start < self._top or end - start > self._page:
            self.scroll_to(y=start)
        elif end > self._top + self._page:
            self.scroll_to(y=end - self._page)

    def remeasure(self, indices: list[int]) -> None:
        """Messages changed: lay them out again, keep the place, count what is new."""
        if not self._ready:
            for index in indices:
                self.heights.forget(index)
            return
        top, _ = self.heights.at(self._top)
        for index in indices:
            known = self.heights.known(index)
            change = self.heights.measure(index)
            if known:
                self._new_lines += change
            if index < top:
                self._top += change
        self.update_view()

    def appended(self) -> None:
        """A message was added at the end."""
        if self._ready:
            last = len(self.heights.messages) - 1
            self.heights.measure(last)
            self._new_lines += self.heights.start(last + 1) - self.heights.start(last)
            self.update_view()

    def replaced(self, *, follow: bool) -> None:
        """All messages are others."""
        self._painter.forget_strips()
        self._following = self._following or follow
        self._place()

    def update_view(self) -> None:
        """The content changed; what is visible keeps its place, or the end is followed."""
        if not self._ready:
            return
        height = self._page
        if self._following or self.heights.total <= height:
            self._following = True
            self._show(self.heights.settle_end(height))
        else:
            top, _ = self.heights.at(self._top)
            self._show(self.heights.settle(self._top, height, top))
        self.refresh()

    @property
    def _ready(self) -> bool:
        return self.is_mounted and self.scrollable_content_region.width > 0

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height)

    @property
    def _text_width(self) -> int:
        width = self.scrollable_content_region.width - len(GUTTER) - 1
        return max(8, min(TEXT_WIDTH, width))

    def _place(self) -> None:
        """Go to the end if following, else to the anchor, at the width there is now."""
        if self._ready:
            self.heights.set_width(self._text_width)
            if not self._following:
                self._top = self.heights.position(self._anchor)
            self.update_view()

    def _show(self, top: int) -> None:
        """Make line `top` the first one visible."""
        self._adjusting = True
        self._resize_content(Size(self._text_width, self.heights.total))
        self.scroll_to(y=top, force=True)
        self._adjusting = False
        self._top = top
        self._anchor = self.heights.anchor(top)
        state = (self._following, self.new_lines)
        if state != self._reported:
            self._reported = state
            self.post_message(self.FollowChanged(self, *state))

    def _resize_content(self, size: Size) -> None:
        """Set `virtual_size`, and tell the scrollbar.

        Setting it outright would lay the whole screen out anew for every line that comes, which
        costs more than to paint it; the scrollbar is always there, so that nothing can move.
        """
        if size != self.virtual_size:
            self.set_reactive(cast(Reactive[Size], ScrollView.virtual_size), size)
            self._scroll_update(size)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Somebody scrolled: measure what came into view, and decide whether to follow."""
        super().watch_scroll_y(old_value, new_value)
        top = round(new_value)
        if self._adjusting or top == self._top or not self._ready:
            return
        height = self._page
        # A short scroll keeps what was at the top in place, a jump what is there now.
        near = abs(top - self._top) <= height
        pivot, _ = self.heights.at(self._top if near else top)
        was_following = self._following
        self._following = top >= self.heights.total - height
        if self._following:
            self._show(self.heights.settle_end(height))
        else:
            if was_following:
                self._new_lines = 0
            self._show(self.heights.settle(top, height, pivot))

    def on_mount(self) -> None:
        """Lay out what was set before there was a screen."""
        self._place()

    def on_resize(self, event: events.Resize) -> None:
        """Keep the top line's message and place, or the end."""
        del event
        self._painter.forget_strips()
        self._place()

    # Pointer

    def on_click(self, event: events.Click) -> None:
        """One click acts on what is there, two select the word, three the message.

        Textual's own handling is not wanted: it would select the whole conversation.
        """
        event.prevent_default()
        at = event.get_content_offset(self)
        if at is None:
            return  # the padding
        index, row = self.heights.at(self._top + at.y)
        if index >= len(self.heights.messages):
            return
        here = Offset(at.x - len(GUTTER), index * ROW_SPAN + row)
        if event.chain == 2:
            self.screen.selections = {self: word_at(self.heights, here)}
        elif event.chain == 3:
            rows = Offset(0, index * ROW_SPAN), Offset(0, (index + 1) * ROW_SPAN - 1)
            self.screen.selections = {self: Selection(*rows)}
        elif self.text_selection is None:
            self.clicked(index, row)

    def clicked(self, index: int, row: int) -> None:
        """Line `row` of message `index` was clicked."""

    # Painting

    def notify_style_update(self) -> None:
        """The theme changed: same lines, other colours."""
        super().notify_style_update()
        self._painter.forget_styles()

    def mark(self, index: int | None) -> None:
        """Draw a bar left of message `index`, or of none."""
        self.marked = index
        self.refresh()

    def selection_updated(self, selection: Selection | None) -> None:
        """Repaint with the new selection."""
        del selection
        self._painter.forget_strips()
        self.refresh()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text without padding, frames and soft line breaks."""
        return selected_text(self.heights, selection), "\n"

    def render_line(self, y: int) -> Strip:
        """Paint line `y` of the screen."""
        began = perf_counter()
        index, row = self.heights.at(self.scroll_offset.y + y)
        if index >= len(self.heights.messages):
            return self._painter.blank(self.size.width)
        message = self.heights.messages[index]
        if index not in self.heights.laid_out:
            self.heights.measure(index)
        row = min(row, message.height - 1)
        strip = self._painter.strip(
            message.line(row),
            index * ROW_SPAN + row,
            self.size.width,
            head=row < len(message.head),
            marked=index == self.marked,
            selection=self.text_selection,
        )
        self.paint_seconds += perf_counter() - began
        return strip
