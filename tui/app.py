"""The application: it owns the archive and the engine's bridge, and shows the chat."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import TextArea

from mlxqwen.errors import MlxqwenError

from . import keys, words
from .actions.carry_out import HANDLERS
from .actions.table import ACTIONS
from .archive import Archive
from .bridge import Bridge
from .driver import TerminalDriver
from .markdown.text import clean
from .screens.chat import ChatScreen
from .settings import (
    conversations_file,
    read_settings,
    settings_file,
    write_settings,
)
from .themes import NIGHT, OURS, theme_called
from .words import say

QUIT_SECONDS = 2.0
"""Pressing Ctrl+C again within this time quits."""


class MlxqwenApp(App[None], inherit_bindings=False):
    """The chat in a terminal.

    Textual's own bindings are not inherited: its Ctrl+Q would quit in mid-sentence.

    Args:
        model: What to load first; None for the one used last.
        conversations: The file with the conversations.
        settings: The file with the settings.
        bridge: The way to the engine.
        clock: Seconds since 1970; tests stop it.
        debug: Show the traceback of an exception nobody expected, as Textual does.
    """

    TITLE = "mlxqwen"
    CSS_PATH = "app.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "Copy, stop, or quit", priority=True, show=False)
    ]

    def __init__(
        self,
        model: str | None = None,
        *,
        conversations: Path | None = None,
        settings: Path | None = None,
        bridge: Bridge | None = None,
        clock: Callable[[], float] = time.time,
        debug: bool = False,
    ) -> None:
        # What has no colour cannot be converted to one: NO_COLOR goes with the terminal's own.
        colourless = True if os.environ.get("NO_COLOR") else None
        super().__init__(driver_class=TerminalDriver, ansi_color=colourless)
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self.failure: MlxqwenError | None = None
        self._show_traceback = debug
        self._model = model
        self._interrupted = -QUIT_SECONDS
        self._gone = False
        self.settings_path = settings or settings_file()
        opened = read_settings(self.settings_path)
        self.settings = opened.settings
        self.complaints = list(opened.complaints)
        words.use(self.settings.language or words.system_language())
        self._archive = Archive(conversations or conversations_file(), clock)
        self._chat = ChatScreen(
            self._archive,
            bridge or Bridge(),
            clock,
            self.settings,
            self.settings_path,
            self.change,
        )

    def on_mount(self) -> None:
        """Show the chat; files and engine wait until it is on the screen."""
        for theme in OURS:
            self.register_theme(theme)
        self._use_theme()
        self._use_keys()
        self.push_screen(self._chat)
        self._chat.call_after_refresh(self._start)

    def change(self, **values: Any) -> None:
        """Set what is named as ``Settings`` names it: it takes effect at once, and is saved."""
        before, self.settings = self.settings, replace(self.settings, **values)
        if self.settings == before:
            return
        if self.settings.theme != before.theme:
            self._use_theme()
        if self.settings.keys != before.keys:
            self._use_keys()
        if self.settings.language != before.language:
            words.use(self.settings.language or words.system_language())
        self._chat.configure(self.settings)
        self._tell_complaints()
        try:
            write_settings(self.settings_path, self.settings)
        except MlxqwenError as error:
            self.notify(str(error), severity="error", markup=False, timeout=8)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action by name, in the palette."""
        for action in ACTIONS:
            if action.name in HANDLERS:
                run = partial(self._chat.action_do, action.name)
                asked = "  ".join(filter(None, (keys.key_name(action.name), action.slash)))
                help = say(f"action.{action.name}.help")
                title = say(f"action.{action.name}")
                yield SystemCommand(title, f"{help}   {asked}" if asked else help, run)

    def action_command_palette(self) -> None:
        """Every action by name."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder=say("palette.wanted")))

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A passing notice. What it repeats of a model, a file or a name acts on nothing."""
        super().notify(
            clean(message), title=clean(title), severity=severity, timeout=timeout, markup=markup
        )

    def copy_to_clipboard(self, text: str) -> None:
        """Copy through the terminal, and with a Mac's own tool: Terminal.app ignores the former."""
        super().copy_to_clipboard(text)
        tool = shutil.which("pbcopy")
        if tool:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([tool], input=text.encode(), check=False, timeout=1.0)

    def on_chat_screen_answered(self, event: ChatScreen.Answered) -> None:
        """Ring, and say so outside where the terminal can (OSC 9)."""
        if self._driver and not self.is_headless:
            self._driver.write(f"\x1b]9;{event.text}\x07")
            self.bell()

    async def action_interrupt(self) -> None:
        """Ctrl+C: copy the selection, else stop the answer, else quit when pressed twice."""
        selected = self.screen.get_selected_text()
        focused = self.focused
        if isinstance(focused, TextArea) and focused.selected_text:
            selected = focused.selected_text
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            self.notify(say("chat.copied"), timeout=2)
        elif self._chat.session.answer and not self._chat.session.answer.stopping:
            self._chat.session.stop()
        elif time.monotonic() - self._interrupted < QUIT_SECONDS:
            await self.action_quit()
        else:
            self._interrupted = time.monotonic()
            self.notify(say("chat.quit_again"), timeout=QUIT_SECONDS)

    async def action_quit(self) -> None:
        """Save, let the engine go, leave."""
        await self._let_go()
        self.exit()

    async def on_unmount(self) -> None:
        """However the application ends, the engine and the file are let go."""
        await self._let_go()

    def _fatal_error(self) -> None:
        """An exception nobody expected: Textual would print a screen of source code."""
        error = self._exception
        if self._show_traceback or error is None:
            super()._fatal_error()
            return
        what = f"{type(error).__name__}: {error}".rstrip(": ").rstrip(".")
        self.failure = MlxqwenError(
            say("program.mistake", what=what),
            say("program.saved"),
        )
        self._close_messages_no_wait()

    async def _let_go(self) -> None:
        if not self._gone:
            self._gone = True
            await self._chat.leave()
            await self._archive.close()

    def _use_theme(self) -> None:
        """Wear the theme of the settings; a name nobody knows is told."""
        name = theme_called(self.settings.theme, self.available_themes)
        if name is None:
            name = NIGHT.name
            self.complaints.append(say("settings.no_theme", name=self.settings.theme, used=name))
        self.theme = name

    def _use_keys(self) -> None:
        """Obey the keys of the settings, as far as they can be had."""
        usable, complaints = keys.usable(self.settings.keys)
        keys.use(usable)
        self.set_keymap(keys.keymap(usable))
        self.complaints += complaints

    def _tell_complaints(self) -> None:
        for complaint in self.complaints:
            self.notify(complaint, severity="warning", markup=False, timeout=8)
        self.complaints.clear()

    async def _start(self) -> None:
        gc.enable()  # the command line lets a start go without
        try:
            store = await self._archive.open()
        except MlxqwenError as error:
            self.failure = error
            self.exit(return_code=error.exit_code)
            return
        self._tell_complaints()
        model = self._model or self.settings.model or None
        await self._chat.start(model, read_only=store.read_only, recovered=store.recovered)
        if self._model is None:
            from .actions.models import greet

            await greet(self._chat)


def run(model: str | None = None, *, debug: bool = False) -> None:
    """Open the chat and stay until it is closed.

    Raises ``OutputError`` if the conversations cannot be opened, and ``MlxqwenError`` where the
    program itself is at fault, unless ``debug`` shows the traceback. Where it ends for any other
    reason than that the user left, so does the process, with a status that says so.
    """
    app = MlxqwenApp(model, debug=debug)
    app.run()
    if app.failure:
        raise app.failure
    if app.return_code:
        sys.exit(app.return_code)
