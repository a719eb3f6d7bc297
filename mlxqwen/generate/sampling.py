"""Logits to token ids, on the device and without a host synchronisation.

With top-k (every Qwen model recommends 20) the vocabulary is never sorted: the k largest of 151,936
logits lie within the k blocks of 128 whose maxima are largest, so one pass of maxima and two small
partitions find them. That takes 0.15 ms on two CPU cores where one partition of the whole
vocabulary takes 2 ms and a sort 27 ms.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import mlx.core as mx

from .options import GREEDY, Sampling

_BLOCK = 128


class Sampler:
    """Chooses the next token; holds what penalties and randomness need to remember.

    Args:
        sampling: Settings; ``None`` fields count as greedy's neutral values.
        vocab_size: V.
        prompt: Token ids before the answer, for the repetition penalty.
    """

    def __init__(self, sampling: Sampling, vocab_size: int, prompt: Sequence[int] = ()) -> None:
        full = sampling.over(GREEDY)
        seed = full.seed if full.seed is not None else secrets.randbits(63)
        self._key = mx.random.key(seed)
        self._presence = full.presence or 0.0
        self._repetition = full.repetition or 1.0
        self._seen: mx.array | None = None
        self._answered: mx.array | None = None
        if self._repetition != 1.0:
            self._seen = _marked(vocab_size, prompt)
        if self._presence != 0.0:
            self._answered = _marked(vocab_size, ())
        self._before = (self._seen, self._answered)
        self._choose = _chooser(full, vocab_size)

    def __call__(self, logits: mx.array) -> mx.array:
        """``(B, V) -> (B,)`` token ids, uint32; lazily, like every operation of MLX."""
        if self._seen is not None:
            divided = mx.where(logits > 0, logits / self._repetition, logits * self._repetition)
            logits = mx.where(self._seen, divided, logits)
        if self._answered is not None:
            logits = mx.where(self._answered, logits - self._presence, logits)
        self._key, key = mx.random.split(self._key)
        tokens = self._choose(logits, key).astype(mx.uint32)
        self._before = (self._seen, self._answered)
        self._remember(tokens)
        return tokens

    @property
    def arrays(self) -> list[mx.array]:
        """Everything that the next choice depends on beside the logits."""
        return [a for a in (self._key, self._seen, self._answered) if a is not None]

    def adopt(self, arrays: Sequence[mx.array]) -> None:
        """Goes on with the arrays that a compiled step made of those in ``arrays``."""
        rest = iter(arrays)
        self._before = (self._seen, self._answered)
        self._key = next(rest)
        self._seen = None if self._seen is None else next(rest)
        self._answered = None if self._answered is None else next(rest)

    def choose_instead(self, tokens: Sequence[int]) -> None:
        """Forgets the last choice: ``tokens`` were said in its place."""
        self._seen, self._answered = self._before
        for token in tokens:
            self._remember(mx.array([token]))

    def _remember(self, tokens: mx.array) -> None:
        if self._seen is not None:
            self._seen = _mark(self._seen, tokens)
        if self._answered is not None:
            self._answered = _mark(self._answered, tokens)


def _marked(vocab_size: int, tokens: Sequence[int]) -> mx.array:
    """``(1, V)`` booleans, true at ``tokens``."""
    marks = mx.zeros((1, vocab_size), mx.bool_)
    if tokens:
        marks[:, mx.array(sorted(set(tokens)))] = True
    return marks


def _mark(marks: mx.array, tokens: mx.array) -> mx.array:
    """``(1 or B, V), (B,) -> (B, V)`` with each row's token set."""
    rows = mx.broadcast_to(marks, (tokens.shape[0], marks.shape[1]))
    return rows | (mx.arange(marks.shape[1]) == tokens[:, None])


