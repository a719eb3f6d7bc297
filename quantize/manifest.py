"""``mlxqwen.json``: where a quantised model comes from, what was done to it, and its files' hashes.

It holds no times and no paths of this machine, so that the same work gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from mlxqwen.checkpoint.directory import read_json_object
from mlxqwen.errors import CheckpointError

# No loader takes it for weights (``model*.safetensors``) or a configuration.
MANIFEST_NAME = "mlxqwen.json"

MANIFEST_FORMAT = 1

_Entry = TypeVar("_Entry")


class FileHash(NamedTuple):
    """Size and SHA-256 in hex of a published file."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """What was quantised: hub id or folder name, the hub's commit or "", and a digest."""

    name: str
    revision: str
    identity: str


@dataclass(frozen=True, slots=True)
class TensorError:
    """How a module was quantised and what that did to it, from ``sampled`` of its weights.

    Attributes:
        relative_mse: Σ(w − ŵ)² / Σw².
        cosine: Of the angle between w and ŵ.
        largest: max |w − ŵ|.
        clip_rate: Share of weights beyond what their group can represent.
    """

    bits: int
    group_size: int
    mode: str
    relative_mse: float
    cosine: float
    largest: float
    clip_rate: float
    sampled: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published model.

    Attributes:
        recipe: ``name``, ``description`` and ``digest``; ``guidance`` where there was any.
        versions: Of mlxqwen and mlx.
        device: Kind of the device that rounded.
        pin: Digest of everything that decides the bytes.
        bits_per_weight: Of all tensors together.
        files: Every published file but this one.
        tensors: By module, as the files name it; those that were quantised in this run.
        notes: What else the maker wanted to keep.
    """

    source: Source
    recipe: Mapping[str, str]
    versions: Mapping[str, str]
    device: str
    pin: str
    bits_per_weight: float
    files: Mapping[str, FileHash]
    tensors: Mapping[str, TensorError]
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def name(self) -> str:
        """Of the recipe."""
        return self.recipe.get("name", "")

    def to_bytes(self) -> bytes:
        """The file."""
        value = {
            "format": MANIFEST_FORMAT,
            "source": asdict(self.source),
            "recipe": dict(self.recipe),
            "versions": dict(self.versions),
            "device": self.device,
            "pin": self.pin,
            "bits_per_weight": self.bits_per_weight,
            "notes": dict(self.notes),
            "files": {name: entry._asdict() for name, entry in sorted(self.files.items())},
            "tensors": {name: asdict(entry) for name, entry in sorted(self.tensors.items())},
        }
        return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a model; None where it has none, because something else made it.

    Raises:
        CheckpointError: It is damaged, or of a later mlxqwen.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    value = read_json_object(path)
    if value.get("format") != MANIFEST_FORMAT:
        raise CheckpointError(
            f"{path} has format {value.get('format')!r}; this mlxqwen reads {MANIFEST_FORMAT}.",
            "Update mlxqwen, or quantise the model anew.",
        )
    read = _Reader(path)
    source = read.table(value, "source")
    return Manifest(
        source=Source(*(read.text(source, key) for key in ("name", "revision", "identity"))),
        recipe=read.texts(value, "recipe"),
        versions=read.texts(value, "versions"),
        device=read.text(value, "device"),
        pin=read.text(value, "pin"),
        bits_per_weight=read.number(value, "bits_per_weight"),
        files=read.entries(value, "files", read.file),
        tensors=read.entries(value, "tensors", read.tensor),
        notes=read.table(value, "notes"),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values of the right kind out of the file, or says which one is wrong."""

    path: Path

    def table(self, value: Mapping[str, Any], key: str) -> dict[str, Any]:
        found = value.get(key)
        if not isinstance(found, dict):
            raise self.fault(key)
        return cast("dict[str, Any]", found)

    def text(self, value: Mapping[str, Any], key: str) -> str:
        found = value.get(key)
        if not isinstance(found, str):
            raise self.fault(key)
        return found

    def number(self, value: Mapping[str, Any], key: str) -> float:
        found = value.get(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
            raise self.fault(key)
        return found

    def count(self, value: Mapping[str, Any], key: str) -> int:
        found = value.get(key)
        if type(found) is not int or found < 0:
            raise self.fault(key)
        return found

    def texts(self, value: Mapping[str, Any], key: str) -> dict[str, str]:
        table = self.table(value, key)
        return {name: self.text(table, name) for name in table}

    def entries(
        self, value: Mapping[str, Any], key: str, one: Callable[[Mapping[str, Any]], _Entry]
    ) -> dict[str, _Entry]:
        table = self.table(value, key)
        return {name: one(self.table(table, name)) for name in table}

    def file(self, value: Mapping[str, Any]) -> FileHash:
        digest = self.text(value, "sha256")
        if len(digest) != 64:
            raise self.fault("sha256")
        return FileHash(self.count(value, "nbytes"), digest)

    def tensor(self, value: Mapping[str, Any]) -> TensorError:
        return TensorError(
            self.count(value, "bits"),
            self.count(value, "group_size"),
            self.text(value, "mode"),
            self.number(value, "relative_mse"),
            self.number(value, "cosine"),
            self.number(value, "largest"),
            self.number(value, "clip_rate"),
            self.count(value, "sampled"),
        )

    def fault(self, key: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} has no valid {key}.", "The file is damaged: quantise the model anew."
        )
