"""What trials of fused parts found on this machine, kept in a file; known without MLX."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

_LOG = logging.getLogger("mlxqwen.kernels")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial found; times in microseconds a call, None where it did not come to that."""

    part: str
    used: bool
    why: str
    error: float | None = None
    plain_us: float | None = None
    fused_us: float | None = None


def verdicts(record: Path) -> dict[str, Verdict]:
    """All that is remembered, by key; a file that cannot be read counts as empty."""
    try:
        entries = cast(dict[str, dict[str, Any]], json.loads(record.read_bytes()))
        return {key: Verdict(**entry) for key, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _LOG.warning("%s cannot be read, so kernels are tried again: %s", record, error)
        return {}


def remember(path: Path, entries: dict[str, Verdict]) -> None:
    """Replaces the file; where that fails, the log says so and parts are tried again."""
    text = json.dumps({key: asdict(verdict) for key, verdict in entries.items()}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        _LOG.warning("Verdicts on kernels cannot be kept in %s: %s", path, error)
