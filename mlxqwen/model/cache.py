"""What a model remembers of the tokens it has read.

One contract for every kind of layer state: ``reserve`` room, let the layers write, ``advance``;
``trim`` tokens off the end; ``snapshot`` and ``restore`` a position; ``nbytes``, ``arrays``.

Keys and values of a layer share one buffer ``(B, 2·Hkv, T, D)``: one write per step, and reading
is two slices that copy nothing. A buffer grows in buckets, one layer after the other, each copy
finished before the next begins, so that growing never holds two generations of all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx

from .capacity import capacity_for

if TYPE_CHECKING:
    from .decoder import Model


class KVCache:
    """Keys and values of one attention layer."""

    def __init__(self, heads: int, head_dim: int, dtype: mx.Dtype) -> None:
        self._heads = heads
        self._head_dim = head_dim
        self._dtype = dtype
        self._buffer: mx.array | None = None

    @property
    def capacity(self) -> int:
        """Tokens the buffer has room for."""
        return 0 if self._buffer is None else self._buffer.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self._buffer is None else self._buffer.nbytes

    @property
    def arrays(self) -> list[mx.array]:
        """The buffer, for evaluation."""
        return [] if self._buffer is None else [self._buffer]

    def reserve(self, batch: int, used: int, tokens: int) -> None:
        """Makes room for ``tokens`` in all, keeping the first ``used``; evaluates the copy."""
        if tokens <= self.capacity:
            return
        shape = (batch, 2 * self._heads, capacity_for(tokens), self._head_dim)
        grown = mx.zeros(shape, self._dtype)
        if self._buffer is not None and used:
            grown[:, :, :used] = self._buffer[:, :, :used]
        self._buffer = None
        mx.eval(grown)
        self._buffer = grown

    def adopt(self, buffer: mx.array) -> None:
        """Goes on with ``buffer``, which a compiled step has written."""
        self._buffer = buffer

    def write(self, kv: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        """Stores ``kv`` (B, 2·Hkv, L, D) at ``offset``; keys and values up to there.

        Returns two views ``(B, Hkv, offset + L, D)``. An ``offset`` (1,) that is an array, as in a
        compiled step for L = 1, writes with one scatter and gives views of the whole capacity: the
        mask hides what lies behind.
        """
        assert self._buffer is not None, "reserve() comes before write()"
        if isinstance(offset, mx.array):
            # Not `buffer[:, :, offset] = kv`, which makes indices for every axis: 4 launches more.
            index = mx.broadcast_to(offset.reshape(1, 1, 1, 1), kv.shape)
            self._buffer = mx.put_along_axis(self._buffer, index, kv, axis=2)
            return self._buffer[:, : self._heads], self._buffer[:, self._heads :]
        end = offset + kv.shape[2]
        self._buffer[:, :, offset:end] = kv
        return (
            self._buffer[:, : self._heads, :end],
            self._buffer[:, self._heads :, :end],
        )


class DeltaState:
    """What a gated delta net remembers: the convolution's last inputs and the recurrent state.

    Both are replaced, never written into, so that a snapshot holds them by reference.

    Attributes:
        convolution: ``(B, K - 1, C)``, or None before the first token.
        recurrent: ``(B, Hv, Dv, Dk)`` float32, or None before the first token.
    """

    def __init__(self) -> None:
        self.convolution: mx.array | None = None
        self.recurrent: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def arrays(self) -> list[mx.array]:
        """Both states, for evaluation."""
        return [a for a in (self.convolution, self.recurrent) if a is not None]

    def adopt(self, convolution: mx.array, recurrent: mx.array) -> None:
        """Goes on with what a compiled step has made."""
        self.convolution, self.recurrent = convolution, recurrent


LayerState = KVCache | DeltaState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A position to come back to, with the state of the layers that cannot be cut back."""

    offset: int
    states: tuple[tuple[mx.array | None, mx.array | None], ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps alive."""
        return sum(a.nbytes for pair in self.states for a in pair if a is not None)


class Cache:
    """State of all layers of one model for one batch of sequences.

    Args:
        layers: One state per layer.
        left_padding: Per row the number of padding tokens at its start, for batches of prompts of
            different length; None where no row has any.
    """

    def __init__(self, layers: Sequence[LayerState], left_padding: Sequence[int] | None) -> None:
        self.layers = tuple(layers)
        self._keyed = [layer for layer in self.layers if isinstance(layer, KVCache)]
        self._recurrent = [layer for layer in self.layers if isinstance(layer, DeltaState)]
        padded = left_padding is not None and any(left_padding)
        self.left_padding = mx.array(list(left_padding)) if left_padding and padded else None
        self._offset = 0

    @property
    def offset(self) -> int:
        """Tokens read so far, padding included."""
        return self._offset

    @property
    def trimmable(self) -> bool:
        """Whether any number of tokens can be forgotten; recurrent layers only go to snapshots."""
        return not self._recurrent

    @property
    def nbytes(self) -> int:
        """Bytes held by all layers."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def arrays(self) -> list[mx.array]:
        """Every array of the state: evaluating these finishes all pending writes."""
        return [array for layer in self.layers for array in layer.arrays]

    @property
    def capacity(self) -> int:
        """Tokens that every attention layer has room for; 0 without any."""
        return min((layer.capacity for layer in self._keyed), default=0)

    def adopt(self, arrays: Sequence[mx.array]) -> None:
        """Goes on with the arrays that a compiled step made of those in ``arrays``."""
        rest = iter(arrays)
        for layer in self.layers:
            if isinstance(layer, KVCache):
                layer.adopt(next(rest))
            else:
                layer.adopt(next(rest), next(rest))

    def reserve(self, batch: int, tokens: int) -> None:
        """Makes room for ``tokens`` more in each of ``batch`` sequences."""
        if self.left_padding is not None and self.left_padding.size != batch:
            raise ValueError(
                f"the cache was made for {self.left_padding.size} sequences, not {batch}"
            )
        for layer in self._keyed:
            layer.reserve(batch, self._offset, self._offset + tokens)

    def advance(self, tokens: int) -> None:
        """Commits ``tokens`` that every layer has written."""
        self._offset += tokens

    def trim(self, tokens: int) -> None:
        """Forgets the last ``tokens``; a cache that is not ``trimmable`` only forgets all."""
        assert 0 <= tokens <= self._offset, (tokens, self._offset)
        kept = self._offset - tokens
        if self._recurrent and tokens:
            assert kept == 0, "recurrent layers go back to snapshots only"
            self.restore(Snapshot(0, ((None, None),) * len(self._recurrent)))
        self._offset = kept

    def snapshot(self) -> Snapshot:
        """This position. Keys and values behind it stay where they are, so they cost nothing."""
        states = tuple((layer.convolution, layer.recurrent) for layer in self._recurrent)
        return Snapshot(self._offset, states)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of this cache. Raises ``ValueError`` if it lies ahead."""
        if snapshot.offset > self._offset:
            raise ValueError(f"snapshot at {snapshot.offset} lies ahead of {self._offset}")
        for layer, (convolution, recurrent) in zip(self._recurrent, snapshot.states, strict=True):
            layer.convolution, layer.recurrent = convolution, recurrent
        self._offset = snapshot.offset


def make_cache(model: Model, left_padding: Sequence[int] | None = None) -> Cache:
    """An empty cache for ``model``.

    Args:
        left_padding: For a batch, the padding tokens at the start of each row.

    Raises:
        ValueError: a number in ``left_padding`` is negative.
    """
    padding = None if left_padding is None else [int(tokens) for tokens in left_padding]
    if padding is not None and any(tokens < 0 for tokens in padding):
        raise ValueError(f"left_padding {padding} has a negative number of tokens")
    config = model.config
    heads, width = config.num_key_value_heads, config.head_dim
    layers = [
        DeltaState() if config.is_linear(layer) else KVCache(heads, width, model.dtype)
        for layer in range(config.num_hidden_layers)
    ]
    return Cache(layers, padding)
