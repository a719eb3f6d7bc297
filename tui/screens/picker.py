"""A dialog to choose one of many by typing a part of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from ..keys import shown


@dataclass(frozen=True, slots=True)
class Choice:
    """One line to choose: ``value`` is the dialog's result."""

    value: str
    label: Content


Source = Callable[[str], Awaitable[Sequence[Choice]]]


class Picker(ModalScreen[str | None]):
    """Type to narrow the list, arrows to move, Enter to choose, Esc to leave.

    Args:
        title: The name on the frame.
        placeholder: What the empty input says.
        source: The choices for what is typed, the best first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down,ctrl+n", "move(1)", "Next", priority=True),
        Binding("up", "move(-1)", "Previous", priority=True),
    ]

    def __init__(self, title: str, placeholder: str, source: Source) -> None:
        super().__init__()
        self._title = title
        self._placeholder = placeholder
        self._source = source
        self._asked = 0
        self._shown: str | None = None  # what the list was made for

    def compose(self) -> ComposeResult:
        """An input above a list, in one frame."""
        frame = Vertical(
            Input(placeholder=self._placeholder, compact=True, id="wanted"),
            OptionList(id="choices", markup=False, compact=True),
            id="picker",
        )
        frame.border_title = self._title
        frame.border_subtitle = f"↑↓ {shown('enter')} · Esc"
        yield frame

    async def on_mount(self) -> None:
        """Show everything there is."""
        self.query_one(Input).cursor_blink = False
        await self._fill("")

    async def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list to what is typed."""
        await self._fill(event.value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click chooses as Enter does."""
        self.dismiss(event.option_id)

    def action_move(self, step: int) -> None:
        """Move the cursor of the list from within the input."""
        choices = self.query_one(OptionList)
        if step > 0:
            choices.action_cursor_down()
        else:
            choices.action_cursor_up()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave with the marked choice, of the list for all that was typed."""
        if event.value != self._shown:
            await self._fill(event.value)
        option = self.query_one(OptionList).highlighted_option
        if option is not None:
            self.dismiss(option.id)

    async def _fill(self, wanted: str) -> None:
        self._asked += 1
        asked = self._asked
        found = await self._source(wanted)
        if asked != self._asked:
            return  # more has been typed since
        self._shown = wanted
        choices = self.query_one(OptionList)
        choices.clear_options()
        choices.add_options([Option(choice.label, id=choice.value) for choice in found])
        choices.highlighted = 0 if found else None
