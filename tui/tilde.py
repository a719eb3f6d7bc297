"""Paths as people write them, with ``~`` for a home folder."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """``path`` from its home folder on; as it is written where nobody of that name has one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # what pathlib raises for ``~nobody``
        return Path(path)
