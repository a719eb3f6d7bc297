"""Removes a model from this machine: only from the places where programs keep models.

Whoever calls this has asked the user. No link is ever followed out of such a place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelNotFound, OutputError, UsageError
from .library import local_models, resolve, unknown_name
from .places import GUIDE, hub_cache, lm_studio_folders, models_folder
from .unfinished import MARKER, disk_bytes, unfinished

Place = Literal["ours", "hub cache", "LM Studio"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a model would take away.

    Attributes:
        name: Of the model.
        path: The folder that goes, with all in it.
        place: Where it lies.
        bytes: What that frees on the disk.
        unfinished: Whether it is only part of a model.
    """

    name: str
    path: Path
    place: Place
    bytes: int
    unfinished: bool = False


def find_removal(name: str) -> Removal:
    """What ``name`` (as listed, an alias, or an unfinished model) would remove.

    Raises:
        UsageError: ``name`` is a path, the built-in model, or leads out of its place by a link.
        ModelNotFound: Nothing of that name is here.
    """
    if name.lower() == GUIDE:
        raise UsageError("The built-in model stays.", "It goes with mlxqwen itself.")
    if name.startswith(("/", ".", "~")):
        raise UsageError(
            f"{name} is a path: only models that the list names are removed.",
            "`mlxqwen models` lists them; remove a folder of yours by your own means.",
        )
    models = local_models()
    chosen = next((model for model in models if model.name.lower() == name.lower()), None)
    if chosen is None:
        for part in unfinished():
            if part.name.lower() == name.lower():
                place: Place = "ours" if part.kind == "quantisation" else "hub cache"
                return _checked(Removal(part.name, part.path, place, part.bytes, True))
        path = resolve(name)
        chosen = next((model for model in models if model.path == path), None)
    if chosen is None:
        raise ModelNotFound(*unknown_name(name, models))
    match chosen.source:
        case "builtin":
            raise UsageError("The built-in model stays.", "It goes with mlxqwen itself.")
        case "hub cache":
            folder, place = chosen.path.parent.parent, "hub cache"
        case "ours":
            folder, place = chosen.path, "ours"
        case "LM Studio":
            folder, place = chosen.path, "LM Studio"
    return _checked(Removal(chosen.name, folder, place, disk_bytes(folder)))


def remove(removal: Removal) -> None:
    """Removes what ``find_removal`` found.

    Raises:
        OutputError: It is being written, or cannot be removed.
        UsageError: A link has taken its place meanwhile.
    """
    _checked(removal)
    _refuse_running(removal.path)
    try:
        if removal.place == "hub cache":
            _remove_cached(removal)
        if removal.path.exists():
            shutil.rmtree(removal.path)
    except OSError as error:
        raise OutputError(
            f"{removal.path} could not be removed: {error.strerror or error}.",
            "Check its permissions; what is left of it is no model any more.",
        ) from error


def _checked(removal: Removal) -> Removal:
    """``removal`` itself, if its folder really lies in its place."""
    roots = {
        "ours": (models_folder(),),
        "hub cache": (hub_cache(),),
        "LM Studio": lm_studio_folders(),
    }[removal.place]
    path = removal.path
    for root in roots:
        if path != root and path.is_relative_to(root):
            inside = path.relative_to(root)
            if ".." not in inside.parts and path.resolve() == root.resolve() / inside:
                return removal
    raise UsageError(
        f"{path} leads by a link to {path.resolve()}, outside the folder of models.",
        "Remove the link, or what it leads to, by your own means.",
    )


def _refuse_running(path: Path) -> None:
    try:
        descriptor = os.open(path / MARKER, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{path} is being written by a quantisation.", "Stop that first, or wait."
        ) from error
    finally:
        os.close(descriptor)


def _remove_cached(removal: Removal) -> None:
    """Lets the hub's own library take the repository out of its cache, whatever its layout."""
    import huggingface_hub

    client: Any = huggingface_hub  # its functions have no complete types
    cache = client.scan_cache_dir(hub_cache())
    for repository in cache.repos:
        if Path(repository.repo_path) == removal.path or repository.repo_path == (
            removal.path.resolve()
        ):
            revisions = [revision.commit_hash for revision in repository.revisions]
            if revisions:
                cache.delete_revisions(*revisions).execute()
