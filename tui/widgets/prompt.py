"""The box one writes in: Enter sends, Ctrl+J starts a new line, a slash begins a command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

# What Terminal.app sends for Shift+Enter is decoded as Enter, which would send half a message. The
# table is Textual's own; a test guards that it is still there and still obeyed.
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.keys import Keys
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea

from ..actions.slash import Command, Text, Unknown, parse
from ..actions.suggest import Suggestion
from .completion import Completion

cast("dict[str, tuple[Keys, ...]]", ANSI_SEQUENCES_KEYS)["\x1b\r"] = (Keys.ControlJ,)

Suggest = Callable[[str], Awaitable[Sequence[Suggestion]]]


class Desk(Protocol):
    """Who does what the keys of the prompt ask for, at once: the next key may wait already."""

    def submit(self, text: str) -> None:
        """Send ``text``, which is in the box no more."""
        ...

    def walk(self, step: int) -> None:
        """Up on the first line (``step`` -1) or Down on the last one (+1)."""
        ...

    def take_off(self) -> None:
        """Backspace where there is nothing left to delete."""
        ...

    def leave_editing(self) -> bool:
        """Esc; False where it is to mean something else."""
        ...

    def paste(self, text: str) -> None:
        """Text was pasted, and is not in the box yet."""
        ...


class Prompt(TextArea):
    """A text box that grows with its text to a third of the screen.

    It walks through no history and attaches nothing itself: it asks its desk.

    Args:
        desk: Where it stands.
        completion: Where completions are shown; its keys arrive here.
        suggest: What may complete the one line that is there; it begins with a slash.
        known: Names of the actions that a command may ask for.
    """

    @dataclass
    class Commanded(Message):
        """The user typed a command."""

        command: Command

    @dataclass
    class Mistaken(Message):
        """A command that there is not; its text stays."""

        unknown: Unknown

    class Left(Message):
        """Esc, with nothing open above the box."""

    class Tabbed(Message):
        """Tab: on to the messages."""

    class TabbedBack(Message):
        """Shift+Tab: on to the list."""

    class EndPressed(Message):
        """End was pressed where there is no line to go to the end of."""

    def __init__(
        self,
        desk: Desk,
        placeholder: str,
        completion: Completion,
        suggest: Suggest,
        known: Container[str],
        *,
        id: str | None = None,
    ) -> None:
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
        self.literal = False
        """A slash is a letter like any other, as while a sent message is edited."""
        self.bare = False
        """Nothing may be sent, too: something is attached that speaks for itself."""
        self._desk = desk
        self._completion = completion
        self._suggest = suggest
        self._known = known
        self.edits = 0  # how often the text has changed
        self._offered = ""  # the line that the open list completes
        self._quiet: str | None = None  # a line that was put there, and asks for no completions

    @property
    def is_empty(self) -> bool:
        """Nothing is written; known without looking at all of it."""
        return self.document.line_count == 1 and not self.document.get_line(0)

    def put(self, text: str) -> None:
        """Replace what is written; completions wait for the next key."""
        self.load_text(text)
        self._quiet = self.document.get_line(0)
        self.move_cursor(self.document.end)
        self._completion.close()

    def give_back(self, text: str) -> None:
        """Put ``text`` before what was written since, because it could not be sent."""
        self.put(text if not self.text.strip() else f"{text}\n{self.text}")

    def insert_pasted(self, text: str) -> None:
        """Write ``text`` where the cursor is, in place of a selection."""
        self.replace(text, *self.selection, maintain_selection_offset=False)
        self.scroll_cursor_visible()

    def render_line(self, y: int) -> Strip:
        """A line of the text, or of the placeholder."""
        # Textual fails to wrap its placeholder where a tiny window leaves no column for it.
        if not self.content_size.width:
            return Strip.blank(self.size.width)
        return super().render_line(y)

    async def on_key(self, event: events.Key) -> None:
        """The keys that mean something else here, in the order in which they were typed.

        Priority bindings would overtake letters that still wait in this widget's queue: a fast
        typist's last word would stay behind.
        """
        if not (self._completion.is_open and self._complete_by(event.key)):
            match event.key:
                case "enter":
                    self._submit()
                case "ctrl+j" | "shift+enter" | "shift+\r":  # the last is xterm's, half decoded
                    self.replace("\n", *self.selection, maintain_selection_offset=False)
                case "tab":
                    self.post_message(self.Tabbed())
                case "shift+tab":
                    self.post_message(self.TabbedBack())
                case "up" if self._at_top:
                    self._desk.walk(-1)
                case "down" if self._at_bottom:
                    self._desk.walk(1)
                case "escape":
                    if not self._desk.leave_editing():
                        self.post_message(self.Left())
                case "backspace" if self.is_empty:
                    self._desk.take_off()
                case "end" if self.is_empty:
                    self.post_message(self.EndPressed())
                case key if not await self._edited_by(key):
                    return
                case _:
                    pass
        event.prevent_default()
        event.stop()

    async def _edited_by(self, key: str) -> bool:
        """Move or delete as the text area's own keys do.

        They would bubble up to the screen first, and letters typed after them overtake them.
        """
        for binding in self._bindings.key_to_bindings.get(key, ()):
            if await self.run_action(binding.action):
                return True
        return False

    def on_paste(self, event: events.Paste) -> None:
        """The desk decides whether a paste is text to write or to attach."""
        event.prevent_default()
        event.stop()
        self._desk.paste(event.text)

    def on_text_area_changed(self) -> None:
        """Completions follow a line that begins with a slash."""
        self.edits += 1
        line = self.document.get_line(0)
        if line != self._quiet:
            self._quiet = None
        if self.literal or self._quiet or self.document.line_count > 1 or line[:1] != "/":
            self._completion.close()
        else:
            # Called by the worker: a coroutine that the next key replaces would never be awaited.
            offer = partial(self._offer, self.edits)
            self.run_worker(offer, group="completion", exclusive=True)

    def on_blur(self) -> None:
        """Completions belong to somebody who is writing."""
        self._completion.close()

    def take(self, suggestion: Suggestion, *, run: bool) -> None:
        """Write a completion; with ``run`` carry it out where it is complete."""
        if run and suggestion.runs:
            self.put(suggestion.text)
            self._submit()
        else:
            self.load_text(suggestion.text)
            self.move_cursor(self.document.end)

    async def _offer(self, edit: int) -> None:
        line = self.document.get_line(0)
        found = await self._suggest(line)
        if edit == self.edits and self.has_focus:
            self._offered = line
            # What Enter would do is marked only once somebody has said which one.
            self._completion.present(found, mark=not line.endswith(("/", " ")))

    def _complete_by(self, key: str) -> bool:
        """The open list takes ``key``."""
        completion = self._completion
        if key in ("enter", "tab") and self.text != self._offered:
            # The list is for what stood here before the last letters: they would be replaced.
            completion.close()
            return key == "tab"
        match key:
            case "up" | "down":
                completion.move(1 if key == "down" else -1)
            case "escape":
                completion.close()
            case "tab":
                if completion.chosen is None:
                    completion.move(1)
                if completion.chosen:
                    self.take(completion.chosen, run=False)
            case "enter" if completion.chosen:
                self.take(completion.chosen, run=True)
            case _:
                return False
        return True

    def _submit(self) -> None:
        text = self.text
        if not text.strip():
            if self.bare:
                self.put("")
                self._desk.submit("")
            return
        meant = Text(text) if self.literal else parse(text)
        if isinstance(meant, Command) and meant.action.name not in self._known:
            meant = Unknown(meant.action.slash, "")
        self._completion.close()
        match meant:
            case Unknown():
                self.post_message(self.Mistaken(meant))
                return
            case Command():
                self.put("")
                self.post_message(self.Commanded(meant))
            case Text(said):
                self.put("")
                self._desk.submit(said)

    @property
    def _at_top(self) -> bool:
        return self.selection.is_empty and not self._offset_y

    @property
    def _at_bottom(self) -> bool:
        return self.selection.is_empty and self._offset_y == self.wrapped_document.height - 1

    @property
    def _offset_y(self) -> int:
        return self.wrapped_document.location_to_offset(self.cursor_location).y
