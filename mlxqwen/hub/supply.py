"""A checkpoint on the hub as a source whose shards arrive one by one.

The revision is pinned to a commit before anything else, and what was learned of it (the files, the
headers) is kept beside, so that a later run goes on with the same commit although the branch has
moved, and needs no shard again that it has freed. It satisfies ``quantize.supply.Supply``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, cast

from ..checkpoint.directory import Directory
from ..checkpoint.safetensors import sync
from ..errors import HubError, ModelNotFound
from .catalogue import find
from .client import Hub, HubFile, Listing, Patience, Waiting
from .library import unknown_name
from .remote import assemble, companions_of, fetch_all, header_texts, weights_of
from .transfer import (
    CachePlace,
    FolderPlace,
    Place,
    bytes_here,
    fetch,
    is_here,
    unwritable,
    verify,
)

_NOTES = "hub.json"
_FORMAT = 1


def source_id(name: str) -> str:
    """The repository of original weights that ``name`` means: a hub id is itself.

    Raises:
        ModelNotFound: ``name`` is neither an alias nor a hub id.
    """
    known = find(name)
    if "/" in name and name.count("/") == 1:
        return name
    if known is None:
        raise ModelNotFound(*unknown_name(name))
    return known.hub_id


class HubSupply:
    """A hub model at one commit, its headers read; made by ``open``.

    Attributes:
        directory: Companions are here; a tensor's path is where its shard lies once fetched.
        name: The hub id.
        revision: The commit.
        identity: A digest of the commit and of the hashes of all files.
        discards: Whether ``release`` removes a shard.
    """

    def __init__(
        self,
        hub: Hub,
        listing: Listing,
        directory: Directory,
        shards: Mapping[Path, tuple[HubFile, Place]],
        *,
        discards: bool,
    ) -> None:
        self.directory = directory
        self.name = listing.name
        self.revision = listing.commit
        self.identity = _identity(listing)
        self.discards = discards
        self._hub = hub
        self._shards = shards
        self._checked: set[Path] = set()

    @classmethod
    def open(
        cls,
        name: str,
        *,
        revision: str | None = None,
        discard: Path | None = None,
        keep: Path | None = None,
        small: Path | None = None,
        token: str | None = None,
        patience: Patience | None = None,
        waiting: Waiting | None = None,
        stop: threading.Event | None = None,
    ) -> Self:
        """Pins the commit, fetches the small files and reads all headers.

        Args:
            name: A hub id, or an alias (its original weights are meant).
            revision: A branch, tag or commit; by default the main branch, or what ``keep`` holds.
            discard: A folder of the caller's for the files; shards leave it on ``release``. By
                default the hub's cache, from which nothing is removed.
            keep: A folder for what was learned; by default ``discard``.
            small: A folder for the small files, in place of where the shards go: with it, a look
                at a model leaves nothing in the hub's cache.
            token: In place of the one that ``hf auth login`` keeps.
            waiting: Called with a reason and seconds before each wait for the hub.
            stop: Once set, whatever runs ends with ``Stopped``.

        Raises:
            HubError: The hub is unreachable, refuses, or has no such model in safetensors.
            ModelNotFound: ``name`` is no alias and no hub id.
            CheckpointError: The checkpoint on the hub is not complete, or damaged.
            OutputError: The small files cannot be written.
        """
        hub = Hub(source_id(name), token=token, patience=patience, waiting=waiting, stop=stop)
        keep = keep or discard
        notes = None if keep is None else _recall(keep / _NOTES, hub.name, revision)
        listing = hub.listing(revision) if notes is None else notes.listing
        files = weights_of(listing)
        cache = CachePlace(hub.name, listing.commit)
        ours = None if discard is None else FolderPlace(discard / listing.commit)
        home = ours or cache if small is None else FolderPlace(small / listing.commit)
        fetch_all(hub, listing, companions_of(listing), home)
        texts = header_texts(hub, listing, files, {} if notes is None else notes.headers)
        if keep is not None and notes is None:
            _remember(keep / _NOTES, revision, listing, texts)
        # A shard that another program has brought into the cache is read there, and left there.
        places: dict[str, Place] = {
            file.name: cache if ours is None or is_here(cache, file) else ours for file in files
        }
        paths = {file.name: places[file.name].path(file) for file in files}
        directory = assemble(home.folder, files, texts, paths)
        by_path = {paths[file.name]: (file, places[file.name]) for file in files}
        shards = {shard: by_path[shard] for shard in directory.shards}
        return cls(hub, listing, directory, shards, discards=discard is not None)

    @property
    def nbytes(self) -> Mapping[Path, int]:
        """Bytes still to be fetched, by shard path; complete shards are left out."""
        left = {
            path: file.size - bytes_here(place, file)
            for path, (file, place) in self._shards.items()
            if not is_here(place, file)
        }
        return {path: max(size, 0) for path, size in left.items()}

    def fetched(self, shard: Path) -> int:
        """Bytes of ``shard`` that are here now; may be asked while ``fetch`` runs."""
        file, place = self._shards[shard]
        return bytes_here(place, file)

    def fetch(self, shard: Path) -> None:
        """Returns when ``shard`` lies complete at its path, its hash compared with the hub's.

        Raises:
            HubError: It could not be fetched, or is not what the hub announced.
            OutputError: The disk is full, or another process is fetching it.
        """
        file, place = self._shards[shard]
        if not is_here(place, file):
            fetch(self._hub, self.revision, file, place)
        elif shard not in self._checked and isinstance(place, CachePlace):
            # Another program brought it, and these look at its size only.
            try:
                verify(shard, file, f"{self.name}/{file.name}")
            except OSError as error:
                raise HubError(
                    f"{shard} cannot be read: {error.strerror}.", "Check its permissions."
                ) from error
        self._checked.add(shard)

    def release(self, shard: Path) -> None:
        """Removes ``shard`` where it lies in our own folder; leaves everything else alone."""
        file, place = self._shards[shard]
        if self.discards and isinstance(place, FolderPlace):
            place.path(file).unlink(missing_ok=True)
            self._checked.discard(shard)


@dataclass(frozen=True, slots=True)
class _Notes:
    """What an earlier run learned."""

    listing: Listing
    headers: Mapping[str, str]


def _recall(path: Path, name: str, revision: str | None) -> _Notes | None:
    """What ``path`` says of ``name``; None where it says nothing, or of another revision."""
    try:
        value: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    record = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if record.get("format") != _FORMAT or record.get("name") != name:
        return None
    if revision is not None and revision not in {record["revision"], record["commit"]}:
        return None
    files = tuple(HubFile(**file) for file in record["files"])
    return _Notes(Listing(name, record["commit"], files), record["headers"])


def _remember(
    path: Path, revision: str | None, listing: Listing, headers: Mapping[str, str]
) -> None:
    record = {
        "format": _FORMAT,
        "name": listing.name,
        "revision": revision,
        "commit": listing.commit,
        "files": [asdict(file) for file in listing.files],
        "headers": dict(headers),
    }
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(json.dumps(record).encode())
            file.flush()
            sync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise unwritable(str(path), error) from error


def _identity(listing: Listing) -> str:
    digest = sha256(f"{listing.name} {listing.commit}\n".encode())
    for file in listing.files:
        digest.update(f"{file.name} {file.size} {file.etag}\n".encode())
    return digest.hexdigest()
