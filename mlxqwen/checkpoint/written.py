"""Which bytes of a file are written already, tensor by tensor."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping


class Written:
    """Safe to use from any thread.

    Args:
        ranges: First byte and last but one of each tensor in the file, in their order there.
        start: Bytes before the first tensor, which count as written.
    """

    def __init__(self, ranges: Mapping[str, tuple[int, int]], start: int) -> None:
        self._ranges = ranges
        self._start = start
        self._lock = threading.Lock()
        self._done: dict[str, list[tuple[int, int]]] = {name: [] for name in ranges}

    def add(self, name: str, begin: int, end: int) -> None:
        """Bytes ``begin`` to ``end`` of a tensor are written."""
        with self._lock:
            _merge(self._done[name], begin, end)

    def missing(self) -> str | None:
        """The first tensor with unwritten bytes; None where all is written."""
        with self._lock:
            for name, (begin, end) in self._ranges.items():
                if end > begin and self._done[name] != [(0, end - begin)]:
                    return name
        return None

    def prefix(self) -> int:
        """Bytes from the file's beginning up to the first that is not written."""
        position = self._start
        with self._lock:
            for name, (begin, end) in self._ranges.items():
                done = self._done[name]
                if begin == end:
                    continue
                if not done or done[0][0] > 0:
                    break
                position = begin + done[0][1]
                if position < end:
                    break
        return position


def _merge(ranges: list[tuple[int, int]], begin: int, end: int) -> None:
    """Insert [begin, end) into sorted, disjoint ``ranges`` and merge what touches it."""
    first = bisect_left(ranges, begin, key=lambda r: r[1])
    last = first
    while last < len(ranges) and ranges[last][0] <= end:
        begin, end = min(begin, ranges[last][0]), max(end, ranges[last][1])
        last += 1
    ranges[first:last] = [(begin, end)]
