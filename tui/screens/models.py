"""What is on this machine and what could be: to use, fetch, quantise, check and remove."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static

from ..job import Job, Task
from ..widgets.bars import Bar
from ..words import say
from .library_rows import keys_line
from .models_details import details
from .models_facts import CONTEXT, CONTEXTS, Facts, Here, Offer, Part, Typed, gather
from .models_info import Details, machine, remove_after_question, title
from .models_list import ModelList, keys_of, said
from .models_orders import ask_download, download_name, pull_task, verify_task
from .models_quantise import QuantiseDialog
from .models_rows import row_name, sections, subject

if TYPE_CHECKING:
    from .chat import ChatScreen

_STEPS = (*CONTEXTS, 0)


class ModelsScreen(Screen[str | None]):
    """Enter uses a model, which is the result; letters act on the row under the cursor.

    Args:
        chat: The chat behind it, whose jobs it shows.
        wanted: What to filter by at first.
        quantise: Open the dialog for quantising with this source at once.
        download: Ask at once whether ``wanted`` is to be fetched.
    """

    DEFAULT_CSS = """
    ModelsScreen {
        background: $background;
        & #models-title { padding: 0 2; background: $surface; }
        & #models-wanted {
            height: 1;
            margin: 0 2;
            padding: 0 1;
            border: none;
            background: $surface;
            &:focus { background: $panel; background-tint: $panel 0%; }
        }
        & #models-body { height: 1fr; margin: 0 1; }
        & #models-detail {
            width: 2fr;
            height: 1fr;
            margin-left: 1;
            padding: 0 2;
            border: round $panel;
            scrollbar-size-vertical: 1;
        }
        & #models-keys { height: 1; padding: 0 2; background: $surface; text-wrap: nowrap; }
        &.-slim #models-detail { display: none; }
        &.-low {
            & #models-title { display: none; }
            & ModelList { border: none; }
            & #models-body { margin: 0; }
            & #models-wanted { margin: 0; }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False),
        Binding("slash", "to_filter", show=False),
        Binding("down", "to_list", show=False),
        Binding("d", "download", show=False),
        Binding("q", "quantise", show=False),
        Binding("v", "verify", show=False),
        Binding("x,delete", "remove", show=False),
        Binding("p", "pause", show=False),
        Binding("r", "resume", show=False),
        Binding("i", "info", show=False),
    ]

    def __init__(
        self,
        chat: ChatScreen,
        wanted: str = "",
        *,
        quantise: str | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (110, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self._chat = chat
        self._jobs = chat.jobs
        self._wanted = wanted
        self._quantise = quantise
        self._download = download
        chosen = chat.settings.context
        self._tokens = chosen if chosen in CONTEXTS else CONTEXT
        self._facts: Facts | None = None
        self._shape: list[tuple[str, str, str]] = []
        self._unwatch = self._jobs.watch(self._job_changed)

    def compose(self) -> ComposeResult:
        """The filter, the list beside its details, the keys below."""
        yield Bar(id="models-title")
        wanted = Input(
            self._wanted, placeholder=say("models.filter"), compact=True, id="models-wanted"
        )
        wanted.cursor_blink = False
        yield wanted
        with Horizontal(id="models-body"):
            yield ModelList(id="models-list")
            with VerticalScroll(id="models-detail", can_focus=False):
                yield Static("", markup=False)
        yield Static("", markup=False, id="models-keys")

    def on_mount(self) -> None:
        """Look at what is here; a dialog that was asked for opens over it."""
        self._list.focus()
        self._show()
        self._look()
        self.run_worker(self._jobs.remember())
        if self._quantise is not None:
            self.ask_quantising(self._quantise)

    def on_unmount(self) -> None:
        """Jobs go on unwatched."""
        self._unwatch()

    # Keys

    def action_back(self) -> None:
        """Clear the filter, else leave."""
        wanted = self.query_one("#models-wanted", Input)
        if wanted.value:
            wanted.value = ""
            self._list.focus()
        else:
            self.dismiss(None)

    def action_to_filter(self) -> None:
        """Type a part of a name."""
        self.query_one("#models-wanted", Input).focus()

    def action_to_list(self) -> None:
        """From the filter down into the list."""
        self._list.focus()

    def action_download(self) -> None:
        """Fetch what is not here, after a question."""
        row = self._list.current
        if isinstance(row, Offer | Typed) or (
            isinstance(row, Part) and row.part.kind == "download"
        ):
            self._ask_download(row)

    def action_quantise(self) -> None:
        """Make something smaller of a checkpoint."""
        row = self._list.current
        match row:
            case Offer():
                self.ask_quantising(row.model.alias)
            case Here() | Typed():
                self.ask_quantising(subject(row))
            case _:
                self.ask_quantising("")

    def action_verify(self) -> None:
        """Read every byte, and compute."""
        row = self._list.current
        if isinstance(row, Here):
            self._add(verify_task(row.model))

    def action_remove(self) -> None:
        """Clear a job away; remove a model, after a question."""
        row = self._list.current
        match row:
            case Job():
                self._jobs.clear(row)
            case Here() | Part():
                self.run_worker(self._remove(row), exclusive=True, group="remove")
            case _:
                pass

    def action_pause(self) -> None:
        """Pause the job under the cursor, else the one that runs."""
        row = self._list.current
        job = row if isinstance(row, Job) else self._jobs.running
        if job is not None:
            self._jobs.pause(job)

    def action_resume(self) -> None:
        """Go on with what is under the cursor, else with what was paused last."""
        row = self._list.current
        match row:
            case Job():
                self._jobs.resume(row)
            case Part() if row.part.kind == "download":
                self._ask_download(row)
            case Part():
                self.ask_quantising("")
            case _:
                rested = [job for job in self._jobs.listed if job.state == "paused"]
                if rested:
                    self._jobs.resume(rested[-1])

    def action_info(self) -> None:
        """All that is known of the row, where there is no pane for it."""
        if self._list.current is not None:
            self.app.push_screen(Details(self._list.current))

    @on(ModelList.Stretched)
    def _stretched(self, event: ModelList.Stretched) -> None:
        place = _STEPS.index(self._tokens) + event.direction
        if 0 <= place < len(_STEPS):
            self._tokens = _STEPS[place]
            self._show_title()
            self._look()

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        row = self._list.current
        match row:
            case Here():
                self.dismiss(row.model.name)
            case Job(state="done", path=path) if path:
                self.dismiss(self._name_of(path))
            case Job(state="running"):
                self._jobs.pause(row)
            case Job() | Part():
                self.action_resume()
            case _:
                self.action_download()

    @on(Input.Submitted)
    def _entered(self) -> None:
        if self._list.current is not None:
            self._list.focus()
            self._chosen()

    @on(Input.Changed)
    @on(events.Resize)
    def _narrowed(self) -> None:
        # The list has its new width only after the layout that follows.
        self.call_after_refresh(self._show)

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self._show_row()

    def on_descendant_focus(self) -> None:
        """The keys that matter now."""
        self._show_row()

    # What is asked before something is done

    def _ask_download(self, row: Offer | Part | Typed) -> None:
        if self._facts is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._add(pull_task(download_name(row)))

        self.app.push_screen(ask_download(row, self._facts), answered)

    def ask_quantising(self, source: str) -> None:
        """Open the dialog for quantising ``source``."""

        def answered(task: Task | None) -> None:
            if task is not None:
                self._add(task)

        self.app.push_screen(QuantiseDialog(self._jobs, source, self._tokens), answered)

    def _add(self, task: Task) -> None:
        job = self._jobs.add(task)
        self._show()
        self._list.go_to(row_name(job))

    async def _remove(self, row: Here | Part) -> None:
        await remove_after_question(self._chat, row)
        await self._gather()

    # Reading and showing

    @property
    def _list(self) -> ModelList:
        return self.query_one(ModelList)

    def _name_of(self, path: str) -> str:
        """The name of the model in the folder ``path``, where the library has one for it."""
        rows = self._facts.here if self._facts else ()
        return next((row.model.name for row in rows if str(row.model.path) == path), path)

    def _look(self) -> None:
        self.run_worker(self._gather(), group="look", exclusive=True)

    async def _gather(self) -> None:
        self._facts = await asyncio.to_thread(gather, self._tokens)
        self._show()
        if self._download:
            self._download = False
            self.action_download()

    def _job_changed(self, job: Job) -> None:
        if not self.is_mounted:
            return
        shape = [(one.task.key, one.state, one.notice) for one in self._jobs.listed]
        if shape == self._shape and self._list.repaint(job):
            if self._list.current is job:
                self._show_row()
            return
        self._show()
        if job.state in ("done", "paused", "failed"):
            self._look()

    def _show(self) -> None:
        self._shape = [(one.task.key, one.state, one.notice) for one in self._jobs.listed]
        wanted = self.query_one("#models-wanted", Input).value
        found = sections(self._facts, self._jobs.listed, wanted)
        used = self._chat.session.model
        empty = "models.nothing" if self._facts else "models.looking"
        self._list.present(
            found, context=self._tokens, used=used, first=f"here:{used}", empty=say(empty)
        )
        self._show_title()
        self._show_row()

    def _show_title(self) -> None:
        bar = self.query_one("#models-title", Bar)
        bar.left = title(self._tokens)
        bar.right = machine(self._facts, self.size.width, online=self._jobs.online)

    def _show_row(self) -> None:
        row = self._list.current
        pane = self.query_one("#models-detail", VerticalScroll)
        if pane.display:
            pane.query_one(Static).update(details(row, pane.scrollable_content_region.width))
        keys: dict[str, str] = {"Enter": "use", "↓": "list"}
        if self._list.has_focus:
            keys = keys_of(row) | {"←→": "context", "/": "filter"}
        width = max(1, self.size.width - 4)
        line = keys_line(said(keys), {"Esc": say("models.key.back")}, width)
        self.query_one("#models-keys", Static).update(line)
