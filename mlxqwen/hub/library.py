"""Which models this machine holds, and where: never loads one, never asks the network.

Four places are read: the built-in model, our own folder, the cache of the Hugging Face hub (its
layout is ``models--ORG--NAME/refs/main`` naming a folder below ``snapshots``; see "Understand
caching" in the huggingface_hub documentation) and LM Studio's folders (``PUBLISHER/NAME``). The
hub's own library is not used: importing it takes longer than everything here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

from ..device import memory_budget
from ..errors import CheckpointError, ModelNotFound, UnsupportedModel
from ..model.config import ModelConfig
from .catalogue import MODELS, KnownModel, all_aliases, find
from .places import GUIDE, guide_folder, hub_cache, lm_studio_folders, models_folder

Source = Literal["builtin", "ours", "hub cache", "LM Studio"]

_INDEX = "model.safetensors.index.json"
_DTYPE_BITS = {"float32": 32.0, "float16": 16.0, "bfloat16": 16.0}
_HERE = "`mlxqwen models` lists what is on this machine."
# Cache and workspace beside the weights, when a model is chosen without being asked for.
_ROOM = 1.2


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A complete model folder on this machine.

    Attributes:
        name: What ``resolve`` takes: ``guide``, a folder name, or ``ORG/NAME``.
        path: The folder with ``config.json`` and the weights.
        source: Which program put it there.
        bytes: Size of the weights.
        bits: Bits per weight that the configuration states; None where it states none.
        model_type: The architecture, as ``config.json`` names it.
        modified: When ``config.json`` was last written, in seconds since 1970.
    """

    name: str
    path: Path
    source: Source
    bytes: int
    bits: float | None
    model_type: str
    modified: float


def is_complete(path: Path) -> bool:
    """Whether ``path`` has a readable ``config.json`` and all its safetensors files."""
    return _read("", path, "hub cache") is not None


def local_models() -> list[LocalModel]:
    """Every complete model here: the built-in one first, then each place in order of name.

    A folder counts as a model when it has a readable ``config.json`` and all its safetensors files.
    A name found in two places is listed at the first: ours, the hub cache, LM Studio.
    """
    found: dict[str, LocalModel] = {}
    for name, path, source in _places():
        if name.lower() not in found:
            model = _read(name, path, source)
            if model is not None:
                found[name.lower()] = model
    return list(found.values())


def resolve(name: str) -> Path:
    """The folder of the model called ``name``; nothing is downloaded.

    A folder with ``config.json`` wins over everything of the same name; then come ``guide``,
    names as ``local_models`` lists them, aliases of released models (4-bit MLX conversions before
    the original weights), and last the end of a name (``Qwen3-4B-4bit``) where only one model has
    it.

    Raises:
        CheckpointError: ``name`` is a path, but no model folder.
        ModelNotFound: No such model is on this machine; the message names how to get it.
    """
    path = _expanded(name)
    if name and _holds_config(path):
        return path
    if name == GUIDE:
        return _guide()
    models = local_models()
    wanted = name.lower()
    by_name = {model.name.lower(): model.path for model in models}
    if wanted in by_name:
        return by_name[wanted]
    known = find(name)
    # An alias stands for any conversion; a full id only for itself.
    if known is not None and "/" not in name:
        for candidate in _conversions(known):
            if candidate in by_name:
                return by_name[candidate]
    endings = [model.path for model in models if model.name.lower().endswith("/" + wanted)]
    if len(endings) == 1:
        return endings[0]
    if _is_path(name, path):
        raise CheckpointError(*_not_a_model(name, path))
    raise ModelNotFound(*_not_found(name, models, partial=_partial(name)))


def default_model() -> LocalModel:
    """The model to use when none is named: the newest that runs here and fits into memory.

    The built-in guide where there is no other. Raises ``ModelNotFound`` if even that is missing.
    """
    budget = memory_budget()
    models = [model for model in local_models() if model.source != "builtin"]
    for model in sorted(models, key=lambda model: model.modified, reverse=True):
        if model.bytes * _ROOM <= budget and _runs(model.path):
            return model
    guide = _read(GUIDE, _guide(), "builtin")
    if guide is None:
        raise ModelNotFound(
            f"The built-in model in {guide_folder()} is damaged.", "Install mlxqwen again."
        )
    return guide


def _conversions(known: KnownModel) -> list[str]:
    """Names, in small letters, under which copies of ``known`` lie on a machine; best first."""
    original = known.hub_id.lower()
    end = original.partition("/")[2]
    converted = [name.lower() for name in known.mlx_ids]
    ends = [name.partition("/")[2] for name in converted]
    ours = [f"{end}-4bit", f"{end}-mlx-4bit", f"{end}-8bit"]
    return [*converted, *ends, *ours, original, end]


def _guide() -> Path:
    folder = guide_folder()
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"The built-in model is missing from {folder}.", "Install mlxqwen again."
        )
    return folder


def _places() -> Iterator[tuple[str, Path, Source]]:
    """Name, folder and source of everything that may be a model."""
    yield GUIDE, guide_folder(), "builtin"
    for name, path in _nested(models_folder()):
        yield name, path, "ours"
    for repository in _folders(hub_cache()):
        kind, _, rest = repository.name.partition("--")
        snapshot = _snapshot(repository) if kind == "models" else None
        if snapshot is not None:
            yield rest.replace("--", "/"), snapshot, "hub cache"
    for folder in lm_studio_folders():
        for name, path in _nested(folder):
            yield name, path, "LM Studio"


