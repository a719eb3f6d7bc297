"""All keys and commands, from the table of actions; what is typed narrows them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ..actions.carry_out import HANDLERS
from ..actions.table import ACTIONS
from ..keys import key_name, shown
from ..words import say
from .pages import Piece, hanging

_KEYS, _COMMANDS = 11, 10  # cells of the columns
_NARROW = 56  # cells below which meanings stand below what they explain


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the words' name of its heading, keys, slash command, meaning, what may follow."""

    heading: str
    keys: str
    command: str
    meaning: str
    argument: str = ""


def entries() -> list[Entry]:
    """Everything there is, under the headings in their order."""
    found = [
        Entry(
            f"group.{action.group}",
            key_name(action.name),
            action.slash,
            say(f"action.{action.name}.help"),
            action.argument,
        )
        for action in ACTIONS
        if action.name in HANDLERS
    ]
    fixed = [
        *(Entry("group.write", keys, "", say(meaning)) for keys, meaning in _writing()),
        *(Entry("group.read", keys, "", say(meaning)) for keys, meaning in _reading()),
        *(Entry("group.go", keys, "", say(meaning)) for keys, meaning in _going()),
    ]
    order = [f"group.{group}" for group in ("write", "read", "go", "keep", "tune")]
    known = sorted([*fixed, *found], key=lambda entry: order.index(entry.heading))
    return known + [Entry("help.messages", keys, "", say(meaning)) for keys, meaning in _messages()]


def _writing() -> list[tuple[str, str]]:
    return [
        (shown("enter"), "help.send"),
        (shown("ctrl+j"), "help.newline"),
        (f"{shown('up')} {shown('down')}", "help.history"),
        (shown("up"), "help.edit_last"),
        (shown("backspace"), "help.take_off"),
        ("/", "help.complete"),
        ("//", "help.literal"),
    ]


def _reading() -> list[tuple[str, str]]:
    return [
        (f"{shown('pageup')} {shown('pagedown')}", "help.scroll"),
        (shown("end"), "help.follow"),
        (shown("shift+tab"), "help.list"),
    ]


def _going() -> list[tuple[str, str]]:
    return [(shown("ctrl+p"), "help.palette"), (shown("ctrl+c"), "help.interrupt")]


def _messages() -> list[tuple[str, str]]:
    return [
        (shown("tab"), "help.enter_messages"),
        ("j k", "help.next"),
        ("e", "help.edit"),
        ("y", "help.copy"),
        ("1-9", "help.block"),
        (f"{shown('left')} {shown('right')}", "help.sibling"),
        ("o", "help.fold"),
        ("r", "action.regenerate.help"),
        ("f", "action.fork.help"),
        ("r", "help.again"),
        ("f", "help.fork"),
    ]


class HelpScreen(ModalScreen[None]):
    """Every key and command, and what it does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "dismiss(None)", "Close", priority=True),
        Binding("up", "scroll(-1)", "Up", priority=True),
        Binding("down", "scroll(1)", "Down", priority=True),
        Binding("pageup", "page(-1)", "Page up", priority=True),
        Binding("pagedown", "page(1)", "Page down", priority=True),
    ]

    def compose(self) -> ComposeResult:
        """A line to search in above a page that scrolls."""
        frame = Vertical(
            Input(placeholder=say("help.wanted"), compact=True, id="wanted"),
            VerticalScroll(Static("", markup=False), id="help-page", can_focus=False),
            classes="page",
            id="help",
        )
        frame.border_title = say("help.title")
        frame.border_subtitle = say("help.hint")
        yield frame

    def on_mount(self) -> None:
        """The cursor stands still."""
        self.query_one(Input).cursor_blink = False

    def on_key(self, event: events.Key) -> None:
        """The key that opened the help closes it."""
        if shown(event.key) == key_name("help"):
            event.stop()
            self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """By one line."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_page(self, direction: int) -> None:
        """By one page."""
        page = self.query_one(VerticalScroll)
        page.scroll_relative(y=direction * max(1, page.size.height - 1), animate=False)

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show)

    @on(Input.Changed)
    def _show(self) -> None:
        page = self.query_one(VerticalScroll)
        wanted = self.query_one(Input).value.strip().lower()
        width = max(24, page.scrollable_content_region.width)
        chosen = [entry for entry in entries() if wanted in _searched(entry)]
        parts: list[Piece] = []
        for heading, group in groupby(chosen, lambda entry: entry.heading):
            parts.append((f"{say(heading)}\n", "bold $text-primary"))
            for entry in group:
                parts += _lines(entry, width)
            parts.append(("\n", ""))
        if not chosen:
            parts.append((say("help.nothing"), "$text-muted"))
        self.query_one(Static).update(Content.assemble(*parts).rstrip())
        page.scroll_home(animate=False)


def _searched(entry: Entry) -> str:
    words = (say(entry.heading), entry.keys, entry.command, entry.meaning)
    return " ".join(words).lower()


def _lines(entry: Entry, width: int) -> list[Piece]:
    keys = (entry.keys.ljust(_KEYS), "$text-secondary")
    command = (entry.command.ljust(_COMMANDS), "$text-accent")
    if width < _NARROW:
        command = (f"{entry.command} {entry.argument}", "$text-accent")
        head = [piece for piece in (keys, command) if piece[0].strip()]
        parts = [*head, ("\n", "")]
        return parts + hanging([], 2, entry.meaning, width)
    parts = hanging([keys, command], _KEYS + _COMMANDS + 1, entry.meaning, width)
    if entry.argument:
        parts += hanging([], _KEYS + _COMMANDS + 1, entry.argument, width, "$text-muted")
    return parts
