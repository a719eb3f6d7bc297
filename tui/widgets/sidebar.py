"""The list of conversations beside the chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ..records import Conversation
from ..units import age
from ..views import one_line
from ..words import say
from .bars import two_ends

_FRAME = 4  # cells of the sidebar's width beside a line: frame, padding, scrollbar
_WIDTH = 26  # of a line, before there is a layout


class Sidebar(OptionList):
    """Conversations, the most recent first; the open one is marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,shift+tab,escape", "leave", show=False),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    class Left(Message):
        """Back to writing."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self.border_title = say("chat.chats")
        self._width = _WIDTH
        self._shown: tuple[Sequence[Conversation], int | None, float] | None = None

    def present(
        self, conversations: Sequence[Conversation], current: int | None, now: float
    ) -> None:
        """Show ``conversations``, keeping the cursor on the one it was on."""
        self._shown = conversations, current, now
        held = self.highlighted_option.id if self.highlighted_option else None
        options = [
            Option(conversation_line(item, item.id == current, now, self._width), id=str(item.id))
            for item in conversations
        ]
        self.clear_options()
        self.add_options(options)
        wanted = held if self.has_focus else str(current)
        self.highlighted = next(
            (index for index, option in enumerate(options) if option.id == wanted), None
        )

    def on_resize(self) -> None:
        """Use the room there is."""
        width = self.outer_size.width - _FRAME
        if width > 0 and width != self._width:
            self._width = width
            if self._shown:
                self.present(*self._shown)

    def action_leave(self) -> None:
        """Back to writing."""
        self.post_message(self.Left())


def conversation_line(item: Conversation, current: bool, now: float, width: int) -> Content:
    """Title and age of a conversation in ``width`` cells."""
    mark = "★ " if item.pinned else ""
    when = age(max(0.0, now - item.updated_at))
    line = two_ends(f"{mark}{one_line(item.title) or say('chat.untitled')}", when, width)
    cut = len(line) - len(when)
    style = "bold $text-primary" if current else ""
    return Content.assemble((line[:cut], style), (line[cut:], "$text-muted"))
