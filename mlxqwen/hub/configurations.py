"""What the published ``config.json`` of a known model says; kept here, so no network is needed."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from .catalogue import KnownModel


def configuration(model: KnownModel) -> dict[str, Any] | None:
    """The decoded ``config.json``; None where it is not known for certain."""
    if model.configuration is None:
        return None
    folder = files("mlxqwen") / "hub" / "configs"
    return json.loads((folder / f"{model.configuration}.json").read_text("utf-8"))