def _nested(folder: Path) -> Iterator[tuple[str, Path]]:
    """Model folders ``NAME`` and ``PUBLISHER/NAME`` below ``folder``."""
    for first in _folders(folder):
        if (first / "config.json").is_file():
            yield first.name, first
            continue
        for second in _folders(first):
            if (second / "config.json").is_file():
                yield f"{first.name}/{second.name}", second


def _folders(folder: Path) -> list[Path]:
    """Folders directly below, sorted; none where there is no such folder or no permission.

    Hidden ones are left out, and unfinished output (``NAME.partial``).
    """
    try:
        return sorted(
            entry
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.suffix != ".partial"
        )
    except OSError:
        return []


def _snapshot(repository: Path) -> Path | None:
    """The revision that ``refs/main`` names, or the newest one present."""
    snapshots = repository / "snapshots"
    reference = repository / "refs" / "main"
    if reference.is_file():
        named = snapshots / reference.read_text(encoding="utf-8", errors="replace").strip()
        if named != snapshots and (named / "config.json").is_file():
            return named
    present = [path for path in _folders(snapshots) if (path / "config.json").is_file()]
    return max(present, key=lambda path: path.stat().st_mtime, default=None)


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where the file is missing or holds something else."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _weights(path: Path) -> tuple[list[Path], list[str]]:
    """Weight files present, and names of those that the index asks for but that are absent."""
    index = _json(path / _INDEX)
    if index is not None and isinstance(index.get("weight_map"), dict):
        names = sorted({str(name) for name in index["weight_map"].values()})
    else:
        names = sorted(file.name for file in path.glob("model*.safetensors"))
    present = [path / name for name in names if (path / name).is_file()]
    return present, [name for name in names if not (path / name).is_file()]


def _read(name: str, path: Path, source: Source) -> LocalModel | None:
    """The model in ``path``; None where it is no complete model folder."""
    config = _json(path / "config.json")
    present, absent = _weights(path)
    if config is None or absent or not present:
        return None
    return LocalModel(
        name=name,
        path=path,
        source=source,
        bytes=sum(file.stat().st_size for file in present),
        bits=_bits(config),
        model_type=str(config.get("model_type", "")),
        modified=(path / "config.json").stat().st_mtime,
    )


def _bits(config: dict[str, Any]) -> float | None:
    for key in ("quantization", "quantization_config"):
        block = config.get(key)
        if isinstance(block, dict):
            entries = cast("dict[str, object]", block)
            bits = entries.get("bits")
            if isinstance(bits, int | float):
                return float(bits)
            if entries.get("quant_method") == "fp8":
                return 8.0
    return _DTYPE_BITS.get(str(config.get("torch_dtype", config.get("dtype"))))


def _runs(path: Path) -> bool:
    """Whether the runtime accepts the configuration in ``path``."""
    config = _json(path / "config.json")
    if config is None:
        return False
    try:
        ModelConfig.parse(config)
    except (UnsupportedModel, CheckpointError):
        return False
    return True


def _expanded(name: str) -> Path:
    """``name`` as a path, with ``~`` replaced where that user exists."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _holds_config(path: Path) -> bool:
    try:
        return (path / "config.json").is_file()
    except OSError:  # not allowed to look, or longer than any file name
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_path(name: str, path: Path) -> bool:
    """Whether a person who writes ``name`` means a place in the file system."""
    written = name.startswith(("/", "./", "../", "~")) or name in {".", ".."}
    return written or (bool(name) and _exists(path))


def _not_a_model(name: str, path: Path) -> tuple[str, str]:
    if not _exists(path):
        return f"There is no folder {name}.", "Check the path; `mlxqwen models` lists what is here."
    if path.is_file():
        return f"{name} is a file.", f"Give the folder that holds it: {path.parent}."
    return (
        f"{name} has no config.json, so it is no model folder.",
        "Give the folder with config.json and the safetensors files.",
    )


def _partial(name: str) -> tuple[str, str] | None:
    """Hub id of an unfinished copy of ``name`` in the hub cache, and a file that it lacks."""
    known = find(name)
    wanted = {name.lower()}
    if known is not None and "/" not in name:
        wanted.update(_conversions(known))
    for other, path, source in _places():
        if source == "hub cache" and other.lower() in wanted:
            present, absent = _weights(path)
            if absent or not present:
                return other, absent[0] if absent else "model.safetensors"
    return None


def _not_found(
    name: str, models: list[LocalModel], partial: tuple[str, str] | None
) -> tuple[str, str]:
    known = find(name)
    if partial is not None:
        return (
            f"{name} is only partly downloaded: {partial[1]} is missing.",
            f"`mlxqwen pull {partial[0]}` fetches the rest.",
        )
    if known is not None or name.count("/") == 1:
        which = f" ({known.hub_id})" if known is not None and known.hub_id != name else ""
        return f"{name}{which} is not on this machine.", f"`mlxqwen pull {name}` gets it; {_HERE}"
    return unknown_name(name, models)


def unknown_name(name: str, models: Sequence[LocalModel] = ()) -> tuple[str, str]:
    """What to say of a name that means nothing, with the names nearest to it."""
    names = {other.lower(): other for other in (GUIDE, *all_aliases())}
    names |= {alias: alias for model in MODELS for alias in model.aliases}
    names |= {model.name.lower(): model.name for model in models}
    near = [names[match] for match in get_close_matches(name.lower(), names, n=3, cutoff=0.5)]
    if near:
        return f"No model is called {name!r}.", f"Did you mean {' or '.join(near)}? {_HERE}"
    return f"No model is called {name!r}.", _HERE
