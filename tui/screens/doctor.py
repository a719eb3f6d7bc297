"""Whether machine and files are well, and what to do where they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from .. import checkup
from ..checkup import Finding
from ..views import one_line
from ..words import known, plural, say
from .pages import Piece, hanging

if TYPE_CHECKING:
    from .chat import ChatScreen

_SIGNS = {
    "ok": ("✓", "$text-success"),
    "note": ("●", "$text-warning"),
    "problem": ("✗", "bold $text-error"),
}
_NARROW = 56  # cells below which names stand on lines of their own


class DoctorScreen(ModalScreen[None]):
    """Files first: they are looked at here; then the machine, by a process of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss(None)", "Close"),
        Binding("r", "again", "Look again"),
    ]

    def __init__(self, chat: ChatScreen) -> None:
        super().__init__()
        self._chat = chat
        self._files: Sequence[Finding] | None = None
        self._machine: Sequence[Finding] | None = None

    def compose(self) -> ComposeResult:
        """One page that scrolls."""
        frame = VerticalScroll(Static("", markup=False), classes="page", id="doctor")
        frame.border_title = say("doctor.title")
        frame.border_subtitle = say("doctor.hint", key="R")
        yield frame

    def on_mount(self) -> None:
        """Look at everything."""
        self.query_one("#doctor").focus()
        self.action_again()

    def action_again(self) -> None:
        """Look at everything anew."""
        self._files = self._machine = None
        self._show()
        self.run_worker(self._look_at_files(), group="files", exclusive=True)
        self.run_worker(self._look_at_machine(), group="machine", exclusive=True)

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show)

    async def _look_at_files(self) -> None:
        chat = self._chat
        look: Callable[[], list[Finding]] = partial(
            checkup.files,
            chat.archive.path,
            chat.settings_path,
            list(chat.models.values()),
        )
        # Not in the store's thread: a large file takes seconds, and what is sent would wait.
        found = await asyncio.to_thread(look)
        found.insert(1, checkup.writing(chat.archive.path, read_only=chat.read_only))
        self._files = found
        self._show()

    async def _look_at_machine(self) -> None:
        self._machine = await checkup.machine()
        self._show()

    def _show(self) -> None:
        frame = self.query_one("#doctor")
        width = max(24, frame.scrollable_content_region.width)
        parts: list[tuple[str, str]] = []
        if self._files is not None and self._machine is not None:
            number = sum(one.state == "problem" for one in (*self._files, *self._machine))
            words = plural("doctor.problems", number) if number else say("doctor.well")
            parts.append((f"{words}\n\n", "bold $text-error" if number else "bold $text-success"))
        for heading, findings in (
            ("doctor.files", self._files),
            ("doctor.machine", self._machine),
        ):
            parts.append((f"{say(heading)}\n", "bold $text-primary"))
            if findings is None:
                parts.append((f"  {say('doctor.looking')}\n", "$text-muted"))
            for finding in findings or ():
                parts += _lines(finding, width)
            parts.append(("\n", ""))
        self.query_one(Static).update(Content.assemble(*parts).rstrip())


def _lines(finding: Finding, width: int) -> list[Piece]:
    """A sign, what it is, what was found, and the remedy, wrapped to ``width`` cells."""
    sign, style = _SIGNS[finding.state]
    key = f"doctor.name.{finding.name}"
    name = say(key) if known(key) else finding.name
    head: list[Piece] = [(f"{sign} ", style), (name, "$text-secondary")]
    indent = 4 if width < _NARROW else 22
    parts = hanging(head, indent, one_line(finding.value), width)
    if finding.remedy:
        parts += hanging([], indent, f"→ {one_line(finding.remedy)}", width, "$text-warning")
    return parts
