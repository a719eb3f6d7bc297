"""The conversation: one virtual, scrollable view of any number of messages.

    transcript.set_messages([MessageView("user", "Ciao", header="You"), ...])
    key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
    transcript.stream_thinking(key, "…"); transcript.stream_text(key, "…")
    transcript.finish(key, "done", header="Qwen · 61 tok/s · 4.2 s")

Only messages somebody looks at are rendered. Streamed pieces go to a buffer that a timer
drains, at most a third of the loop's time going into rendering. All text is untrusted: it is
cleaned of control characters, never read as markup, and no link in it is active.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message as TextualMessage
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer

from ..markdown import Line
from .transcript_layout import Anchor, Layout
from .transcript_message import Labels, Message, MessageView, Role, State
from .transcript_selection import ROW_SPAN, selected_text
from .transcript_styles import COMPONENT_CLASSES, STYLE_CSS

__all__ = ["Labels", "MessageView", "Role", "State", "Transcript"]

FRAME_SECONDS = 1 / 30
"""Shortest time between two renderings of a streaming message."""
RENDER_SHARE = 3
"""A rendering that took t seconds is followed by the next after RENDER_SHARE · t at the soonest."""
TEXT_WIDTH = 110
"""Widest text column in cells; longer lines are hard to read."""
HEAD_GUTTER, BODY_GUTTER = " ", "   "


class Transcript(ScrollView, can_focus=True):
    """A list of messages, the last of which may be streaming. See the module for its use."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENT_CLASSES
    DEFAULT_CSS = (
        """
    Transcript {
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
    class FollowChanged(TextualMessage):
        """Following ended or began again, or `new_lines` below the view changed."""

        transcript: Transcript
        following: bool
        new_lines: int

    @dataclass
    class CodeClicked(TextualMessage):
        """Somebody clicked the label of code block `number` of message `key`."""

        transcript: Transcript
        key: int
        number: int
        code: str

    def __init__(
        self,
        *,
        labels: Labels | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._labels = labels or Labels()
        self._layout_of = Layout()
        self._first_key = 0  # key of the first message
        self._next_key = 0
        self._following = True
        self._base_total = 0  # height when following ended
        self._reported = (True, 0)
        self._anchor = Anchor(0, 0.0)
        self._top = 0
        self._adjusting = False
        self._dirty: set[int] = set()
        self._timer: Timer | None = None
        self._frame_cost = 0.0
        self._paint_cost = 0.0
        self._cursor: int | None = None
        self._styles: dict[str, Style] = {}
        self._strips: LRUCache[tuple[Line, bool], Strip] = LRUCache(1024)

    # Messages

    def set_messages(self, messages: Iterable[MessageView], *, follow: bool = True) -> list[int]:
        """Show `messages` instead of what is there and return their keys.

        With `follow` the view goes to the end, otherwise it stays at the same message and line.
        """
        views = [Message(view, self._labels) for view in messages]
        self._first_key = self._next_key
        self._next_key += len(views)
        self._dirty.clear()
        self._cursor = None
        self._layout_of.set_messages(views)
        self._strips.clear()
        if follow:
            self._following = True
        self._place()
        return list(range(self._first_key, self._next_key))

    def append(self, message: MessageView) -> int:
        """Add a message at the end and return its key."""
        key = self._next_key
        self._next_key += 1
        self._layout_of.append(Message(message, self._labels))
        self._grown()
        return key

    def remove_from(self, key: int) -> None:
        """Remove message `key` and every later one."""
        index = self._index(key)
        self._layout_of.remove_from(index)
        self._next_key = key
        self._dirty = {number for number in self._dirty if number < index}
        self._grown()

    def clear(self) -> None:
        """Remove every message."""
        self.set_messages(())

    @property
    def keys(self) -> range:
        """The keys of the messages shown, in order."""
        return range(self._first_key, self._next_key)

    def view(self, key: int) -> MessageView:
        """What message `key` shows; its text as streamed so far."""
        message = self._message(key)
        return replace(message.view, text=message.text, thinking=message.thinking)

    def stream_text(self, key: int, piece: str) -> None:
        """The answer of message `key` goes on; shown at the next tick."""
        self._message(key).append_text(piece)
        self._touch(key)

    def stream_thinking(self, key: int, piece: str) -> None:
        """The thinking of message `key` goes on; shown at the next tick."""
        self._message(key).append_thinking(piece)
        self._touch(key)

    def update_header(
        self,
        key: int,
        header: str | None = None,
        *,
        thinking_seconds: float | None = None,
        thinking_tokens: int | None = None,
        sibling: tuple[int, int] | None = None,
    ) -> None:
        """Change what is given of the header, the sibling mark and the thinking line."""
        message = self._message(key)
        view = message.view
        message.update(
            replace(
                view,
                header=view.header if header is None else header,
                thinking_seconds=(
                    view.thinking_seconds if thinking_seconds is None else thinking_seconds
                ),
                thinking_tokens=(
                    view.thinking_tokens if thinking_tokens is None else thinking_tokens
                ),
                sibling=view.sibling if sibling is None else sibling,
            )
        )
        self._touch(key)

    def finish(
        self,
        key: int,
        state: State = "done",
        *,
        header: str | None = None,
        thinking_seconds: float | None = None,
        thinking_tokens: int | None = None,
        detail: str = "",
    ) -> None:
        """No more text comes for message `key`: render it whole and show its state."""
        self.update_header(
            key, header, thinking_seconds=thinking_seconds, thinking_tokens=thinking_tokens
        )
        message = self._message(key)
        message.update(replace(message.view, state=state, detail=detail))
        self._touch(key)

    def toggle_thinking(self, key: int | None = None) -> None:
        """Fold or unfold the thinking of message `key`, or of all by what the last one shows."""
        messages = self._layout_of.messages
        if key is not None:
            chosen = [self._index(key)]
        else:
            chosen = [index for index, item in enumerate(messages) if item.thinking]
        if not chosen:
            return
        unfold = not messages[chosen[-1]].unfolded
        top, _ = self._layout_of.at(self._top)
        shift = 0
        for index in chosen:
            messages[index].unfolded = unfold
            if self._layout_of.known(index):
                change = self._layout_of.measure(index)
                shift += change if index < top else 0
        self._top += shift
        self._anchor = self._layout_of.anchor(self._top)
        self._grown()

    def code_block(self, key: int, number: int) -> str:
        """Code block `number` (from 1) of message `key`. Raises IndexError if there is none."""
        return self._message(key).code_block(number)

    # Place

    @property
    def following(self) -> bool:
        """New output keeps the view at the end."""
        return self._following

    @property
    def new_lines(self) -> int:
        """Lines that came below since following ended."""
        return 0 if self._following else max(0, self._layout_of.total - self._base_total)

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._following = True
        self._place()

    def highlight(self, key: int | None) -> None:
        """Mark message `key` with a bar and bring its beginning into view; None unmarks."""
        self._cursor = None if key is None else self._index(key)
        self._strips.clear()
        self.refresh()
        if self._cursor is None:
            return
        self._layout_of.measure(self._cursor)
        start = self._layout_of.start(self._cursor)
        end = self._layout_of.start(self._cursor + 1)
        height = self._page
        if start < self._top or end > self._top + height:
            target = start if start < self._top or end - start > height else end - height
            self.scroll_to(y=target, animate=False)

    def action_follow(self) -> None:
        """End key."""
        self.follow()

    def action_scroll_home(self) -> None:
        """Home key."""
        self.scroll_to(y=0, animate=False)

    def action_scroll_up(self) -> None:
        """Up key. Scrolling is never animated: a correction of heights would fight it."""
        self.scroll_to(y=self._top - 1, animate=False)

    def action_scroll_down(self) -> None:
        """Down key."""
        self.scroll_to(y=self._top + 1, animate=False)

    def action_page_up(self) -> None:
        """Page Up key: one line of the old page stays in view."""
        self.scroll_to(y=self._top - max(1, self._page - 1), animate=False)

    def action_page_down(self) -> None:
        """Page Down key."""
        self.scroll_to(y=self._top + max(1, self._page - 1), animate=False)

    # Inside

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height)

    @property
    def _text_width(self) -> int:
        width = self.scrollable_content_region.width - len(BODY_GUTTER) - 1
        return max(8, min(TEXT_WIDTH, width))

    def _index(self, key: int) -> int:
        if key not in self.keys:
            raise KeyError(f"the transcript has no message {key}")
        return key - self._first_key

    def _message(self, key: int) -> Message:
        return self._layout_of.messages[self._index(key)]

    def _touch(self, key: int) -> None:
        self._dirty.add(self._index(key))
        if self._timer is None and self.is_mounted:
            wait = max(FRAME_SECONDS, RENDER_SHARE * (self._frame_cost + self._paint_cost))
            self._timer = self.set_timer(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        began = perf_counter()
        top, _ = self._layout_of.at(self._top)
        for index in sorted(self._dirty):
            if self._layout_of.known(index):
                change = self._layout_of.measure(index)
                self._top += change if index < top else 0
        self._dirty.clear()
        self._paint_cost = 0.0
        self._grown()
        self._frame_cost = perf_counter() - began

    def _grown(self) -> None:
        """The content changed in height or in looks; the visible part keeps its place."""
        if self.is_mounted:
            if self._following:
                self._show(self._layout_of.settle_end(self._page))
            else:
                top, _ = self._layout_of.at(self._top)
                self._show(self._layout_of.settle(self._top, self._page, top))
            self.refresh()

    def _place(self) -> None:
        """Go to the end if following, else to the anchor."""
        if not self.is_mounted:
            return
        self._layout_of.set_width(self._text_width)
        if not self._following:
            self._top = self._layout_of.position(self._anchor)
        self._grown()

    def _show(self, top: int) -> None:
        """Make line `top` the first one visible."""
        self._adjusting = True
        self.virtual_size = Size(self._text_width, self._layout_of.total)
        self.scroll_to(y=top, animate=False, force=True)
        self._adjusting = False
        self._top = top
        self._anchor = self._layout_of.anchor(top)
        self._report()

    def _report(self) -> None:
        state = (self._following, self.new_lines)
        if state != self._reported:
            self._reported = state
            self.post_message(self.FollowChanged(self, *state))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Somebody scrolled: measure what came into view, and decide whether to follow."""
        super().watch_scroll_y(old_value, new_value)
        top = round(new_value)
        if self._adjusting or top == self._top:
            return
        height = self._page
        was_following = self._following
        near = abs(top - self._top) <= height
        pivot, _ = self._layout_of.at(self._top if near else top)
        self._following = top >= self._layout_of.total - height
        if was_following and not self._following:
            self._base_total = self._layout_of.total
        if self._following:
            self._show(self._layout_of.settle_end(height))
        else:
            before = self._layout_of.total
            self._show(self._layout_of.settle(top, height, pivot))
            self._base_total += self._layout_of.total - before  # corrections are no new lines

    def on_mount(self) -> None:
        """Lay out what was set before there was a screen."""
        self._place()

    def on_resize(self, event: events.Resize) -> None:
        """Keep the top line's message and place, or the end."""
        del event
        self._place()

    def on_click(self, event: events.Click) -> None:
        """A click on the thinking line folds it; on a code label asks for its copy."""
        index, row = self._layout_of.at(self._top + event.y)
        if index >= len(self._layout_of.messages) or self.text_selection is not None:
            return
        message = self._layout_of.messages[index]
        key = self._first_key + index
        if row == message.fold_line:
            self.toggle_thinking(key)
        elif number := message.line(row).code:
            code = message.code_block(number)
            self.post_message(self.CodeClicked(self, key, number, code))

    # Painting

    def notify_style_update(self) -> None:
        """The theme changed: same lines, other colours."""
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def selection_updated(self, selection: Selection | None) -> None:
        """Repaint with the new selection."""
        del selection
        self._strips.clear()
        self.refresh()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text without padding, frames and soft line breaks."""
        return selected_text(self._layout_of, selection), "\n"

    def render_line(self, y: int) -> Strip:
        """Paint line `y` of the screen."""
        began = perf_counter()
        index, row = self._layout_of.at(self.scroll_offset.y + y)
        if index >= len(self._layout_of.messages):
            return Strip.blank(self.size.width, self.rich_style)
        message = self._layout_of.messages[index]
        if index not in self._layout_of.laid_out:
            self._layout_of.measure(index)
        line = message.line(min(row, message.height - 1))
        strip = self._paint(line, index, row, row < len(message.head))
        self._paint_cost += perf_counter() - began
        return strip

    def _paint(self, line: Line, index: int, row: int, head: bool) -> Strip:
        at_cursor = index == self._cursor
        cached = self._strips.get((line, at_cursor))
        if cached is not None and line.spans:
            return cached
        gutter = HEAD_GUTTER if head else BODY_GUTTER
        bar = "┃" + gutter[1:] if at_cursor else gutter
        y = index * ROW_SPAN + row
        strip = Strip(
            [
                Segment(bar, self._style("cursor")),
                *[Segment(text, self._style(style)) for text, style in line.spans],
            ],
            len(gutter) + line.cells,
        )
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(y)) is not None:
            strip = self._selected(strip, line, len(gutter), span)
        strip = strip.adjust_cell_length(self.size.width, self.rich_style)
        strip = strip.apply_offsets(-len(gutter), y)
        self._strips[line, at_cursor] = strip
        return strip

    def _selected(self, strip: Strip, line: Line, gutter: int, span: tuple[int, int]) -> Strip:
        start, end = span
        start = max(start, line.margin_length) + gutter
        end = len(line.text) + gutter if end == -1 else min(end, len(line.text)) + gutter
        style = self.screen.get_component_rich_style("screen--selection")
        segments: list[Segment] = []
        offset = 0
        for text, base, _ in strip:
            left, right = max(start - offset, 0), max(end - offset, 0)
            marked = base + style if base else style
            parts = (
                (text[:left], base),
                (text[left:right], marked),
                (text[max(left, right) :], base),
            )
            segments += [Segment(part, part_style) for part, part_style in parts if part]
            offset += len(text)
        return Strip(segments, strip.cell_length)

    def _style(self, names: str) -> Style:
        style = self._styles.get(names)
        if style is None:
            style = self.rich_style
            for name in names.split():
                style += self.get_component_rich_style(f"transcript--{name}", partial=True)
            self._styles[names] = style
        return style
