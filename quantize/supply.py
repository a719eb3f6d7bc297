"""Where a source's shards come from: a folder has them all, the hub gives them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.errors import CheckpointError


class Supply(Protocol):
    """A source whose headers are known. ``fetch`` and ``release`` are called from other threads.

    Attributes:
        directory: Configuration, companions and headers; a tensor's path is where its shard lies,
            or will lie once fetched.
        name: What the user calls the source: a folder's path or a hub id.
        revision: The hub's commit; "" for a folder.
        identity: A digest that changes when the source does.
        nbytes: Bytes still to be fetched, by shard path; {} where all is here.
        discards: Whether ``release`` frees space, so that only a few shards lie there at once.
    """

    @property
    def directory(self) -> Directory: ...
    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def nbytes(self) -> Mapping[Path, int]: ...
    @property
    def discards(self) -> bool: ...

    def fetch(self, shard: Path) -> None:
        """Returns when ``shard`` lies complete at its path.

        Raises:
            HubError: It could not be fetched, or is not what the hub announced.
        """
        ...

    def fetched(self, shard: Path) -> int:
        """Bytes of ``shard`` that are here now; may be asked while it is being fetched."""
        ...

    def release(self, shard: Path) -> None:
        """``shard`` will not be read again; it may be gone already."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A checkpoint that is here: nothing to fetch, and nothing of it is ever removed."""

    directory: Directory
    identity: str

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Reads configuration and headers.

        Raises:
            CheckpointError: As ``Directory.open``.
        """
        directory = Directory.open(path)
        return cls(directory, _identity(directory))

    @property
    def name(self) -> str:
        return str(self.directory.path)

    @property
    def revision(self) -> str:
        return ""

    @property
    def nbytes(self) -> Mapping[Path, int]:
        return {}

    @property
    def discards(self) -> bool:
        return False

    def fetch(self, shard: Path) -> None:
        if not shard.is_file():
            raise CheckpointError(
                f"{shard} has disappeared.", "Put it back, then run the command again."
            )

    def fetched(self, shard: Path) -> int:
        return shard.stat().st_size

    def release(self, shard: Path) -> None:
        pass


def _identity(directory: Directory) -> str:
    """Of names, sizes, times and all that headers and configuration say; not of the numbers."""
    digest = sha256()
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        path = directory.path / name
        digest.update(path.read_bytes() if path.is_file() else b"\0")
    for shard in directory.shards:
        status = shard.stat()
        digest.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    for name, info in sorted(directory.tensors.items()):
        digest.update(f"{name} {info.dtype} {info.shape} {info.start}\n".encode())
    return digest.hexdigest()
