"""The application: it owns the archive and the engine's bridge, and shows the chat."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import TextArea

from mlxqwen.errors import MlxqwenError

from .actions.carry_out import HANDLERS
from .actions.table import ACTIONS
from .archive import Archive
from .bridge import Bridge
from .driver import TerminalDriver
from .screens.chat import ChatScreen
from .settings import conversations_file
from .themes import DAY, NIGHT
from .words import say

QUIT_SECONDS = 2.0
"""Pressing Ctrl+C again within this time quits."""


class MlxqwenApp(App[None], inherit_bindings=False):
    """The chat in a terminal.

    Textual's own bindings are not inherited: its Ctrl+Q would quit in mid-sentence.

    Args:
        model: What to load first; None for the one used last.
        conversations: The file with the conversations.
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
        bridge: Bridge | None = None,
        clock: Callable[[], float] = time.time,
        debug: bool = False,
    ) -> None:
        super().__init__(driver_class=TerminalDriver)
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self.failure: MlxqwenError | None = None
        self._show_traceback = debug
        self._model = model
        self._interrupted = -QUIT_SECONDS
        self._gone = False
        self._archive = Archive(conversations or conversations_file(), clock)
        self._chat = ChatScreen(self._archive, bridge or Bridge(), clock)

    def on_mount(self) -> None:
        """Show the chat; files and engine wait until it is on the screen."""
        self.register_theme(NIGHT)
        self.register_theme(DAY)
        self.theme = NIGHT.name
        self.push_screen(self._chat)
        self._chat.call_after_refresh(self._start)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action by name, in the palette."""
        for action in ACTIONS:
            if action.name in HANDLERS:
                run = partial(self._chat.action_do, action.name)
                title = say(f"action.{action.name}")
                yield SystemCommand(title, say(f"action.{action.name}.help"), run)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy through the terminal, and with a Mac's own tool: Terminal.app ignores the former."""
        super().copy_to_clipboard(text)
        tool = shutil.which("pbcopy")
        if tool:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([tool], input=text.encode(), check=False, timeout=1.0)

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
            f"The chat ended because of a mistake in it ({what}).",
            "Everything said is saved; `mlxqwen --debug` shows where it happened.",
        )
        self._close_messages_no_wait()

    async def _let_go(self) -> None:
        if not self._gone:
            self._gone = True
            await self._chat.session.close()
            await self._archive.close()

    async def _start(self) -> None:
        try:
            store = await self._archive.open()
        except MlxqwenError as error:
            self.failure = error
            self.exit(return_code=error.exit_code)
            return
        await self._chat.start(self._model, read_only=store.read_only, recovered=store.recovered)


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
