"""``mlxqwen quantize``: a checkpoint in, a smaller one out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from mlxqwen.errors import MlxqwenError, UsageError

from ..units import size
from .interrupt import ending_on_ctrl_c
from .output import dump_json, show, tell
from .plan_words import plan_record, plan_table, result_line, result_record, summary
from .source import Source, find_source
from .watch import Watch, watching

if TYPE_CHECKING:
    from quantize.order import Order, Prepared
    from quantize.progress import Result
    from quantize.supply import Supply


class RecipeChoice(StrEnum):
    """The recipes, as the command line offers them."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


def quantise(
    source: Annotated[
        str,
        typer.Argument(help="A folder, a name that is here already, or ORG/NAME on the hub."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The new folder; by default NAME-4bit among our own models."
        ),
    ] = None,
    recipe: Annotated[
        RecipeChoice | None,
        typer.Option(
            help="fast rounds to nearest; balanced (if not given) searches scales and keeps what "
            "is delicate higher; best reads calibration text and refines, which takes far longer."
        ),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(help="Bits per weight of most matrices; 4 if not given.")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Weights that share one scale; 64 if not given.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="affine (if not given), mxfp4, mxfp8 or nvfp4.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(help="Choose the bits so that the model runs within that much, e.g. 16GB."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="With --fit or --dry-run: tokens to make room for, e.g. 32k; 8k."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="With --fit or --recipe best: your own text to learn from."),
    ] = None,
    discard_source: Annotated[
        bool,
        typer.Option(
            "--discard-source", help="From the hub: keep no more than two of its files here."
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where an earlier run ended.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event as one line of JSON.")
    ] = False,
) -> None:
    """Quantise SOURCE; run the same command again to continue after any interruption.

    The result appears complete or not at all. mlx-lm and LM Studio read it too.
    """
    with _errors_as_json(as_json):
        if restart and dry_run:
            raise UsageError("--dry-run writes nothing, so there is nothing to --restart.")
        if context is not None and fit is None and not dry_run:
            raise UsageError("--context goes with --fit or --dry-run.")
        from quantize.order import Order
        from quantize.sizes import parse_size, parse_tokens

        order = Order(
            output=Path() if output is None else output,
            recipe=None if recipe is None else recipe.value,
            bits=bits,
            group_size=group_size,
            mode=mode,
            fit=None if fit is None else parse_size(fit),
            context=None if context is None else parse_tokens(context),
            calibration=calibration,
            restart=restart,
        )
        order.check()
        if discard_source and order.calibrates:
            raise UsageError(
                "Calibration runs text through the whole source, so --discard-source goes with "
                "--recipe fast or balanced only.",
                "Leave it out, or choose one of these.",
            )
        found = find_source(source)
        if output is None:
            order = replace(order, output=_own_folder(found, order, fit))
        if discard_source and not found.named:
            raise UsageError(
                f"--discard-source is for the hub: {source} is a folder, and nothing of it is ever "
                "removed.",
                "Leave it out.",
            )
        run = _Run(source, found, order, discard_source, as_json)
        if dry_run:
            run.show_plan()
        else:
            run.quantise()


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of the command, its arguments understood."""

    asked: str
    source: Source
    order: Order
    discards: bool
    as_json: bool

    def quantise(self) -> None:
        """The whole work, up to the summary."""
        from quantize.order import carry_out

        stopping = Event()
        with (
            ending_on_ctrl_c(stopping.set, self._last_words),
            watching(self._title, as_json=self.as_json, stopping=stopping) as watch,
        ):

            def opened(kept: Path) -> Supply:
                return self._supply(kept, watch, stopping)

            def planned(prepared: Prepared) -> None:
                record = plan_record(prepared, self.asked, self.order.output, groups=False)
                watch.event("plan", **record)
                for notice in prepared.notices:
                    watch.notice(notice)

            result = carry_out(self.order, opened, planned=planned, progress=watch.report)
            for notice in result.notices:
                watch.notice(notice)
        self._finish(result)

    def show_plan(self) -> None:
        """What would be written."""
        from quantize.order import prepare

        if self.source.path is None and self.order.fit is not None:
            raise UsageError(
                f"--fit measures the weights of {self.source.name}, which are not here, so "
                "--dry-run has nothing to go by.",
                f"`mlxqwen pull {self.source.name}` fetches them.",
            )
        stopping = Event()
        with (
            ending_on_ctrl_c(stopping.set, _nothing),
            TemporaryDirectory(prefix="mlxqwen-") as folder,
            watching(self._title, as_json=self.as_json, stopping=stopping) as watch,
        ):
            supply = self._supply(Path(folder) / "source", watch, stopping, dry=True)
            prepared = prepare(self.order, supply, progress=watch.report)
        if self.as_json:
            record = plan_record(prepared, self.asked, self.order.output, groups=True)
            dump_json({"event": "plan", **record})
        else:
            show(plan_table(prepared, f"{self.source.name} → {self.order.output}"))

    @property
    def _title(self) -> str:
        return f"{self.source.name} → {self.order.output.name}"

    def _supply(self, kept: Path, watch: Watch, stopping: Event, *, dry: bool = False) -> Supply:
        """The source, its headers read. ``kept`` holds what an earlier run learned of the hub's."""
        from quantize.progress import Progress
        from quantize.supply import Folder

        path = self.source.path
        # A run that began with the hub's files goes on with the same commit of them.
        if path is not None and not ("/" in self.source.name and kept.is_dir()):
            if self.discards:
                watch.notice(f"{self.source.name} is on this machine already; nothing is removed.")
            return Folder.open(path)
        from mlxqwen.hub.supply import HubSupply

        def waiting(reason: str, seconds: float) -> None:
            watch.notice(f"{reason}; trying again in {seconds:.0f} s.")

        watch.report(Progress("plan", message="asking the hub"))
        supply = HubSupply.open(
            self.source.name,
            discard=kept if self.discards else None,
            keep=kept,
            small=kept if dry else None,
            waiting=waiting,
            stop=stopping,
        )
        left = sum(supply.nbytes.values())
        if left and not dry:
            where = "two files at a time" if self.discards else "into the hub's cache"
            watch.notice(f"Fetching {size(left)} of {supply.name}, {where}.")
        return supply

    def _last_words(self) -> None:
        again = shlex.join(["mlxqwen", *(a for a in sys.argv[1:] if a != "--restart")])
        if self.as_json:
            dump_json({"event": "interrupted", "resume": again})
        tell(f"mlxqwen: Stopped; what is done is kept. To continue:\n  {again}")

    def _finish(self, result: Result) -> None:
        if self.as_json:
            dump_json({"event": "done", **result_record(result)})
        elif not sys.stdout.isatty():
            print(result_line(result))
        else:
            from mlxqwen.hub.places import models_folder
            from quantize.manifest import read_manifest

            own = result.path.parent == models_folder().resolve()
            name = result.path.name if own else _shortest(result.path)
            gone = self.discards and self.source.path is None
            # An alias would find the result itself.
            known = self.source.name if self.source.named else self.asked
            source = None if gone else known
            show(summary(result, read_manifest(result.path), name, source))


@contextmanager
def _errors_as_json(wanted: bool) -> Generator[None, None, None]:
    """An error is an event too, for a program that reads them; people get their sentence."""
    try:
        yield
    except MlxqwenError as error:
        if wanted:
            kind = type(error).__name__
            dump_json({"event": "error", "kind": kind, "what": error.what, "hint": error.hint})
        raise


def _own_folder(source: Source, order: Order, fit: str | None) -> Path:
    """The default output: ``NAME-4bit`` or ``NAME-16GB``."""
    from mlxqwen.hub.places import models_folder
    from quantize.recipes import choose_recipe

    if fit is not None:
        return models_folder() / f"{source.short}-{fit.replace(' ', '')}"
    bulk = choose_recipe(
        None, "fast", bits=order.bits, group_size=order.group_size, mode=order.mode
    )
    return models_folder() / f"{source.short}-{bulk.default.bits}bit"


def _shortest(path: Path) -> str:
    """The path from here, where it lies below."""
    here = Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _nothing() -> None:
    pass
