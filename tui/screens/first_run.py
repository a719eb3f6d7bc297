"""What is seen once, where there is no model but the tiny one: what this machine can run."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..job import Task
from ..jobs import Jobs
from ..tilde import expanded
from ..units import count, size
from ..words import say
from .library_rows import ends
from .models_choose import Choosing, ask_folder, choice
from .models_facts import CONTEXT, CONTEXTS, Facts, Offer, gather, preselected
from .models_orders import ask_download, pull_task
from .models_quantise import QuantiseDialog

_MOST = 12  # released models shown


class FirstRun(ModalScreen[Task | str | None]):
    """Its result is work to begin, a folder to use, or None: the tiny model, which always works."""

    DEFAULT_CSS = """
    FirstRun {
        align: center middle;
        background: $background;
        & > #first {
            width: 84;
            max-width: 100%;
            height: auto;
            max-height: 100%;
            padding: 1 2;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $text-muted;
            background: $surface;
        }
        & #first-about { height: auto; margin-bottom: 1; }
    }
    FirstRun.-low {
        & > #first { padding: 0; }
        & #first-about { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        # Textual reads these from the instance; its declarations allow no other override.
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self._tokens = CONTEXT
        self._facts: Facts | None = None
        self._offers: dict[str, Offer] = {}
        self._touched = False

    def compose(self) -> ComposeResult:
        """What there is, above what can be done."""
        frame = Vertical(
            Static("", markup=False, id="first-about"), Choosing(markup=False), id="first"
        )
        yield frame

    def on_mount(self) -> None:
        """The choices that need no look at the machine are there at once."""
        self._list.focus()
        self._look()

    @on(Choosing.Stretched)
    def _stretched(self, event: Choosing.Stretched) -> None:
        place = CONTEXTS.index(self._tokens) + event.direction
        if 0 <= place < len(CONTEXTS):
            self._tokens = CONTEXTS[place]
            self._look()

    @on(events.Key)
    def _moves(self, event: events.Key) -> None:
        self._touched = self._touched or event.key in ("up", "down", "j", "k", "home", "end")

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        match event.option_id:
            case "try":
                self.dismiss(None)
            case "use":
                self.app.push_screen(ask_folder(), self._located)
            case "quantise":
                self.app.push_screen(QuantiseDialog(self._jobs, "", self._tokens), self._ordered)
            case str(alias) if self._facts is not None:
                offer = self._offers[alias]
                answered = partial(self._agreed, offer.fetched)
                self.app.push_screen(ask_download(offer, self._facts), answered)
            case _:
                pass

    def _located(self, folder: str | None) -> None:
        if folder is not None:
            self.dismiss(str(expanded(folder.strip()).absolute()))

    def _ordered(self, task: Task | None) -> None:
        if task is not None:
            self.dismiss(task)

    def _agreed(self, name: str, yes: bool | None) -> None:
        if yes:
            self.dismiss(pull_task(name))

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show)

    @property
    def _list(self) -> Choosing:
        return self.query_one(Choosing)

    def _look(self) -> None:
        self.run_worker(self._gather(), exclusive=True)

    async def _gather(self) -> None:
        self._facts = await asyncio.to_thread(gather, self._tokens)
        self._show()

    def _fitting(self) -> list[Offer]:
        """Conversions that reach the context and fit with it."""
        offers = self._facts.offers if self._facts else ()
        return [
            row
            for row in offers
            if row.converted and row.plan and row.plan.fits and row.plan.context >= self._tokens
        ]

    def _show(self) -> None:
        frame = self.query_one("#first")
        frame.border_title, frame.border_subtitle = say("first.title"), say("first.hint")
        self._show_about()
        options = self._choices()
        suggested = preselected(self._fitting())
        before = self._list.highlighted_option
        wanted = suggested.model.alias if suggested else "try"
        if self._touched and before and before.id:
            wanted = before.id
        self._list.clear_options()
        self._list.add_options(options)
        names = [option.id for option in options]
        self._list.highlighted = names.index(wanted) if wanted in names else 0

    def _show_about(self) -> None:
        parts: list[tuple[str, str]] = [(say("first.promise"), "")]
        if facts := self._facts:
            machine = say(
                "first.machine",
                memory=size(facts.memory),
                budget=size(facts.budget),
                free=size(facts.free),
            )
            parts.append((f"\n{machine}", "$text-muted"))
        parts.append((f"\n{say('first.none')}", "$text-muted"))
        self.query_one("#first-about", Static).update(Content.assemble(*parts))

    def _choices(self) -> list[Option]:
        names = {name: say(f"first.{name}") for name in ("try", "use", "quantise")}
        abouts = {
            "try": say("first.try_about"),
            "use": "",
            "quantise": say("first.quantise_about"),
        }
        width = max(len(name) for name in names.values())
        options = [choice(id, name, abouts[id], width) for id, name in names.items()]
        if self._facts is None:
            return options
        tokens = count(self._tokens)
        fitting = sorted(self._fitting(), key=lambda row: -(row.bytes or 0))
        title = say("first.fetch" if fitting else "first.fetch_none", tokens=tokens)
        heading = Content.assemble(
            (title, "bold $text-primary" if fitting else "$text-warning"),
            ("   ◂ ▸" if fitting else "", "$text-primary"),
        )
        options += [Option("", disabled=True), Option(heading, disabled=True)]
        best = preselected(fitting)
        self._offers = {row.model.alias: row for row in fitting[:_MOST]}
        room = max(20, self._list.scrollable_content_region.width - 2)
        return options + [_offer(row, room, row is best) for row in self._offers.values()]


def _offer(row: Offer, width: int, suggested: bool) -> Option:
    left = Content.styled(f"  {row.model.alias}", "bold" if suggested else "")
    word = say("first.suggested")
    parts: list[tuple[str, str]] = [(f"{size(row.bytes or 0):>10}", "")]
    if width >= 56 and row.plan:
        memory = f"{say('quantise.memory')} {size(row.plan.total)}"
        parts.append((f"{memory:>20}", "$text-muted"))
    parts.append(("  ✓", "$text-success"))
    if width >= 56:
        parts.append(((f"  {word}" if suggested else "").ljust(len(word) + 2), "$text-success"))
    return Option(ends(left, Content.assemble(*parts), width), id=row.model.alias)
