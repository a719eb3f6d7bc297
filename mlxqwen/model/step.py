"""What every layer needs to know of the piece of text it is handed."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass over L new tokens.

    Attributes:
        offset: Tokens that the cache has read before, padding included; also the rotary position
            of the first new token, for turned queries and keys depend on distances alone. An
            array (1,) in a compiled step, which must not be traced anew for every token.
        mask: Attention mask as ``mx.fast.scaled_dot_product_attention`` takes it.
        real: ``(B, L, 1)``, false at padding; None where there is none.
    """

    offset: int | mx.array
    mask: mx.array | str | None
    real: mx.array | None

    @property
    def position(self) -> mx.array:
        """``offset`` as an array (1,) int32."""
        return self.offset if isinstance(self.offset, mx.array) else mx.array([self.offset])

    @classmethod
    def over(cls, length: int, offset: int, padding: mx.array | None) -> Step:
        """``length`` new tokens after ``offset``, rows beginning with ``padding`` (B,) tokens."""
        if padding is None:
            return cls(offset, None if length == 1 else "causal", None)
        query = mx.arange(offset, offset + length)
        real = query[None, :, None] >= padding[:, None, None]  # (B, L, 1)
        return cls(offset, _padded_mask(query, offset + length, padding), real)

    @classmethod
    def compiled(cls, offset: mx.array, capacity: int) -> Step:
        """One new token at ``offset`` (1,), over a cache read to its full ``capacity``."""
        return cls(offset, (mx.arange(capacity) <= offset)[None, None, None], None)


def _padded_mask(query: mx.array, end: int, padding: mx.array) -> mx.array:
    """Who may see whom, ``(B, 1, L, T)`` booleans.

    A padding token sees itself: a row that sees nothing would turn into NaN, and spread.
    """
    key = mx.arange(end)[None, :]  # (1, T)
    query = query[:, None]  # (L, 1)
    real = key >= padding[:, None, None]  # (B, 1, T)
    return ((key <= query) & (real | (key == query)))[:, None]
