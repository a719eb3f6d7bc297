"""``mlxqwen models``: what is on this machine, and what one of them needs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxqwen.errors import UsageError

from ..units import size
from .columns import columns
from .output import cell, dump_json, harmless, tell

_PLACES = {"quantisation": "ours", "download": "hub cache"}

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
    from mlxqwen.hub.unfinished import unfinished

    found, parts = local_models(), unfinished()
    if as_json:
        records: list[dict[str, Any]] = [
            {**asdict(model), "path": str(model.path), "unfinished": None} for model in found
        ]
        records += [
            {
                "name": part.name,
                "path": str(part.path),
                "source": _PLACES[part.kind],
                "bytes": part.bytes,
                "unfinished": part.kind,
            }
            for part in parts
        ]
        dump_json(records, indent=2)
        return
    rows = [("NAME", "SIZE", "BITS", "TYPE", "WHERE")]
    for model in found:
        bits = "–" if model.bits is None else f"{model.bits:g}"
        where = "built in" if model.source == "builtin" else f"{model.source}: {_short(model.path)}"
        name, kind = cell(model.name), cell(model.model_type)
        rows.append((name, size(model.bytes), bits, kind, cell(where)))
    for part in parts:
        where = f"unfinished {part.kind}: {_short(part.path)}"
        rows.append((cell(part.name), size(part.bytes), "–", "–", cell(where)))
    for line in columns(rows, right={1, 2}):
        print(line)
    for part in parts:
        if part.kind == "download":
            tell(f"`mlxqwen pull {cell(part.name)}` fetches the rest of it.")
        else:
            tell(f"The `mlxqwen quantize` that began {cell(part.name)} continues it.")


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


@models.command()
def rm(
    name: Annotated[str, typer.Argument(help="A name from the list, or an alias.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a model, or what is left of an unfinished one, from this machine; asks first."""
    from mlxqwen.hub.removal import find_removal, remove

    removal = find_removal(name)
    what = "an unfinished model" if removal.unfinished else "a model"
    tell(f"{removal.name}: {what} in {removal.place}, {size(removal.bytes)}, {removal.path}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"{removal.name} is not removed without a question, and nobody can answer it here.",
                "Give --yes.",
            )
        if not typer.confirm("Remove it?", err=True):
            tell("Nothing was removed.")
            return
    remove(removal)
    tell(f"Removed; {size(removal.bytes)} are free again.")


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
