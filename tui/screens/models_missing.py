"""A chat whose model is not here: it stays readable, and one chooses what answers from here on."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from ..keys import shown
from ..tilde import expanded
from ..views import one_line
from ..words import say
from .models_choose import Choosing, ask_folder, choice

Way = Literal["pick", "download"]


class MissingModel(ModalScreen[tuple[Way | Literal["use"], str] | None]):
    """Its result is what to do with which model; None is to read only.

    Args:
        name: The model that is missing.
        known: Whether a download can be offered for it.
    """

    DEFAULT_CSS = """
    MissingModel {
        align: center middle;
        background: $background 60%;
        & > #missing {
            width: 72;
            max-width: 98%;
            height: auto;
            max-height: 98%;
            padding: 1 2;
            border: round $warning;
            border-title-color: $text-warning;
            border-subtitle-color: $text-muted;
            background: $surface;
        }
        & #missing-about { height: auto; margin-bottom: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(self, name: str, *, known: bool) -> None:
        super().__init__()
        self._missing = name
        self._known = known

    def compose(self) -> ComposeResult:
        """What is missing, above what can be done."""
        ways = ["pick", *(["download"] if self._known else []), "locate", "read"]
        frame = Vertical(
            Static(
                say("missing.about", name=one_line(self._missing)),
                markup=False,
                id="missing-about",
            ),
            Choosing(*(choice(way, say(f"missing.{way}")) for way in ways), markup=False),
            id="missing",
        )
        frame.border_title = say("missing.title")
        frame.border_subtitle = f"↑↓ {shown('enter')} · Esc"
        yield frame

    def on_mount(self) -> None:
        """The first choice is marked."""
        choices = self.query_one(Choosing)
        choices.highlighted = 0
        choices.focus()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        match event.option_id:
            case "pick":
                self.dismiss(("pick", ""))
            case "download":
                self.dismiss(("download", self._missing))
            case "locate":
                self.app.push_screen(ask_folder(), self._located)
            case _:
                self.dismiss(None)

    def _located(self, folder: str | None) -> None:
        if folder is not None:
            self.dismiss(("use", str(expanded(folder.strip()).absolute())))
