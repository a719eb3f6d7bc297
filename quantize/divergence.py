"""How far one model's predictions are from another's: pure mathematics of two arrays of logits.

The measure is the Kullback–Leibler divergence KL(P‖Q) = Σ p (log p − log q) in nats, P being the
source: how many nats a coder that believes the quantised model wastes per token on text that the
source would write. It is 0 where both agree and looks at every word that could have come, not only
at the one that came, so it tells models apart on far fewer tokens than perplexity does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import mlx.core as mx

# Numbers of a chunk of logits, of each model: 32 MiB in float32, and a few times that in between.
CHUNK_NUMBERS = 8 << 20

# Below this distance of two log-probabilities the series is as exact as float32 can be.
_SERIES = 0.1

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class PerToken:
    """What is known of each position, all ``(N,)`` float32.

    Attributes:
        kl: KL(source‖quantised) in nats, never negative.
        source_nll: −log p of the token that came, in nats.
        nll: The same by the quantised model.
        agrees: 1 where both find the same token most likely.
    """

    kl: mx.array
    source_nll: mx.array
    nll: mx.array
    agrees: mx.array


def compare(source: mx.array, quantised: mx.array, targets: mx.array) -> PerToken:
    """Compares logits ``(N, V)`` of any floating dtype; ``targets`` (N,) are the tokens that came.

    KL is summed as Σ (q − p + p (log p − log q)), which is the same since both sum to one, but has
    no negative term, and in which an error of a log-normaliser cancels to first order: summing
    p (log p − log q) itself would drown the KL of an 8-bit model in rounding.
    """
    source, quantised = source.astype(mx.float32), quantised.astype(mx.float32)
    log_p, log_q = log_softmax(source), log_softmax(quantised)  # (N, V)
    p, q, apart = mx.exp(log_p), mx.exp(log_q), log_p - log_q
    # e^(-t) - 1 + t
    series = apart * apart * (1 / 2 - apart * (1 / 6 - apart * (1 / 24 - apart / 120)))
    terms = mx.where(mx.abs(apart) < _SERIES, p * series, q - p + p * apart)
    came = targets[:, None].astype(mx.int32)
    return PerToken(
        kl=_total(mx.maximum(terms, 0)),
        source_nll=-mx.take_along_axis(log_p, came, axis=-1)[:, 0],
        nll=-mx.take_along_axis(log_q, came, axis=-1)[:, 0],
        agrees=(source.argmax(axis=-1) == quantised.argmax(axis=-1)).astype(mx.float32),
    )


def log_softmax(logits: mx.array) -> mx.array:
    """``(N, V) -> (N, V)``, float32, exact to rounding for any V."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - mx.log(_total(mx.exp(shifted)))[:, None]


