"""``mlxqwen verify``: whether a model is whole, as it was published, and can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..tilde import expanded
from ..units import clock, size
from .output import cell, dump_json, harmless, show, tell
from .plan_words import pairs
from .watch import watching

if TYPE_CHECKING:
    from quantize.progress import Progress
    from quantize.verify import Verification


def verify(
    model: Annotated[str, typer.Argument(metavar="DIR", help="The model, a folder or a name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Read every byte of DIR, hold it against what was written, and compute with it.

    Exit 1 where something is wrong.
    """
    folder = _folder(model)
    from quantize.progress import Progress
    from quantize.verify import verify as run

    with watching(model) as watch:

        def report(progress: Progress) -> None:
            # What this stage counts are bytes.
            bytes_read, total = progress.done, progress.total
            watch.report(
                Progress(
                    progress.stage,
                    bytes_read=bytes_read,
                    bytes_read_total=total,
                    message=progress.message,
                )
            )

        result = run(folder, report)
    if as_json:
        dump_json(result.to_json(), indent=2)
    else:
        _print(result)
    if not result.ok:
        raise typer.Exit(1)


def _folder(text: str) -> Path:
    """A folder as it stands, whole or not, or the model of that name."""
    from mlxqwen.hub.library import resolve
    from mlxqwen.hub.places import models_folder

    for path in (expanded(text), models_folder() / text):
        unfinished = path.with_name(f"{path.name}.partial")
        if path.name and (path.is_dir() or unfinished.is_dir()):
            return path
    return resolve(text)


def _print(result: Verification) -> None:
    if result.ok:
        checked = f"{result.files} files" if result.files != 1 else "1 file"
        facts = [
            ("hashes", f"{checked}, {size(result.nbytes)}, as they were written"),
            ("computed", f"{result.layers} layers, every number finite"),
        ]
        if not result.files:
            facts = facts[1:]
        if result.bits is not None:
            facts.append(("weights", f"{result.bits:.3f} bits each"))
        facts.append(("took", clock(result.seconds)))
        print(
            f"{cell(result.path)} is whole."
            if result.manifest
            else f"{cell(result.path)} loads and computes."
        )
        show(pairs(facts))
    for problem in result.problems:
        tell(f"mlxqwen: {problem}")
    for note in result.notes:
        tell(f"mlxqwen: {harmless(note)}")
