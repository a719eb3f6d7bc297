"""Two models through the same text side by side, with one layer of each in memory.

Hidden states of all tokens are kept and every layer is read once, so that models far larger than
memory can be compared: 16,384 tokens of width 2,048 are 0.13 GB a model in float32.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from mlxqwen.errors import CheckpointError, UsageError

from .divergence import Comparison, Divergence
from .layerwise import Layerwise
from .progress import Progress, Report
from .rounding import bounded_cache

# Tokens that go through a layer together.
_BATCH_TOKENS = 2048
_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A layer, the embedding before them or the head behind them, in both models.

    Attributes:
        name: "embedding", the layer's number, or "head".
        bits: Stored bits per weight, scales and unquantised tensors included; those of the source.
        nbytes: Stored bytes of the compared model's part.
        error: How far the hidden states behind it are from the source's: |x − y| / |x| of a token,
            averaged over tokens; it includes what earlier parts did. NaN for the head, whose error
            is the divergence.
        cosine: Their cosine, averaged likewise.
    """

    name: str
    bits: float
    source_bits: float
    nbytes: int
    error: float
    cosine: float


def compare_models(
    model: Layerwise, source: Layerwise, rows: mx.array, progress: Report | None = None
) -> tuple[Divergence, tuple[Part, ...]]:
    """How far ``model`` is from ``source`` on token sequences ``rows`` (N, L), L at least 2.

    Raises:
        UsageError: They differ in layers, width or vocabulary.
        CheckpointError: A token lies outside the vocabulary, or one computes numbers that are not
            finite.
    """
    refuse_strangers(model, source)
    vocabulary = source.config.vocab_size
    if int(rows.max()) >= vocabulary:
        raise CheckpointError(
            f"{source.directory.path}: its tokenizer has tokens beyond the {vocabulary:,} that "
            "config.json gives the model.",
            "Tokenizer and weights belong to different models; download both again.",
        )
    with bounded_cache(_CACHE_BYTES):
        return _Pair(model, source, rows, progress).run()


def refuse_strangers(model: Layerwise, source: Layerwise) -> None:
    """Raises UsageError unless both have the layers, width and vocabulary of one model."""
    a, b = model.config, source.config
    for what, own, other in (
        ("layers", a.num_hidden_layers, b.num_hidden_layers),
        ("numbers per token", a.hidden_size, b.hidden_size),
        ("words in the vocabulary", a.vocab_size, b.vocab_size),
    ):
        if own != other:
            raise UsageError(
                f"{model.directory.path} has {own:,} {what} and {source.directory.path} has "
                f"{other:,}: they are not forms of one model.",
                "Name the model that it was quantised from.",
            )


