"""A question with two answers, before something is fetched or removed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..keys import shown


class Confirm(ModalScreen[bool]):
    """Arrows move between the answers, Enter takes one, Esc is no.

    Args:
        title: The question, on the frame.
        text: What it means.
        yes: The answer that does it; ``no`` the other.
        careful: The cursor begins at ``no``, for what cannot be undone.
    """

    DEFAULT_CSS = """
    Confirm {
        align: center middle;
        background: $background 60%;
        & > #confirm {
            width: 72;
            max-width: 96%;
            height: auto;
            max-height: 96%;
            padding: 1 2;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $text-muted;
            background: $surface;
        }
        & #confirm-text { height: auto; max-height: 12; scrollbar-size-vertical: 1; }
        & #answers {
            height: 2;
            margin-top: 1;
            border: none;
            background: $surface;
            & > .option-list--option-highlighted {
                background: $panel;
                color: $foreground;
                text-style: bold;
            }
        }
    }
    Confirm.-careful > #confirm { border: round $error; border-title-color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(False)", "Close")]

    def __init__(
        self, title: str, text: Content, yes: str, no: str, *, careful: bool = False
    ) -> None:
        super().__init__(classes="-careful" if careful else "")
        self._title = title
        self._text = text
        self._answers = (yes, no)
        self._careful = careful

    def compose(self) -> ComposeResult:
        """What it means, above the two answers."""
        yes, no = self._answers
        answers = OptionList(
            Option(Content(f" {yes}"), id="yes"),
            Option(Content(f" {no}"), id="no"),
            id="answers",
            markup=False,
            compact=True,
        )
        frame = Vertical(
            VerticalScroll(Static(self._text, markup=False), id="confirm-text", can_focus=False),
            answers,
            id="confirm",
        )
        frame.border_title = Content(self._title).markup
        frame.border_subtitle = f"↑↓ {shown('enter')} · Esc"
        yield frame

    def on_mount(self) -> None:
        """The cursor is on the answer that does no harm."""
        answers = self.query_one(OptionList)
        answers.highlighted = 1 if self._careful else 0
        answers.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click answers."""
        self.dismiss(event.option_id == "yes")
