"""Brings source shards while others are worked on, no more of them than must lie there at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from .supply import Supply

# The shard that is worked on and the next one.
_HELD = 2

_PATIENCE = 0.25


class _Catch:
    """A context that keeps the exception it ends with instead of raising it."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.error = error
        return True


class Feeder:
    """Fetches in a thread of its own; as a context manager it begins no other fetch after.

    Args:
        needs: The shards of each batch, in the order of the batches.
    """

    def __init__(self, supply: Supply, needs: Iterable[Iterable[Path]]) -> None:
        self._supply = supply
        self._uses = Counter(shard for batch in needs for shard in batch)
        shards = supply.directory.shards
        self._order = {s: n for n, s in enumerate(shards) if s in self._uses}
        self._here: set[Path] = set()
        self._wanted: Path | None = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._change = threading.Condition()
        # A daemon: a download must not keep the process alive that the user has told to end.
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def has(self, shards: Iterable[Path]) -> bool:
        """Whether ``wait`` would return at once."""
        with self._change:
            return self._here.issuperset(shards)

    def wait(self, shards: Iterable[Path], waiting: Callable[[Path], None]) -> None:
        """Return when all of ``shards`` are here.

        Args:
            waiting: Called a few times a second with the shard that is waited for.

        Raises:
            HubError: A fetch failed. Or what else the supply raises.
        """
        for shard in sorted(shards, key=self._order.__getitem__):
            while True:
                with self._change:
                    self._wanted = shard
                    self._change.notify_all()
                    if shard not in self._here and self._failure is None:
                        self._change.wait(_PATIENCE)
                    if shard in self._here:
                        break
                    if self._failure is not None:
                        raise self._failure
                waiting(shard)

    def done(self, shards: Iterable[Path]) -> None:
        """A batch that needed ``shards`` is recorded: release those that no other needs."""
        for shard in shards:
            self._uses[shard] -= 1
            if not self._uses[shard]:
                self._supply.release(shard)
                with self._change:
                    self._here.discard(shard)
                    self._change.notify_all()

    def _run(self) -> None:
        """Fetch; whatever ends it is kept, to be raised where it is waited for."""
        with _Catch() as caught:
            self._fetch()
        with self._change:
            self._failure = caught.error
            self._change.notify_all()

    def _fetch(self) -> None:
        for shard in self._order:
            with self._change:
                while not (self._stopped or self._may_fetch(shard)):
                    self._change.wait()
                if self._stopped:
                    return
            self._supply.fetch(shard)
            with self._change:
                self._here.add(shard)
                self._change.notify_all()

    def _may_fetch(self, shard: Path) -> bool:
        if len(self._here) < _HELD:
            return True
        return self._wanted is not None and self._order[shard] <= self._order[self._wanted]