def _total(terms: mx.array) -> mx.array:
    """The sum of each row, ``(N, V) -> (N,)``, by way of short blocks.

    MLX adds numbers one after the other on the CPU, also in ``logsumexp``: over Qwen's 151,936
    words that loses 2·10⁻⁴ nats.
    """
    count, width = terms.shape
    whole = width - width % _BLOCK
    blocks = terms[:, :whole].reshape(count, -1, _BLOCK).sum(axis=-1)  # (N, V / block)
    return blocks.sum(axis=-1) + terms[:, whole:].sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Mean:
    """An average over tokens and its standard error, NaN where one sequence tells none."""

    value: float
    error: float

    def to_json(self) -> dict[str, float | None]:
        """What is not finite becomes None: JSON has no words for it."""
        return {k: v if math.isfinite(v) else None for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of tokens by KL: ``counts[i]`` lie in ``[edges[i], edges[i + 1])``.

    The edges are evenly spaced in the logarithm; the outermost bins take what lies beyond.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The comparison of two models over many tokens. KL in nats per token.

    Attributes:
        perplexity: e^(mean NLL) of the quantised model.
        perplexity_ratio: The same divided by the source's; its error is that of the paired
            difference, much smaller than that of either.
        top1: Share of positions at which both find the same token most likely.
    """

    tokens: int
    kl: Mean
    kl_median: float
    kl_p90: float
    kl_p99: float
    kl_max: float
    top1: Mean
    source_perplexity: Mean
    perplexity: Mean
    perplexity_ratio: Mean
    histogram: Histogram

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, the percentiles beside the mean of KL."""
        return {
            "tokens": self.tokens,
            "kl": {
                **self.kl.to_json(),
                "median": self.kl_median,
                "p90": self.kl_p90,
                "p99": self.kl_p99,
                "max": self.kl_max,
            },
            "top1": self.top1.to_json(),
            "source_perplexity": self.source_perplexity.to_json(),
            "perplexity": self.perplexity.to_json(),
            "perplexity_ratio": self.perplexity_ratio.to_json(),
            "histogram": asdict(self.histogram),
        }


class Comparison:
    """Collects ``compare`` over many chunks: 28 bytes a token, whatever the vocabulary.

    Tokens of one sequence depend on each other, so standard errors are those of the means of
    sequences; chunks come in the order of the text, ``length`` positions a sequence.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._kl, self._source, self._nll = array("d"), array("d"), array("d")
        self._agrees = array("f")

    def __len__(self) -> int:
        return len(self._kl)

    def add(self, source: mx.array, quantised: mx.array, targets: mx.array) -> None:
        """Adds positions; arguments as ``compare``."""
        self.extend(compare(source, quantised, targets))

    def extend(self, part: PerToken) -> None:
        """Adds what ``compare`` found."""
        mx.eval(part.kl, part.source_nll, part.nll, part.agrees)
        self._kl.extend(_floats(part.kl))
        self._source.extend(_floats(part.source_nll))
        self._nll.extend(_floats(part.nll))
        self._agrees.extend(_floats(part.agrees))

    def add_hidden(
        self,
        source: Callable[[mx.array], mx.array],
        quantised: Callable[[mx.array], mx.array],
        hidden: tuple[mx.array, mx.array],
        targets: mx.array,
    ) -> None:
        """Adds positions of two models' heads on their hidden states ``(N, D)``, chunk by chunk.

        Logits never exist for more positions than ``CHUNK_NUMBERS`` allows; ``targets`` (N,).
        """
        count, start, rows = targets.shape[0], 0, 1
        while start < count:
            part = slice(start, start + rows)
            logits = source(hidden[0][part]), quantised(hidden[1][part])
            self.add(*logits, targets[part])
            start += rows
            rows = max(1, CHUNK_NUMBERS // logits[0].shape[-1])

    def result(self) -> Divergence:
        """What all tokens say together; at least one must have been added."""
        ordered = sorted(self._kl)
        kl, source, nll = (self._mean(v) for v in (self._kl, self._source, self._nll))
        ratio = self._mean(
            array("d", (a - b for a, b in zip(self._nll, self._source, strict=True)))
        )
        return Divergence(
            tokens=len(ordered),
            kl=kl,
            kl_median=quantile(ordered, 0.5),
            kl_p90=quantile(ordered, 0.9),
            kl_p99=quantile(ordered, 0.99),
            kl_max=ordered[-1],
            top1=self._mean(self._agrees),
            source_perplexity=_exp(source),
            perplexity=_exp(nll),
            perplexity_ratio=_exp(ratio),
            histogram=histogram(ordered),
        )

    def _mean(self, values: Sequence[float]) -> Mean:
        """Over all tokens, with the error that the spread of the sequences' means gives."""
        mean = math.fsum(values) / len(values)
        starts = range(0, len(values), self._length)
        groups = [values[start : start + self._length] for start in starts]
        if len(groups) < 2:
            return Mean(mean, math.nan)
        # Deviations weighed by size, since the last sequence may be shorter.
        squared = math.fsum((math.fsum(g) - mean * len(g)) ** 2 for g in groups)
        count = len(groups)
        return Mean(mean, math.sqrt(squared * count / (count - 1)) / len(values))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ordered numbers lie, interpolated between two."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def histogram(values: Sequence[float], first: int = -8, last: int = 1, per: int = 4) -> Histogram:
    """Counts from 10^first to 10^last, ``per`` bins a decade."""
    steps = (last - first) * per
    edges = tuple(10 ** (first + step / per) for step in range(steps + 1))
    counts = [0] * steps
    for value in values:
        place = math.floor((math.log10(value) - first) * per) if value > 0 else 0
        counts[min(max(place, 0), steps - 1)] += 1
    return Histogram(edges, tuple(counts))


def _floats(values: mx.array) -> list[float]:
    return cast("list[float]", values.tolist())


def _exp(mean: Mean) -> Mean:
    """Of the mean's exponential, the error to first order; infinite where it leaves floats."""
    value = math.exp(mean.value) if mean.value < 700 else math.inf
    return Mean(value, value * mean.error)
