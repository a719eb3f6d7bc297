"""Around the models' page: its title, all about one row on a page of its own, removing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.removal import find_removal, remove

from ..units import size
from ..views import one_line
from ..words import say
from .models_details import details
from .models_facts import Facts, Here, Part
from .models_orders import ask_removal
from .models_rows import Row, short, subject

if TYPE_CHECKING:
    from .chat import ChatScreen


def title(tokens: int) -> Content:
    """The page's name, and the context that is asked about."""
    return Content.assemble(
        (say("models.page"), "bold $text-primary"),
        ("   ◂ ", "$text-primary"),
        (short(tokens), ""),
        (" ▸", "$text-primary"),
    )


def machine(facts: Facts | None, width: int, *, online: bool) -> Content:
    """What the machine gives, and whether something uses the network just now."""
    parts: list[tuple[str, str]] = []
    if facts:
        budget = say("models.budget", budget=size(facts.budget))
        free = say("models.free", free=size(facts.free))
        parts.append((f"{budget} · {free}" if width >= 100 else free, "$text-muted"))
    if online:
        parts += [("   ● ", "$text-warning"), (say("models.online"), "$text-warning")]
    else:
        parts += [("   ● ", "$text-success"), (say("chat.offline"), "$text-muted")]
    return Content.assemble(*parts)


async def remove_after_question(chat: ChatScreen, row: Here | Part) -> None:
    """Remove what ``row`` is, where nobody needs it and the answer is yes."""
    name = subject(row)
    shown = one_line(name)
    if name == chat.session.model:
        chat.say(say("models.used_now", name=shown), "warning")
        return
    if any(job.task.name == name and job.state == "running" for job in chat.jobs.listed):
        chat.say(say("models.one_at_work", name=shown), "warning")
        return
    if isinstance(row, Here) and row.model.source == "builtin":
        chat.say(say("models.stays"), "information")
        return
    try:
        removal = await asyncio.to_thread(find_removal, name)
        if await chat.app.push_screen_wait(ask_removal(removal)):
            await asyncio.to_thread(remove, removal)
            freed = size(removal.bytes)
            chat.say(say("models.removed", name=shown, size=freed), "information")
    except MlxqwenError as error:
        chat.say(one_line(str(error)), "error")


class Details(ModalScreen[None]):
    """What the pane shows, on a page of its own."""

    DEFAULT_CSS = """
    Details {
        align: center middle;
        background: $background 60%;
        & > #details {
            width: 72;
            max-width: 98%;
            height: auto;
            max-height: 98%;
            padding: 1 2;
            border: round $primary;
            border-subtitle-color: $text-muted;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,i,q", "dismiss(None)", "Close", priority=True)
    ]

    def __init__(self, row: Row) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        """One page that scrolls."""
        page = VerticalScroll(Vertical(Static("", markup=False)), id="details")
        page.border_subtitle = "Esc"
        yield page

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        width = self.query_one("#details").scrollable_content_region.width
        self.query_one(Static).update(details(self._row, width))