def _chooser(sampling: Sampling, vocab_size: int) -> Callable[[mx.array, mx.array], mx.array]:
    temperature = sampling.temperature or 0.0
    top_p = sampling.top_p if sampling.top_p is not None else 1.0
    min_p = sampling.min_p or 0.0
    top_k = min(sampling.top_k or 0, vocab_size)
    if temperature == 0.0:
        return lambda logits, key: mx.argmax(logits, axis=-1)

    def among_top_k(logits: mx.array, key: mx.array) -> mx.array:
        values, indices = largest(logits, top_k)
        scaled = _keep_top_p(values.astype(mx.float32) / temperature, top_p, min_p)
        chosen = mx.random.categorical(scaled, axis=-1, key=key)
        return mx.take_along_axis(indices, chosen[:, None], axis=-1)[:, 0]

    def among_all(logits: mx.array, key: mx.array) -> mx.array:
        scaled = logits.astype(mx.float32) / temperature
        if top_p < 1.0 or min_p > 0.0:
            scaled = mx.where(_nucleus(scaled, top_p, min_p), scaled, -mx.inf)
        return mx.random.categorical(scaled, axis=-1, key=key)

    return among_top_k if top_k else among_all


def largest(logits: mx.array, k: int) -> tuple[mx.array, mx.array]:
    """The k largest of each row, descending: ``(B, V) -> (B, k) values, (B, k) indices``.

    Exact: each of the k largest is in a block whose maximum is at least as large, and at most k
    blocks can have a maximum above the k-th value.
    """
    batch, vocab = logits.shape
    blocks = -(-vocab // _BLOCK)
    if blocks <= 2 * k:
        indices = mx.argsort(-logits, axis=-1)[:, :k]
        return mx.take_along_axis(logits, indices, axis=-1), indices
    padding = blocks * _BLOCK - vocab
    if padding:
        logits = mx.pad(logits, [(0, 0), (0, padding)], constant_values=-mx.inf)
    # (B, V) -> (B, blocks, 128)
    table = logits.reshape(batch, blocks, _BLOCK)
    best = mx.argpartition(-table.max(axis=-1), kth=k - 1, axis=-1)[:, :k]
    rows = mx.take_along_axis(table, best[:, :, None], axis=1).reshape(batch, k * _BLOCK)
    within = mx.argpartition(-rows, kth=k - 1, axis=-1)[:, :k]
    values = mx.take_along_axis(rows, within, axis=-1)
    indices = mx.take_along_axis(best, within // _BLOCK, axis=-1) * _BLOCK + within % _BLOCK
    order = mx.argsort(-values, axis=-1)
    return mx.take_along_axis(values, order, axis=-1), mx.take_along_axis(indices, order, axis=-1)


def _keep_top_p(scaled: mx.array, top_p: float, min_p: float) -> mx.array:
    """Top-p and min-p over rows sorted descending, ``(B, k) -> (B, k)``; dropped become -inf.

    A token stays while the probabilities before it have not reached ``top_p``, so the likeliest
    always stays.
    """
    if top_p >= 1.0 and min_p <= 0.0:
        return scaled
    probabilities = mx.softmax(scaled, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    keep = (before < top_p) & (probabilities >= min_p * probabilities[:, :1])
    # The likeliest stays even where top_p is 0.
    keep = keep | (mx.arange(scaled.shape[-1]) == 0)
    return mx.where(keep, scaled, -mx.inf)


def _nucleus(scaled: mx.array, top_p: float, min_p: float) -> mx.array:
    """Which of a whole vocabulary top-p and min-p keep, ``(B, V) -> (B, V)`` booleans.

    Without a sort: probabilities of 0 or more order like their bit patterns, so 31 halvings find
    the smallest pattern from which on the sum reaches ``top_p``. Ties at the edge all stay.
    """
    probabilities = mx.softmax(scaled, axis=-1)
    keep = probabilities >= min_p * probabilities.max(axis=-1, keepdims=True)
    if top_p >= 1.0:
        return keep
    patterns = probabilities.view(mx.int32)
    low = mx.zeros((scaled.shape[0], 1), mx.int32)
    high = patterns.max(axis=-1, keepdims=True)
    for _ in range(31):
        # Invariant: from `low` on the sum reaches top_p; from above `high` on it does not.
        middle = low + (high - low + 1) // 2
        mass = mx.where(patterns >= middle, probabilities, 0.0).sum(axis=-1, keepdims=True)
        enough = mass >= top_p
        low, high = mx.where(enough, middle, low), mx.where(enough, high, middle - 1)
    return keep & (patterns >= low)
