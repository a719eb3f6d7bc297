"""One timeline of tokens that a cache has read, and how much of a new prompt it already covers."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.cache import Cache, make_cache
from ..model.decoder import Model


class Timeline:
    """A cache together with the tokens it has read; both change in one step.

    Token lists and caches that are kept apart drift apart when a run is cancelled; here the list is
    always cut to what the cache says it has read.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.cache: Cache = make_cache(model)
        self.tokens: list[int] = []

    def rewind_to(self, prompt: Sequence[int]) -> int:
        """Forgets everything that ``prompt`` does not begin with.

        Returns:
            How many tokens of ``prompt`` need not be read again; at least one is always left to
            read, because its logits are wanted.
        """
        common = 0
        for mine, theirs in zip(self.tokens, prompt[:-1], strict=False):
            if mine != theirs:
                break
            common += 1
        self.cache.trim(self.cache.offset - common)
        del self.tokens[common:]
        return common

    def commit(self, tokens: Sequence[int]) -> None:
        """Adds tokens that were handed to the cache, as far as it has read them."""
        self.tokens.extend(tokens)
        del self.tokens[self.cache.offset :]
        assert len(self.tokens) == self.cache.offset, (len(self.tokens), self.cache.offset)
