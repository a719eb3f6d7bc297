"""``mlxqwen bench`` and ``mlxqwen doctor``: how fast this machine is, and whether it is well."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated

import typer


def bench(
    model: Annotated[
        str, typer.Argument(help="A folder, a name from `mlxqwen models`, or an alias.")
    ],
    against: Annotated[
        str | None, typer.Option(help="Measure a peer on the same files, in turns: mlx-lm.")
    ] = None,
    prompt: Annotated[int, typer.Option("--prompt", "-p", help="Tokens to read.")] = 512,
    tokens: Annotated[int, typer.Option("--tokens", "-n", help="Tokens to generate.")] = 128,
    repeats: Annotated[int, typer.Option(help="Runs of each side; the median counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Measure MODEL here: speed of reading and writing, time to first token, memory."""
    from mlxqwen.measure.bench import run_bench

    with _progress() as progress:
        result = run_bench(
            model,
            prompt=prompt,
            tokens=tokens,
            against=against,
            repeats=repeats,
            on_progress=progress,
        )
    if as_json:
        print(json.dumps(result.to_json(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from mlxqwen.measure.tables import bench_table

    Console().print(bench_table(result))


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Look at this machine: what it is, what is missing, and the remedy. Exit 1 on a problem."""
    from mlxqwen.measure.doctor import examine

    from ..settings import conversations_file

    report = examine(store=conversations_file())
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        from rich.console import Console

        from mlxqwen.measure.tables import report_table

        Console().print(report_table(report))
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
