"""A page of text to read and close."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ..markdown.text import clean
from ..words import say


class TextScreen(ModalScreen[None]):
    """``text`` under ``title``; Esc, Enter or q closes it. The text is untrusted, never markup."""

    DEFAULT_CSS = """
    TextScreen {
        align: center middle;
        & > Vertical {
            width: auto;
            min-width: 40;
            max-width: 90;
            height: auto;
            max-height: 90%;
            padding: 1 2;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $text-muted;
            background: $surface;
        }
        & VerticalScroll {
            width: auto;
            max-width: 100%;
            height: auto;
            max-height: 100%;
            background: $surface;
            scrollbar-size-vertical: 1;
            &:focus {
                background-tint: $background 0%;
            }
        }
        & Static {
            width: auto;
            max-width: 100%;
        }
        &.-slim > Vertical {
            min-width: 0;
            max-width: 100%;
            padding: 0 1;
        }
        &.-low > Vertical {
            max-height: 100%;
            padding: 0 1;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss(None)", "Close", priority=True),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (90, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-high")]
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """One frame around a page that scrolls."""
        frame = Vertical(VerticalScroll(Static(clean(self._text), markup=False)))
        frame.border_title = self._title
        frame.border_subtitle = say("text.close")
        yield frame

    def on_mount(self) -> None:
        """Arrows scroll at once."""
        self.query_one(VerticalScroll).focus()
