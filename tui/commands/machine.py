"""``mlxqwen bench`` and ``mlxqwen doctor``: how fast this machine is, and whether it is well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .output import dump_json, show


class PlanKind(StrEnum):
    """GPUs whose launches can be counted without one."""

    METAL = "metal"


def bench(
    model: Annotated[
        str | None, typer.Argument(help="A folder, a name from `mlxqwen models`, or an alias.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Measure a peer on the same files, in turns: mlx-lm.")
    ] = None,
    prompt: Annotated[int, typer.Option("--prompt", "-p", help="Tokens to read.")] = 512,
    tokens: Annotated[int, typer.Option("--tokens", "-n", help="Tokens to generate.")] = 128,
    repeats: Annotated[int, typer.Option(help="Runs of each side; the median counts.")] = 3,
    random: Annotated[
        Path | None,
        typer.Option(help="A config.json, filled with random 4-bit weights, in place of MODEL."),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="With --random: so many of its layers.")
    ] = None,
    plan: Annotated[
        PlanKind | None, typer.Option(help="Run nothing: list what a step launches on that GPU.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Measure MODEL here: speed of reading and writing, time to first token, memory, launches."""
    from mlxqwen.errors import UsageError

    if (model is None) == (random is None):
        raise UsageError("bench measures either MODEL or --random CONFIG.json.")
    if layers is not None and random is None:
        raise UsageError("--layers goes with --random.")
    with ExitStack() as stack:
        name, label = model or "", None
        if random is not None:
            from mlxqwen.measure.random_model import random_model

            name = str(stack.enter_context(random_model(random, layers)))
            label = f"{random} with random weights"
            label += f", {layers} of its layers" if layers is not None else ""
        if plan is not None:
            _show_plan(name, against, label, as_json=as_json)
            return
        from mlxqwen.measure.bench import run_bench

        with _progress() as progress:
            result = run_bench(
                name,
                prompt=prompt,
                tokens=tokens,
                against=against,
                repeats=repeats,
                label=label,
                on_progress=progress,
            )
    if as_json:
        dump_json(result.to_json(), indent=2)
        return
    from mlxqwen.measure.tables import bench_table

    show(bench_table(result))


def _show_plan(model: str, against: str | None, label: str | None, *, as_json: bool) -> None:
    from mlxqwen.measure.bench import metal_plan

    counted = metal_plan(model, against=against, label=label)
    if as_json:
        dump_json(counted.to_json(), indent=2)
        return
    from mlxqwen.measure.tables import plan_table

    show(plan_table(counted), soft_wrap=True)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Look at this machine: what it is, what is missing, and the remedy. Exit 1 on a problem."""
    from mlxqwen.measure.doctor import examine

    from ..settings import conversations_file

    report = examine(store=conversations_file())
    if as_json:
        dump_json(report.to_json(), indent=2)
    else:
        from mlxqwen.measure.tables import report_table

        show(report_table(report))
    if not report.healthy:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Generator[Callable[[str, int, int], None] | None, None, None]:
    """Says on standard error which run is going on; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return

    def report(side: str, done: int, total: int) -> None:
        sys.stderr.write(f"\r\x1b[K\x1b[2mrun {done + 1} of {total}: {side}\x1b[0m")
        sys.stderr.flush()

    try:
        yield report
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
