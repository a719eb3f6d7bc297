"""The box one writes in: Enter sends, Ctrl+J starts a new line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

# What Terminal.app sends for Shift+Enter is decoded as Enter, which would send half a message. The
# table is Textual's own; a test guards that it is still there and still obeyed.
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.binding import Binding, BindingType
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

cast("dict[str, tuple[Keys, ...]]", ANSI_SEQUENCES_KEYS)["\x1b\r"] = (Keys.ControlJ,)


class Prompt(TextArea):
    """A text box that grows with its text to a third of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", priority=True),
        Binding("ctrl+j,shift+enter", "newline", "New line", priority=True),
        Binding("end", "end", "End of line", priority=True),
    ]

    @dataclass
    class Submitted(Message):
        """The user sent ``text``."""

        text: str

    @dataclass
    class EndPressed(Message):
        """End was pressed where there is no line to go to the end of."""

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(
            "",
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder=placeholder,
            id=id,
        )
        # A blinking cursor wakes the machine twice a second for nothing.
        self.cursor_blink = False

    def action_submit(self) -> None:
        """Send what is written, unless it is only space."""
        text = self.text
        if text.strip():
            self.clear()
            self.post_message(self.Submitted(text))

    def action_newline(self) -> None:
        """Go on in a new line."""
        self.replace("\n", *self.selection)

    def action_end(self) -> None:
        """Go to the end of the line; in an empty box, of the conversation."""
        if self.text:
            self.action_cursor_line_end()
        else:
            self.post_message(self.EndPressed())

    def give_back(self, text: str) -> None:
        """Put ``text`` before what was written since, because it could not be sent."""
        self.load_text(text if not self.text.strip() else f"{text}\n{self.text}")
        self.move_cursor(self.document.end)
