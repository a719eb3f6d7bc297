"""``mlxqwen models``: what is on this machine, and what one of them needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..units import size
from .output import cell, dump_json, harmless

models = typer.Typer(
    help="The models on this machine.", invoke_without_command=True, no_args_is_help=False
)


@models.callback()
def table(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array instead.")] = False,
    known: Annotated[
        bool, typer.Option("--known", help="List the released models instead, and which fit here.")
    ] = False,
    tokens: Annotated[
        int, typer.Option("--context", min=1, help="With --known: tokens to make room for.")
    ] = 32_768,
) -> None:
    """List the models on this machine: name, size, bits per weight, and where they come from."""
    if context.invoked_subcommand is not None:
        return
    if known:
        from .known import print_known

        print_known(tokens, as_json=as_json)
        return
    from mlxqwen.hub.library import local_models

    found = local_models()
    if as_json:
        records = [{**asdict(model), "path": str(model.path)} for model in found]
        dump_json(records, indent=2)
        return
    rows = [("NAME", "SIZE", "BITS", "TYPE", "WHERE")]
    for model in found:
        bits = "–" if model.bits is None else f"{model.bits:g}"
        where = "built in" if model.source == "builtin" else f"{model.source}: {_short(model.path)}"
        name, kind = cell(model.name), cell(model.model_type)
        rows.append((name, size(model.bytes), bits, kind, cell(where)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        name, amount, bits, kind = (
            text.rjust(width) if column in (1, 2) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row[:4], widths, strict=True))
        )
        print(f"{name}  {amount}  {bits}  {kind}  {row[4]}".rstrip())


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="A folder, a name from the list, or an alias.")],
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens of context to make room for.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=1, max=8, help="What it would need quantised to that many.")
    ] = None,
) -> None:
    """Say what a model is and needs, and whether it fits; it need not be on this machine."""
    from mlxqwen import plan
    from mlxqwen.hub.catalogue import find

    from .known import facts

    model = find(name)
    if model is not None:
        print(f"{model.alias}\n{facts(model)}\n")
    print(harmless(str(plan(name, context=context, bits=bits))))


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
