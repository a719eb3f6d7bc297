"""A dialog for one line of text, which is checked while the dialog is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class Ask(ModalScreen[str | None]):
    """Enter leaves with what is written, Esc with None.

    Args:
        title: The name on the frame.
        about: A sentence above the line.
        hint: What the keys do.
        text: What the line says at first.
        refusal: Why a text cannot be taken; "" where it can.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(
        self,
        title: str,
        about: str,
        hint: str,
        text: str = "",
        *,
        refusal: Callable[[str], str] = lambda text: "",
    ) -> None:
        super().__init__()
        self._title = title
        self._about = about
        self._hint = hint
        self._text = text
        self._refusal = refusal

    def compose(self) -> ComposeResult:
        """A line to write in, between what it is about and what is wrong with it."""
        frame = Vertical(
            Static(self._about, markup=False, id="about"),
            Input(self._text, compact=True, id="wanted"),
            Static("", markup=False, id="wrong"),
            classes="dialog",
        )
        frame.border_title = self._title
        frame.border_subtitle = self._hint
        yield frame

    def on_mount(self) -> None:
        """The cursor stands still."""
        self.query_one(Input).cursor_blink = False

    def on_input_changed(self) -> None:
        """What was wrong is being mended."""
        self.query_one("#wrong", Static).update("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave, unless something is wrong."""
        why = self._refusal(event.value)
        if why:
            self.query_one("#wrong", Static).update(why)
        else:
            self.dismiss(event.value)
