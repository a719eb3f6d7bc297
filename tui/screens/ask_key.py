"""A dialog that waits for a key to give to an action."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ..actions.table import BY_NAME
from ..keys import key_of, refusal, shown
from ..words import say


class AskKey(ModalScreen[str | None]):
    """Leaves with the key that was pressed, "" for none, or None where all stays as it is.

    A key that another action has, or that a terminal keeps for itself, is refused with the reason.

    Args:
        action: The action's name.
        given: The keys that are not the default, by action.
    """

    def __init__(self, action: str, given: Mapping[str, str]) -> None:
        super().__init__()
        self._action = action
        self._given = given

    def compose(self) -> ComposeResult:
        """What is asked, the key there is, and why one cannot be taken."""
        name = say(f"action.{self._action}")
        now = shown(key_of(self._action, self._given)) or say("settings.key_none")
        frame = Vertical(
            Static(say("settings.press", action=name), markup=False),
            Static(now, markup=False, id="about"),
            Static("", markup=False, id="wrong"),
            classes="dialog",
        )
        frame.border_title = name
        frame.border_subtitle = say("settings.press_hint")
        yield frame

    def on_key(self, event: events.Key) -> None:
        """Take the key, or say why not."""
        event.stop()
        event.prevent_default()
        match event.key:
            case "escape":
                self.dismiss(None)
            case "backspace":
                self.dismiss("")
            case "delete":
                self._take(BY_NAME[self._action].key)
            case key:
                self._take(key)

    def _take(self, key: str) -> None:
        why = refusal(self._action, key, self._given) if key else ""
        if why:
            self.query_one("#wrong", Static).update(why)
        else:
            self.dismiss(key)
