"""The root of the command line: what stands before a command, and what runs without one."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mlxqwen import __version__
from mlxqwen.errors import UsageError

from . import failures
from .ask import ask
from .chat import open_chat, open_plain
from .evaluate import evaluate
from .machine import bench, doctor
from .models import models
from .pull import pull
from .quantise import quantise
from .verify import verify


class _Reporting(TyperGroup):
    """A group whose commands fail with a sentence instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:  # typer keeps its context class private
        with failures.reported():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Reporting,
    help="The Qwen3 family on this machine, offline: chat, ask, quantise, measure.",
    epilog="Without a command, mlxqwen opens the chat.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mlxqwen {__version__}")
        raise typer.Exit


_PLAIN = typer.Option(
    "--plain", help="Chat line by line: for screen readers, braille and simple terminals."
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
    plain: Annotated[bool, _PLAIN] = False,
) -> None:
    """The Qwen3 family on this machine, offline: chat, ask, quantise, measure."""
    if debug:
        os.environ[failures.DEBUG] = "1"
    if plain and context.invoked_subcommand not in (None, "chat"):
        raise UsageError(
            f"--plain is about the chat, and says nothing to {context.invoked_subcommand}.",
            "Leave it out.",
        )
    context.obj = plain
    if context.invoked_subcommand is None:
        (open_plain if plain else open_chat)(None)


@app.command()
def chat(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, a name from `mlxqwen models`, or an alias."),
    ] = None,
    plain: Annotated[bool, _PLAIN] = False,
) -> None:
    """Chat in the terminal, with MODEL, or the one used last."""
    (open_plain if plain or context.obj else open_chat)(model)


app.command()(ask)
app.command("quantize")(quantise)
app.command("quantise", hidden=True)(quantise)
app.command()(verify)
app.command()(evaluate)
app.command()(pull)
app.add_typer(models, name="models")
app.command()(bench)
app.command()(doctor)
