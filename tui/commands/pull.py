"""``mlxqwen pull``: fetch a model, the only command that uses the network."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .output import print_path, tell


def pull(
    model: Annotated[
        str, typer.Argument(help="An alias such as qwen3-4b, or ORG/NAME on the Hugging Face hub.")
    ],
) -> None:
    """Fetch MODEL from the Hugging Face hub into its standard cache; run again to resume."""
    from mlxqwen.hub.download import hub_id
    from mlxqwen.hub.download import pull as fetch

    terminal = sys.stderr.isatty()
    if terminal:
        tell(f"Fetching {hub_id(model)}")
    print_path(fetch(model, quiet=not terminal))
