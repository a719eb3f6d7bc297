"""``mlxqwen evaluate``: what quantising cost, measured against the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import cell, dump_json, harmless, show, tell
from .watch import watching

if TYPE_CHECKING:
    from rich.console import RenderableType

    from quantize.evaluate import Evaluation


def evaluate(
    model: Annotated[str, typer.Argument(metavar="DIR", help="The model, a folder or a name.")],
    against: Annotated[str, typer.Option(help="The model that it was made from, likewise.")],
    text: Annotated[
        Path | None, typer.Option(help="Your own text, in place of the built-in one.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", "-n", min=2, help="Tokens to read; more make figures surer."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture of error, bits and KL there (.svg).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Compare DIR with the model it was made from, on text that calibration never saw.

    Both are read a layer at a time, so neither has to fit into memory.
    """
    from mlxqwen.errors import UsageError
    from mlxqwen.hub.library import resolve

    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"{plot} does not end in .svg.", "The picture is written as SVG.")
    own, source = resolve(model), resolve(against)
    from quantize.evaluate import TOKENS
    from quantize.evaluate import evaluate as run

    amount = TOKENS if tokens is None else tokens
    with watching(f"{model} against {against}") as watch:
        result = run(own, against=source, text=text, tokens=amount, progress=watch.report)
    if plot is not None:
        from quantize.plot import save_plot

        save_plot(result, plot)
        tell(f"mlxqwen: the picture is in {plot}")
    if as_json:
        dump_json(result.to_json(), indent=2)
    else:
        show(_report(result, cell(f"{model} against {against}")))


def _report(result: Evaluation, title: str) -> RenderableType:
    """Verdict, figures, and a row for each part of the model."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="bold")
    figures.add_column()
    figures.add_column(style="dim")
    for row in result.rows():
        figures.add_row(*(harmless(part) for part in row))
    layers = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("PART", "ERROR", "COSINE", "BITS"):
        layers.add_column(heading, justify="left" if heading == "PART" else "right")
    for row in result.layer_rows():
        layers.add_row(*row)
    return Group(
        Text(title, style="bold"),
        "",
        Text(result.verdict),
        "",
        figures,
        "",
        layers,
        "",
        Text(_MEANING, style="dim"),
    )


_MEANING = (
    "KL and first choices compare predictions; ± is one standard error over the sequences. "
    "ERROR is what hidden states after each part differ by, everything before it included."
)
