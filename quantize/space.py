"""Whether the disks have room for a quantisation, counting what is there already."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlxqwen.errors import OutputError

from .companions import companion_bytes
from .plan import Plan
from .supply import Supply


def check_space(plan: Plan, supply: Supply, files: Path) -> None:
    """Refuse before any work what cannot fit.

    Args:
        files: Where the output is written, and an earlier run may have reserved its space.

    Raises:
        OutputError: A disk has too little room; with the figures.
    """
    output = sum(max(0, s.nbytes - _taken(files / s.name)) for s in plan.shards)
    output += companion_bytes(supply.directory.path)
    fetched = fetch_need(supply)
    place = _existing(next(iter(supply.nbytes), files))
    if fetched and place.stat().st_dev != files.stat().st_dev:
        _check(place, fetched, "the download needs")
        fetched = 0
    _check(files, output + fetched, "output and download need" if fetched else "the output needs")


def fetch_need(supply: Supply) -> int:
    """Bytes that downloads take at most at once: all, or the two largest shards."""
    sizes = sorted(supply.nbytes.values(), reverse=True)
    return sum(sizes[:2] if supply.discards else sizes)


def _check(place: Path, need: int, what: str) -> None:
    free = shutil.disk_usage(place).free
    if need > free:
        raise OutputError(
            f"{place} has {free / 1e9:,.2f} GB free, but {what} {need / 1e9:,.2f} GB.",
            "Free space there or choose another output folder.",
        )


def _existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _taken(path: Path) -> int:
    """Bytes of the disk that a file takes; 512 is the unit of POSIX."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
