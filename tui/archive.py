"""The conversation store for the interface: its calls run in one thread of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from .store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Archive:
    """A ``Store`` behind one worker thread: ``await archive.call(Store.search, "sky")``."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._store: Store | None = None
        self._opened = asyncio.Event()

    @property
    def path(self) -> Path:
        """The file of the conversations."""
        return self._path

    async def open(self) -> Store:
        """Open the file; the store may be asked for ``read_only`` and ``recovered``.

        Raises ``OutputError`` as ``Store.open`` does.
        """
        try:
            opening = partial(Store.open, self._path, clock=self._clock)
            self._store = await self.background(opening)
        finally:
            self._opened.set()
        return self._store

    @property
    def is_open(self) -> bool:
        """Calls are carried out, and do not wait."""
        return self._store is not None

    @property
    def read_only(self) -> bool:
        """Another process writes the open file."""
        return self._store is not None and self._store.read_only

    async def call(
        self, method: Callable[Concatenate[Store, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one of the store's methods; calls are carried out in the order they were made.

        One that is made before the file is open, as by Enter in the first moment, waits for it.
        Where it cannot be opened, or is closed, the caller is cancelled: the program is ending.
        """
        await self._opened.wait()
        if self._store is None:
            raise asyncio.CancelledError
        return await self.background(partial(method, self._store, *args, **kwargs))

    async def background(self, work: Callable[[], T]) -> T:
        """Run anything else that reads files in the same thread."""
        return await asyncio.wrap_future(self._thread.submit(work))

    async def close(self) -> None:
        """Wait for what was asked, then close the file."""
        store, self._store = self._store, None
        if store:
            await self.background(store.close)
        self._thread.shutdown()
