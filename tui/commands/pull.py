"""``mlxqwen pull``: fetch a ready model, with what it takes said beforehand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlxqwen.errors import CheckpointError, ContextExceeded, MlxqwenError, UnsupportedModel

from ..units import size
from .failures import INTERRUPTED, leave
from .fetching import Bar, Events, Face, Lines

if TYPE_CHECKING:
    from mlxqwen import Plan
    from mlxqwen.hub.download import Survey


def pull(
    model: Annotated[
        str, typer.Argument(help="An alias such as qwen3-4b, or ORG/NAME on the Hugging Face hub.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit in place of the main branch.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be fetched, and whether it fits.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events, one JSON object a line, instead.")
    ] = False,
) -> None:
    """Fetch MODEL from the Hugging Face hub into its standard cache; run again to resume."""
    face: Face = Events() if as_json else Bar() if sys.stderr.isatty() else Lines()
    try:
        _pull(model, revision, face, dry_run=dry_run)
    except KeyboardInterrupt:
        again = model if revision is None else f"{model} --revision {revision}"
        face.stopped(f"mlxqwen pull {again}")
        leave(INTERRUPTED)
    except MlxqwenError as error:
        face.failed(error)
        raise


def _pull(model: str, revision: str | None, face: Face, *, dry_run: bool) -> None:
    from mlxqwen.hub import download

    found = download.survey(model, revision=revision, waiting=face.waiting)
    planned, why = _fit(found, face)
    face.begin(found, planned, _sentences(found, why))
    if dry_run:
        return
    with face:
        path = download.pull(model, found=found, progress=face.advance, waiting=face.waiting)
    face.end(path)


def _fit(found: Survey, face: Face) -> tuple[Plan | None, str]:
    """The memory plan from the headers on the hub, and a sentence that says whether it fits."""
    from mlxqwen.engine.memory import plan_directory
    from mlxqwen.hub.download import headers_of

    try:
        directory = headers_of(found, waiting=face.waiting)
        planned = plan_directory(directory, found.name, context=None, budget=None)
    except (CheckpointError, ContextExceeded, UnsupportedModel) as error:
        return None, f"It cannot be run here: {error.what}"
    return planned, planned.why


def _sentences(found: Survey, why: str) -> list[str]:
    """What there is to fetch, where it goes, and whether it fits."""
    if found.to_fetch == 0:
        amount = f"{found.name} is here already ({size(found.total)})."
    elif found.here == 0:
        amount = f"{found.name}: {size(found.total)} to fetch."
    else:
        amount = (
            f"{found.name}: {size(found.to_fetch)} to fetch; {size(found.here)} of "
            f"{size(found.total)} are here already."
        )
    room = "" if found.has_room else f" The disk has no room for it: {size(found.free)} are free."
    return [amount + room, why]
