"""The keys, on one page."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

_GROUPS = (
    (
        "Write",
        (
            ("Enter", "send"),
            ("Ctrl+J", "new line; Shift+Enter too in many terminals"),
            ("Esc", "stop and keep what came; again: end the engine"),
            ("Ctrl+R", "answer again; both answers are kept"),
        ),
    ),
    (
        "Read",
        (
            ("PgUp, PgDn", "scroll"),
            ("End", "follow the answer as it comes"),
            ("Ctrl+T", "fold or unfold thoughts"),
            ("Ctrl+C", "copy what the mouse has selected"),
        ),
    ),
    (
        "Go",
        (
            ("Ctrl+N", "new chat"),
            ("Ctrl+F", "find a chat, or anything ever said in one"),
            ("Ctrl+L", "choose the model"),
            ("Ctrl+P", "every action by name"),
            ("Tab", "next pane"),
            ("Ctrl+C Ctrl+C", "quit; everything is saved"),
        ),
    ),
)


class HelpScreen(ModalScreen[None]):
    """Every key and what it does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,enter,q", "dismiss(None)", "Close", priority=True)
    ]

    def compose(self) -> ComposeResult:
        """One page that scrolls where the window is small."""
        width = max(len(keys) for _, rows in _GROUPS for keys, _ in rows)
        parts: list[tuple[str, str]] = []
        for title, rows in _GROUPS:
            parts.append((f"{title}\n", "bold $text-primary"))
            for keys, meaning in rows:
                parts += [(keys.rjust(width), "$text-secondary"), (f"   {meaning}\n", "")]
            parts.append(("\n", ""))
        page = VerticalScroll(Static(Content.assemble(*parts).rstrip()), id="help")
        page.border_title = "Keys"
        page.border_subtitle = "Esc"
        yield page
