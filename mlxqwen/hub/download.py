"""Fetches a ready model from the hub into its standard cache, where every program finds it.

A survey says beforehand what there is to fetch and whether the disk has room for it. What was
fetched before an interruption is kept and not fetched again.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.directory import INDEX_NAME, Directory
from ..errors import HubError, ModelNotFound, OutputError
from .catalogue import find
from .client import Hub, HubFile, Listing, Patience, Stopped, Waiting, stopped
from .library import is_complete, unknown_name
from .places import hub_cache
from .remote import assemble, companions_of, fetch_all, header_texts, weights_of
from .transfer import CachePlace, FolderPlace, bytes_here, fetch, is_here, unwritable

_WORKERS = 4
_TICK = 0.1  # seconds between reports


@dataclass(frozen=True, slots=True)
class Survey:
    """What fetching a model means on this machine.

    Attributes:
        name: The hub id.
        commit: The commit that is fetched.
        files: All files that belong to the model here.
        folder: The folder where they are found afterwards.
        total: Bytes of all files.
        here: Bytes of them that are on this machine already.
        free: Bytes that the disk has left.
        main: Whether ``commit`` is where the main branch is.
    """

    name: str
    commit: str
    files: tuple[HubFile, ...]
    folder: Path
    total: int
    here: int
    free: int
    main: bool

    @property
    def to_fetch(self) -> int:
        """Bytes that are missing."""
        return self.total - self.here

    @property
    def has_room(self) -> bool:
        """Whether the disk holds what is missing."""
        return self.to_fetch <= self.free


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a pull is: bytes here and in all, files here and in all."""

    done: int
    total: int
    files: int
    of: int


def hub_id(name: str) -> str:
    """What to fetch for ``name``: a hub id is itself, an alias its 4-bit MLX conversion.

    Raises:
        ModelNotFound: ``name`` is neither.
    """
    known = find(name)
    if known is None:
        if name.count("/") != 1:
            raise ModelNotFound(*unknown_name(name))
        return name
    return name if "/" in name else (*known.mlx_ids, known.hub_id)[0]


def survey(
    name: str,
    *,
    revision: str | None = None,
    patience: Patience | None = None,
    waiting: Waiting | None = None,
    stop: threading.Event | None = None,
) -> Survey:
    """Asks the hub what ``name`` consists of, and looks what of it is here.

    Raises:
        HubError: The hub is unreachable, refuses, or has no such model in safetensors.
        ModelNotFound: As ``hub_id``.
    """
    hub = Hub(hub_id(name), patience=patience, waiting=waiting, stop=stop)
    listing = hub.listing(revision)
    files = (*companions_of(listing), *weights_of(listing))
    place = CachePlace(hub.name, listing.commit)
    return Survey(
        name=hub.name,
        commit=listing.commit,
        files=files,
        folder=place.folder,
        total=sum(file.size for file in files),
        here=sum(bytes_here(place, file) for file in files),
        free=_free(hub_cache()),
        main=revision in {None, "main"},
    )


def headers_of(
    found: Survey, *, patience: Patience | None = None, waiting: Waiting | None = None
) -> Directory:
    """The checkpoint that ``found`` describes, to plan with; only headers are fetched.

    Raises:
        HubError: The hub did not send them.
        CheckpointError: The checkpoint is not complete, or not safetensors.
        OutputError: The folder for temporary files cannot be written.
    """
    hub = Hub(found.name, patience=patience, waiting=waiting)
    listing = Listing(found.name, found.commit, found.files)
    weights = weights_of(listing)
    with tempfile.TemporaryDirectory(prefix="mlxqwen-") as folder:
        place = FolderPlace(Path(folder))
        wanted = {"config.json", "generation_config.json", INDEX_NAME}
        fetch_all(hub, listing, (file for file in found.files if file.name in wanted), place)
        texts = header_texts(hub, listing, weights, {})
        paths = {file.name: found.folder / file.name for file in weights}
        return assemble(place.folder, weights, texts, paths)


def pull(
    name: str,
    *,
    found: Survey | None = None,
    revision: str | None = None,
    progress: Callable[[Fetched], None] | None = None,
    patience: Patience | None = None,
    waiting: Waiting | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Fetches the model called ``name`` and returns its folder in the hub cache.

    Args:
        name: An alias or a hub id (``ORG/NAME``).
        found: What ``survey`` said; asked again where it is not given.
        revision: A branch, tag or commit; by default the main branch.
        progress: Called from this thread, at most ten times a second and at the end.
        waiting: Called, from any thread, with a reason and seconds before a wait for the hub.
        stop: Once set, from any thread, the call ends with ``Stopped``; what is here is kept.

    Raises:
        HubError: The hub was unreachable, refused, or sent something else than announced.
        OutputError: The disk has no room, or the cache cannot be written.
        ModelNotFound: As ``hub_id``.
    """
    stop = stop or threading.Event()
    if found is None:
        found = survey(name, revision=revision, patience=patience, waiting=waiting, stop=stop)
    if not found.has_room:
        raise OutputError(
            f"{found.name} needs {found.to_fetch:,} more bytes, but the disk of {hub_cache()} has "
            f"only {found.free:,} left.",
            "Free some space (`mlxqwen models rm`), or let HF_HOME name another disk.",
        )
    halt = threading.Event()  # also when one file of several fails, which is none of the caller's
    hub = Hub(found.name, patience=patience, waiting=waiting, stop=halt)
    place = CachePlace(found.name, found.commit)
    done = {file.name: bytes_here(place, file) for file in found.files}

    def bring(file: HubFile) -> None:
        def advanced(count: int) -> None:
            done[file.name] = count

        fetch(hub, found.commit, file, place, advanced)
        done[file.name] = file.size

    def report() -> None:
        if progress is not None:
            files = sum(is_here(place, file) for file in found.files)
            progress(Fetched(sum(done.values()), found.total, files, len(found.files)))

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        # Small files first: with them the folder says what it is, even when it is not complete.
        running = {pool.submit(bring, file) for file in found.files}
        while running:
            report()
            over, running = wait(running, _TICK, FIRST_EXCEPTION)
            if stop.is_set():
                raise stopped(found.name)
            for task in over:
                task.result()
        report()
    finally:
        halt.set()
        pool.shutdown(wait=False, cancel_futures=True)
    _name_main(place, found)
    if not is_complete(found.folder):
        raise HubError(
            f"{found.name} is here, but its index names files that the hub does not have.",
            "Choose another repository of this model.",
        )
    return found.folder


def _name_main(place: CachePlace, found: Survey) -> None:
    """Lets the cache's main branch mean this commit, now that all of it is here."""
    if not found.main:
        return
    reference = place.repository / "refs" / "main"
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        fresh = reference.with_name(".main.mlxqwen")
        fresh.write_text(found.commit, encoding="utf-8")
        fresh.replace(reference)
    except OSError as error:
        raise unwritable(str(reference), error) from error


def _free(path: Path) -> int:
    """Bytes free where ``path`` is or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


__all__ = ["Fetched", "Stopped", "Survey", "headers_of", "hub_id", "pull", "survey"]
