"""The dialog for quantising: what, how, and what will come of it before anything is written."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Label, Static

from mlxqwen.errors import MlxqwenError

from ..commands.source import Source, find_source
from ..job import Task
from ..job_events import Failure, Planned
from ..jobs import Jobs
from ..units import count
from ..views import one_line
from ..widgets.cycle import Cycle
from ..words import say
from .models_details import kinds, planned
from .models_facts import CONTEXTS
from .models_orders import Quantising
from .models_rows import Piece

_PAUSE = 0.4  # seconds without a change after which the plan is made
_WAYS = ("balanced", "fast", "best", "fit")
_MOST = 131_072  # tokens; beyond, few checkpoints follow


class QuantiseDialog(ModalScreen[Task | None]):
    """Arrows up and down move, left and right change, Enter begins; the plan follows by itself.

    Args:
        jobs: Whom to ask for plans.
        source: What to begin with.
        context: Tokens to make room for.
    """

    DEFAULT_CSS = """
    QuantiseDialog {
        align: center middle;
        background: $background 60%;
        & > #quantise {
            width: 84;
            max-width: 98%;
            height: auto;
            max-height: 98%;
            padding: 1 2 0 2;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $text-muted;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
        & .field { height: auto; width: 1fr; }
        & .field > Label { width: 12; color: $text-muted; }
        & Input { width: 1fr; background: $surface; padding: 0; }
        & Input:focus { background: $panel; background-tint: $panel 0%; }
        & #quantise-plan { height: auto; margin-top: 1; }
    }
    QuantiseDialog.-low > #quantise { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("enter", "begin", show=False),
    ]

    def __init__(self, jobs: Jobs, source: str = "", context: int = 0) -> None:
        super().__init__()
        self._jobs = jobs
        # Textual reads these from the instance; its declarations allow no other override.
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self._asked = source
        self._tokens = context if context in CONTEXTS and context <= _MOST else 8192
        self._found: Source | None = None
        self._refused: Quantising | None = None  # what the last plan was refused for
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """The fields above the plan."""
        ways = [(way, say(f"quantise.way.{way}"), say(f"quantise.about.{way}")) for way in _WAYS]
        contexts = [
            (str(tokens), say("quantise.tokens", tokens=count(tokens)), "")
            for tokens in CONTEXTS
            if tokens <= _MOST
        ]
        originals = [(one, say(f"quantise.original.{one}"), "") for one in ("keep", "discard")]
        source = Input(
            self._asked, placeholder=say("quantise.source_hint"), compact=True, id="source"
        )
        budget = Input(placeholder=say("quantise.budget_hint"), compact=True, id="budget")
        source.cursor_blink = budget.cursor_blink = False
        frame = VerticalScroll(
            _field("source", source),
            _field("way", Cycle(ways, "balanced", id="way")),
            _field("budget", budget),
            _field("context", Cycle(contexts, str(self._tokens), id="context")),
            _field("original", Cycle(originals, "keep", id="original")),
            Static("", markup=False, id="quantise-plan"),
            id="quantise",
            can_focus=False,
        )
        frame.border_title = say("quantise.title")
        frame.border_subtitle = say("quantise.hint")
        yield frame

    def on_mount(self) -> None:
        """Begin where something has to be said."""
        self.query_one("#way" if self._asked else "#source").focus()
        self._fields()
        self._look()

    def action_begin(self) -> None:
        """Leave with the task, if there is something to quantise."""
        self.run_worker(self._begin(), group="plan", exclusive=True)

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.action_begin()

    @on(Input.Changed)
    @on(Cycle.Changed)
    def _changed(self) -> None:
        self._fields()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(_PAUSE, self._look)

    def _look(self) -> None:
        self.run_worker(self._plan(), group="plan", exclusive=True)

    def _fields(self) -> None:
        """Only those that have an effect."""
        way = self.query_one("#way", Cycle).value
        from_hub = self._found is not None and self._found.path is None
        self.query_one("#field-budget").display = way == "fit"
        self.query_one("#field-original").display = from_hub and way in ("fast", "balanced")

    async def _understood(self) -> Quantising | None:
        """What the fields say; None, with the reason shown, where that makes no sense."""
        source = self.query_one("#source", Input).value.strip()
        way = self.query_one("#way", Cycle).value
        budget = self.query_one("#budget", Input).value.strip()
        self._found = None
        if not source:
            self._show([(say("quantise.no_source"), "$text-muted")])
            return None
        try:
            if way == "fit":
                from quantize.sizes import parse_size

                parse_size(budget)
            self._found = found = await asyncio.to_thread(find_source, source)
        except MlxqwenError as error:
            self._show([(one_line(str(error)), "$text-error")])
            return None
        finally:
            self._fields()
        from_hub = found.path is None
        discard = from_hub and self.query_one("#original", Cycle).value == "discard"
        return Quantising(
            source=source,
            way=way,
            budget=budget,
            context=int(self.query_one("#context", Cycle).value),
            discard=discard and way in ("fast", "balanced"),
            network=from_hub,
            short=found.short,
        )

    async def _begin(self) -> None:
        order = await self._understood()
        if order is None:
            return
        if order == self._refused:
            await self._plan()  # the reason may be gone; a task would end with it
        else:
            self.dismiss(order.task)

    async def _plan(self) -> None:
        order = await self._understood()
        if order is None:
            return
        self._refused = None
        if order.network:
            self._show([(say("quantise.from_hub"), "$text-warning")])
            return
        if order.way == "fit":
            self._show([(say("quantise.fit_measures"), "$text-muted")])
            return
        self._show([(say("quantise.reading"), "$text-muted")])
        try:
            events = await self._jobs.ask("quantize", order.dry_run)
            if any(isinstance(one, Failure) and one.kind == "ContextExceeded" for one in events):
                # With as many tokens as it reaches, up to those that nobody had to choose.
                events = await self._jobs.ask("quantize", (*order.arguments, "--dry-run"))
        except OSError as error:
            self._show([(say("jobs.cannot_run", error=error.strerror), "$text-error")])
            return
        for event in events:
            match event:
                case Planned():
                    width = max(30, self.query_one("#quantise-plan").size.width)
                    rows = [*planned(event, width), ("\n", ""), *kinds(event, width)]
                    self._show(rows)
                case Failure(_, what, hint):
                    self._refused = order
                    self._show([(one_line(f"{what} {hint}"), "$text-error")])
                case _:
                    pass

    def _show(self, parts: list[Piece]) -> None:
        self.query_one("#quantise-plan", Static).update(Content.assemble(*parts).rstrip())


def _field(name: str, widget: Input | Cycle) -> Horizontal | Vertical:
    return Horizontal(
        Label(say(f"quantise.{name}"), markup=False),
        widget,
        classes="field",
        id=f"field-{name}",
    )
