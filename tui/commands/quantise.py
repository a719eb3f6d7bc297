"""``mlxqwen quantize``: a checkpoint in, a smaller one out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..units import size
from .output import cell, harmless, tell

if TYPE_CHECKING:
    from quantize.progress import Progress


def quantise(
    source: Annotated[
        str, typer.Argument(help="A folder with a Qwen checkpoint, or a name that is here already.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The new folder; by default NAME-4bit among our own models."
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Bits per weight; 4 if not given.")] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Weights that share one scale; 64 if not given.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="affine, mxfp4, mxfp8 or nvfp4, as MLX knows them.")
    ] = "affine",
) -> None:
    """Quantise SOURCE; the result appears complete or not at all."""
    from mlxqwen.hub.library import models_folder, resolve
    from quantize.pipeline import quantise as run
    from quantize.recipes import choose_recipe

    recipe = choose_recipe(bits=bits, group_size=group_size, mode=mode)
    folder = resolve(source)
    name = source if folder != Path(source).expanduser() else folder.resolve().name
    if output is None:
        output = models_folder() / f"{name.rpartition('/')[2]}-{recipe.default.bits}bit"
    with _progress(cell(f"{name} → {output.name}")) as progress:
        result = run(folder, output, recipe=recipe, progress=progress)
    for notice in result.notices:
        tell(f"mlxqwen: {notice}")
    print(
        f"{harmless(str(result.path))}: {size(result.nbytes)}, "
        f"{result.bits_per_weight:.2f} bits per weight, "
        f"{result.parameters / 1e6:.1f} M parameters, {result.seconds:.1f} s"
    )


@contextmanager
def _progress(title: str) -> Generator[Callable[[Progress], None] | None, None, None]:
    """A bar on standard error; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def report(progress: Progress) -> None:
            bar.update(task, completed=progress.bytes_read, total=progress.bytes_read_total)

        yield report
