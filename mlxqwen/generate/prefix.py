"""One timeline of tokens that a cache has read, and how much of a new prompt it already covers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..model.cache import Cache, Snapshot, make_cache
from ..model.decoder import Model
from .decode import prefill

if TYPE_CHECKING:
    from ..model.fused import FusedModel

# Positions of a recurrent model that can be gone back to: the ends of the last few questions.
_MARKS = 4


def shared_prefix(some: Sequence[int], others: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = zip(some, others, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(some), len(others)))


class Timeline:
    """A cache together with the tokens it has read; both change in one step.

    Token lists and caches that are kept apart drift apart when a run is cancelled; here the list is
    always cut to what the cache says it has read.
    """

    def __init__(self, model: Model, fused: FusedModel | None = None) -> None:
        self.model = model
        self.fused = fused
        self.cache: Cache = make_cache(model)
        self.tokens: list[int] = []
        self._marks: deque[Snapshot] = deque(maxlen=_MARKS)

    def rewind_to(self, prompt: Sequence[int]) -> int:
        """Forgets what ``prompt`` does not begin with.

        A cache with recurrent layers cannot be cut anywhere: it goes back to the last ``mark``
        within the common part, or to the beginning.

        Returns:
            How many tokens of ``prompt`` need not be read again; at least one is always left to
            read, because its logits are wanted.
        """
        common = shared_prefix(self.tokens, prompt[:-1])
        if common == self.cache.offset:
            return common
        if self.cache.trimmable:
            self.cache.trim(self.cache.offset - common)
        else:
            common = self._to_mark_within(common)
        del self.tokens[common:]
        return common

    def covers(self, prompt: Sequence[int]) -> int:
        """What ``rewind_to`` would return, without forgetting anything.

        May be called while another thread reads: it is then right for some moment of late.
        """
        offset = self.cache.offset
        common = shared_prefix(self.tokens[:], prompt[:-1])
        if self.cache.trimmable or common == offset:
            return common
        return max((mark.offset for mark in list(self._marks) if mark.offset <= common), default=0)

    def _to_mark_within(self, common: int) -> int:
        while self._marks and self._marks[-1].offset > common:
            self._marks.pop()
        if self._marks:
            self.cache.restore(self._marks[-1])
        else:
            self.cache.trim(self.cache.offset)
        return self.cache.offset

    def commit(self, tokens: Sequence[int]) -> None:
        """Adds tokens that were handed to the cache, as far as it has read them."""
        self.tokens.extend(tokens)
        del self.tokens[self.cache.offset :]
        assert len(self.tokens) == self.cache.offset, (len(self.tokens), self.cache.offset)

    def read_and_mark(
        self,
        tokens: Sequence[int],
        on_progress: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Reads ``tokens`` and marks the position after them, unless stopped before."""
        done = prefill(
            self.model, tokens, self.cache, on_progress=on_progress, should_stop=should_stop
        )
        self.commit(tokens)
        if done:
            self.mark()

    def forget(self) -> None:
        """Begins anew, as after a failure that may have left the cache half-written."""
        self.cache = make_cache(self.model)
        self.tokens = []
        self._marks.clear()

    def mark(self) -> None:
        """Makes this position one that can be gone back to, whatever the model."""
        if not self.cache.trimmable:
            self._marks.append(self.cache.snapshot())