class _Pair:
    """Hidden states of both models, in batches of whole sequences."""

    def __init__(
        self, model: Layerwise, source: Layerwise, rows: mx.array, progress: Report | None
    ) -> None:
        self._model, self._source = model, source
        count, self._length = rows.shape
        size = max(1, _BATCH_TOKENS // self._length)
        self._batches = [rows[start : start + size] for start in range(0, count, size)]
        self._progress = progress
        layers = source.config.num_hidden_layers
        self._done, self._total = 0, 1 + (layers + 1) * len(self._batches)
        self._parts: list[Part] = []

    def run(self) -> tuple[Divergence, tuple[Part, ...]]:
        hidden = [self._embed(self._source), self._embed(self._model)]
        self._report("embedding")
        self._finish("embedding", hidden)
        layers = self._source.config.num_hidden_layers
        step = self._source.step(self._length)
        for index in range(layers):
            message = f"layer {index + 1} of {layers}"
            pair = self._source.layer(index), self._model.layer(index)
            for number in range(len(self._batches)):
                for layer, states in zip(pair, hidden, strict=True):
                    states[number] = layer(states[number], None, step)
                mx.eval([states[number] for states in hidden])
                self._report(message)
            # Before the next two are read.
            del pair
            self._finish(str(index), hidden)
        divergence = self._heads(hidden)
        return divergence, tuple(self._parts)

    def _embed(self, model: Layerwise) -> list[mx.array]:
        hidden = [model.embed(batch) for batch in self._batches]
        mx.eval(hidden)
        model.release()
        return hidden

    def _heads(self, hidden: list[list[mx.array]]) -> Divergence:
        comparison = Comparison(self._length - 1)
        for number, batch in enumerate(self._batches):
            # Position i predicts token i + 1; nothing is known of what follows the last.
            states = [h[number][:, :-1].reshape(-1, h[number].shape[-1]) for h in hidden]
            targets = batch[:, 1:].reshape(-1)
            comparison.add_hidden(
                self._source.logits, self._model.logits, (states[0], states[1]), targets
            )
            self._report("predictions")
        self._source.release()
        self._model.release()
        result = comparison.result()
        if not math.isfinite(result.kl.value):
            raise self._not_finite("head", math.isfinite(result.source_perplexity.value))
        if not self._source.config.tie_word_embeddings:
            self._parts.append(self._part("head", math.nan, math.nan))
        return result

    def _finish(self, name: str, hidden: list[list[mx.array]]) -> None:
        """Notes what a part did."""
        sums = [mx.zeros(3)]
        for x, y in zip(*hidden, strict=True):
            x, y = x.astype(mx.float32), y.astype(mx.float32)
            norms = [mx.linalg.norm(v, axis=-1) for v in (x, y, x - y)]  # each (B, L)
            product = norms[0] * norms[1]
            # Not `> 0`: NaN must come through.
            cosine = mx.where(product == 0, norms[0] == norms[1], (x * y).sum(axis=-1) / product)
            error = mx.where(norms[2] == 0, 0, norms[2] / norms[0])
            sums.append(mx.stack([error.sum(), cosine.sum(), norms[0].sum()]))
        error, cosine, power = cast("list[float]", mx.stack(sums).sum(axis=0).tolist())
        if not math.isfinite(error + cosine):
            raise self._not_finite(name, math.isfinite(power))
        count = sum(batch.size for batch in self._batches)
        self._parts.append(self._part(name, error / count, cosine / count))

    def _part(self, name: str, error: float, cosine: float) -> Part:
        own, other = sizes(self._model)[name], sizes(self._source)[name]
        return Part(name, own.bits, other.bits, own.nbytes, error, cosine)

    def _not_finite(self, name: str, source_is_finite: bool) -> CheckpointError:
        at_fault = self._model if source_is_finite else self._source
        place = name if name in ("embedding", "head") else f"layer {name}"
        return CheckpointError(
            f"{at_fault.directory.path} computes numbers that are not finite in its {place}.",
            "Its weights are damaged: run `mlxqwen verify` on it, or make it again.",
        )

    def _report(self, message: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(Progress.of("check", self._done, self._total, message))


@dataclass(frozen=True, slots=True)
class Size:
    """Stored bytes of ``parameters`` numbers."""

    nbytes: int
    parameters: int

    @property
    def bits(self) -> float:
        return self.nbytes * 8 / self.parameters


def sizes(model: Layerwise) -> dict[str, Size]:
    """By part ("embedding", layer numbers, "head", "norm") and "all", from headers alone."""
    nbytes: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for name, origin in model.layout.origins.items():
        for part in (_part_of(name), "all"):
            nbytes[part] += origin.nbytes
            parameters[part] += math.prod(origin.shape)
    return {part: Size(nbytes[part], parameters[part]) for part in nbytes}


def _part_of(name: str) -> str:
    match name.split("."):
        case ["model", "layers", index, *_]:
            return index
        case ["model", "embed_tokens", *_]:
            return "embedding"
        case ["lm_head", *_]:
            return "head"
        case _:
            return "norm"
