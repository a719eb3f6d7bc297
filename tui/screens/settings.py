"""Everything that can be set, on one page for the keyboard; each change takes effect at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..themes import theme_names
from ..widgets.bars import two_ends
from ..words import say
from . import settings_rows as rows
from .ask import Ask
from .ask_key import AskKey
from .settings_rows import Choices, Key, Number, Row

if TYPE_CHECKING:
    from .chat import ChatScreen


class SettingsScreen(ModalScreen[None]):
    """Arrows up and down move, left and right change, Enter asks, Delete takes the default."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("left", "step(-1)", "Previous", priority=True),
        Binding("right", "step(1)", "Next", priority=True),
        Binding("delete,backspace", "reset", "Default", priority=True),
    ]

    def __init__(self, chat: ChatScreen) -> None:
        super().__init__()
        self._chat = chat
        self._rows: dict[str, Row] = {}

    def compose(self) -> ComposeResult:
        """The lines, and below them what the marked one is about."""
        yield Vertical(
            OptionList(id="form", markup=False, compact=True),
            Static("", markup=False, id="about"),
            classes="page",
            id="settings",
        )

    def on_mount(self) -> None:
        """The cursor begins at the top."""
        self._fill()
        self._form.highlighted = 1
        self._form.focus()

    @on(events.Resize)
    def _resized(self) -> None:
        # The form has its new width only after the layout that follows.
        self.call_after_refresh(self._fill)

    def action_step(self, direction: int) -> None:
        """The next or previous of a few values."""
        row = self._row
        if isinstance(row, Choices):
            self._change(**rows.step(row, self._chat.settings, direction))

    def action_reset(self) -> None:
        """The marked line's default."""
        if self._row:
            self._change(**rows.reset(self._row, self._chat.settings))

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        if self._row:
            self.query_one("#about", Static).update(rows.about(self._row))

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        match self._row:
            case Choices() as row:
                self._change(**rows.step(row, self._chat.settings, 1))
            case Number() as row:
                self._ask_number(row)
            case Key() as row:
                self._ask_key(row)
            case None:
                pass

    def _ask_number(self, row: Number) -> None:
        def answered(text: str | None) -> None:
            if text is not None:
                number = rows.number_of(row, text)
                self._change(**rows.with_number(row, self._chat.settings, number))

        self.app.push_screen(
            Ask(
                rows.label(row),
                rows.about(row),
                say("settings.number_hint"),
                rows.number(row, self._chat.settings),
                refusal=lambda text: rows.refusal(row, text),
            ),
            answered,
        )

    def _ask_key(self, row: Key) -> None:
        def answered(key: str | None) -> None:
            if key is not None:
                self._change(**rows.with_key(row, self._chat.settings, key))

        self.app.push_screen(AskKey(row.name, self._chat.settings.keys), answered)

    def _change(self, **values: object) -> None:
        self._chat.change(**values)
        self._fill()

    @property
    def _form(self) -> OptionList:
        return self.query_one("#form", OptionList)

    @property
    def _row(self) -> Row | None:
        option = self._form.highlighted_option
        return self._rows.get(option.id) if option and option.id else None

    def _fill(self) -> None:
        """Say everything anew, in the language and at the width of now."""
        frame, form = self.query_one("#settings"), self._form
        frame.border_title = say("settings.title")
        frame.border_subtitle = say("settings.hint")
        place, top = form.highlighted, form.scroll_offset.y
        width = max(20, form.scrollable_content_region.width - 1)
        known = theme_names(self.app.available_themes)
        models = [name for name in self._chat.models if name != self._chat.settings.model]
        if self._chat.settings.model:
            models.insert(0, self._chat.settings.model)
        options: list[Option] = []
        self._rows = {}
        for heading, lines in rows.groups(known, models):
            if options:
                options.append(Option("", disabled=True))
            options.append(
                Option(Content.styled(say(heading), "bold $text-primary"), disabled=True)
            )
            for row in lines:
                self._rows[rows.identity(row)] = row
                options.append(Option(self._line(row, width), id=rows.identity(row)))
        form.clear_options()
        form.add_options(options)
        form.highlighted = place
        form.scroll_to(y=top, animate=False)
        self._moved()

    def _line(self, row: Row, width: int) -> Content:
        settings = self._chat.settings
        value = rows.value(row, settings)
        if isinstance(row, Choices):
            value = f"◂ {value} ▸"
        line = two_ends(rows.label(row), value, width)
        cut = len(line) - len(value)
        default = rows.is_default(row, settings)
        return Content.assemble(line[:cut], (value, "$text-muted" if default else "$text-accent"))
