"""What lies on this machine and is no whole model: broken-off quantisations and downloads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .library import is_complete
from .places import hub_cache, models_folder

# The file by which a quantisation knows its folder, see ``quantize.partial``.
MARKER = ".mlxqwen-partial"

_SUFFIX = ".partial"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A model that is not all here.

    Attributes:
        name: Of the model that it will be.
        path: The folder ``NAME.partial`` of a quantisation; a download's folder in the hub cache.
        kind: What was broken off, or is still running.
        bytes: What it takes on the disk.
    """

    name: str
    path: Path
    kind: Literal["quantisation", "download"]
    bytes: int


def unfinished() -> list[Unfinished]:
    """Quantisations in our own folder, then downloads in the hub cache, each by name."""
    return [*_quantisations(), *_downloads()]


def disk_bytes(path: Path) -> int:
    """What the files below ``path`` take; links count as links and are not followed."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_size
            except OSError:
                continue  # it has just gone
    return total


def _quantisations() -> Iterator[Unfinished]:
    root = models_folder()
    for path in sorted([*root.glob(f"*{_SUFFIX}"), *root.glob(f"*/*{_SUFFIX}")]):
        if (path / MARKER).is_file() and not path.is_symlink():
            name = str(path.relative_to(root)).removesuffix(_SUFFIX)
            yield Unfinished(name, path, "quantisation", disk_bytes(path))


def _downloads() -> Iterator[Unfinished]:
    for path in sorted(hub_cache().glob("models--*")):
        snapshots = [folder for folder in path.glob("snapshots/*") if folder.is_dir()]
        weights = [*path.glob("snapshots/*/*.safetensors"), *path.glob("blobs/*.incomplete")]
        if path.is_dir() and weights and not any(is_complete(folder) for folder in snapshots):
            name = path.name.removeprefix("models--").replace("--", "/")
            yield Unfinished(name, path, "download", disk_bytes(path))
