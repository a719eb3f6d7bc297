"""A hub of its own for tests: shards are copied from another folder, and go when released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.errors import OutputError


class Remote:
    """Satisfies ``quantize.supply.Supply``: shards of ``origin`` lie in ``folder`` once fetched.

    ``before`` is called with a shard's name in the fetching thread, before it is fetched. What
    happened is in ``fetches`` and ``releases``, and in ``most`` how many shards lay there at once.
    """

    def __init__(
        self,
        origin: Path,
        folder: Path,
        *,
        discards: bool = True,
        before: Callable[[str], None] | None = None,
        identity: str = "identity",
        revision: str = "c0ffee",
    ) -> None:
        found = Directory.open(origin)
        tensors = {
            name: replace(info, path=folder / info.path.name)
            for name, info in found.tensors.items()
        }
        shards = tuple(folder / shard.name for shard in found.shards)
        self.directory = replace(found, tensors=tensors, shards=shards)
        self.name = "Qwen/Remote"
        self.revision = revision
        self.identity = identity
        self.discards = discards
        self.fetches: list[str] = []
        self.releases: list[str] = []
        self.most = 0
        self._origin = origin
        self._folder = folder
        self._before = before
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> Mapping[Path, int]:
        return {
            shard: (self._origin / shard.name).stat().st_size
            for shard in self.directory.shards
            if not shard.exists()
        }

    def fetched(self, shard: Path) -> int:
        return shard.stat().st_size if shard.exists() else 0

    def fetch(self, shard: Path) -> None:
        if shard.exists():
            return
        if self._before is not None:
            self._before(shard.name)
        try:
            self._folder.mkdir(exist_ok=True)
            part = shard.with_suffix(".part")
            part.write_bytes((self._origin / shard.name).read_bytes())
            part.rename(shard)
        except OSError as error:
            raise OutputError(f"{shard}: {error.strerror}.", "Free space.") from error
        with self._lock:
            self.fetches.append(shard.name)
            self.most = max(self.most, sum(s.exists() for s in self.directory.shards))

    def release(self, shard: Path) -> None:
        if self.discards:
            self.releases.append(shard.name)
            try:
                shard.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{shard}: {error.strerror}.", "Try again.") from error
