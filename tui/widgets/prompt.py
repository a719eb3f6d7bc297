"""The box one writes in: Enter sends, Ctrl+J starts a new line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

# What Terminal.app sends for Shift+Enter is decoded as Enter, which would send half a message. The
# table is Textual's own; a test guards that it is still there and still obeyed.
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

cast("dict[str, tuple[Keys, ...]]", ANSI_SEQUENCES_KEYS)["\x1b\r"] = (Keys.ControlJ,)


class Prompt(TextArea):
    """A text box that grows with its text to a third of the screen."""

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

    def on_key(self, event: events.Key) -> None:
        """Enter, new line and End, in the order in which they were typed among the letters.

        Priority bindings would overtake letters that still wait in this widget's queue: a fast
        typist's last word would stay behind.
        """
        match event.key:
            case "enter":
                self._submit()
            case "ctrl+j" | "shift+enter":
                self.replace("\n", *self.selection)
            case "end" if not self.text:
                self.post_message(self.EndPressed())
            case _:
                return
        event.prevent_default()
        event.stop()

    def _submit(self) -> None:
        text = self.text
        if text.strip():
            self.clear()
            self.post_message(self.Submitted(text))

    def give_back(self, text: str) -> None:
        """Put ``text`` before what was written since, because it could not be sent."""
        self.load_text(text if not self.text.strip() else f"{text}\n{self.text}")
        self.move_cursor(self.document.end)
