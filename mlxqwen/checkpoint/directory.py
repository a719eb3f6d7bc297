"""A model's folder: its configuration and the tensors of all its shards, checked before use.

With ``model.safetensors.index.json`` the shards are those the index names; without it they are
``model*.safetensors``. Only headers are read. File names in the index are untrusted and must be
plain names inside the folder; what a name resolves to is free, because the hub's cache consists of
links into its blob store.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from ..errors import CheckpointError
from .safetensors import Header, TensorInfo, read_header

INDEX_NAME = "model.safetensors.index.json"

_SHARD = re.compile(r"(?P<stem>.*-)(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")


@dataclass(frozen=True, slots=True)
class Directory:
    """One checkpoint: ``tensors`` by name over all ``shards``, ``generation_config`` {} if absent.

    ``formats`` are the frameworks that the shards' metadata name ("pt", "mlx"). Tensors that a
    shard holds and the index does not list are included, as in transformers and mlx-lm.
    """

    path: Path
    config: dict[str, Any]
    generation_config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    shards: tuple[Path, ...]
    formats: frozenset[str] = frozenset()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a folder's configuration and all headers.

        Raises:
            CheckpointError: No such folder, no config.json, invalid JSON, no safetensors, a
                missing, damaged or truncated shard, an index that names a file outside the folder
                or disagrees with the headers, or a tensor that two shards hold.
        """
        if not path.is_dir():
            raise CheckpointError(
                f"{path} is not a folder.", "Give the folder that holds config.json."
            )
        present = {file.name for file in path.glob("*.safetensors") if file.exists()}
        return cls.assemble(path, present, lambda name: read_header(path / name))

    @classmethod
    def assemble(cls, path: Path, present: Set[str], header: Callable[[str], Header]) -> Self:
        """The checkpoint whose configuration and index lie in ``path``, its shards perhaps not.

        Args:
            present: Names of the weight files that there are, here or wherever they come from.
            header: Of one of these, its header.

        Raises:
            CheckpointError: As ``open``.
        """
        config = read_json_object(path / "config.json")
        generation = path / "generation_config.json"
        generation_config = read_json_object(generation) if generation.exists() else {}
        weight_map = _read_index(path, present)
        names = sorted(set(weight_map.values())) if weight_map else _list_shards(path, present)
        tensors: dict[str, TensorInfo] = {}
        formats: set[str] = set()
        for name in names:
            found = header(name)
            formats.update(v for k, v in found.metadata.items() if k == "format")
            for tensor, info in found.tensors.items():
                if tensor in tensors:
                    raise CheckpointError(
                        f"{path}: {tensor} lies in both {tensors[tensor].path.name} and {name}.",
                        "Remove the shards that do not belong to this model.",
                    )
                tensors[tensor] = info
        _check_index(path, weight_map, tensors)
        shards = tuple(path / name for name in names)
        return cls(path, config, generation_config, tensors, shards, frozenset(formats))


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object.

    Raises:
        CheckpointError: It is missing, unreadable, not JSON, or not an object.
    """
    try:
        value: object = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist.", "Give the folder of a complete model, or download it again."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not valid JSON: {error}.", "Download it again."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object.", "Download it again.")
    return cast("dict[str, Any]", value)


def _read_index(path: Path, present: Set[str]) -> dict[str, str]:
    """Tensor name → file name; {} without an index."""
    index = path / INDEX_NAME
    if not index.exists():
        return {}
    entries: object = read_json_object(index).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError(f"{index} has no weight_map.", "Download it again.")
    weight_map: dict[str, str] = {}
    for tensor, name in cast("dict[str, object]", entries).items():
        if not isinstance(name, str) or not _is_plain_name(name):
            raise CheckpointError(
                f"{index} places {tensor} in {name!r}, which is not a file name in its folder.",
                "Do not use this model: its index is damaged or malicious.",
            )
        weight_map[tensor] = name
    missing = sorted(set(weight_map.values()) - present)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{path / missing[0]}{more} is missing, but {INDEX_NAME} names it.",
            "Download it again.",
        )
    return weight_map


def _is_plain_name(name: str) -> bool:
    return name.endswith(".safetensors") and not any(c in name for c in "/\\\0:")


def _list_shards(path: Path, present: Set[str]) -> list[str]:
    names = sorted(fnmatch.filter(present, "model*.safetensors"))
    if not names:
        others = sorted(p.name for s in ("*.bin", "*.gguf", "*.pth") for p in path.glob(s))
        hint = (
            f"It has {others[0]}: get the safetensors release of this model."
            if others
            else "Download the model again."
        )
        raise CheckpointError(f"{path} has no model*.safetensors.", hint)
    for name in names:
        match = _SHARD.fullmatch(name)
        if match is None:
            continue
        digits = len(match["number"])
        for number in range(1, int(match["count"]) + 1):
            shard = f"{match['stem']}{number:0{digits}d}-of-{match['count']}.safetensors"
            if shard not in present:
                raise CheckpointError(
                    f"{path / shard} is missing, but {name} belongs to it.", "Download it again."
                )
    return names


def _check_index(
    path: Path, weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo]
) -> None:
    for tensor, name in weight_map.items():
        info = tensors.get(tensor)
        if info is None or info.path.name != name:
            where = "no shard holds it" if info is None else f"it lies in {info.path.name}"
            raise CheckpointError(
                f"{path / INDEX_NAME} places {tensor} in {name}, but {where}.", "Download it again."
            )
