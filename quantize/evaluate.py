"""What quantising cost: a model against its source, on text that calibration never saw.

Both are computed layer by layer in lock-step (``lockstep.py``), so neither needs to fit in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxqwen.errors import TokenizerError, UsageError
from mlxqwen.text.tokenizer import Tokenizer

from .divergence import Divergence, Mean
from .layerwise import Layerwise
from .lockstep import Part, compare_models, refuse_strangers, sizes
from .progress import Report
from .texts import Document, held_out_text, read_text, token_rows

TOKENS, LENGTH = 16_384, 512

BUILT_IN = "the built-in held-out text"

_COMPARED_TOKENS = 4096

# Mean KL in nats below which the words hold, the strictest first. They are a judgement: 8-bit
# models lie around 0.001, good 4-bit ones around 0.02 to 0.05, and 2-bit ones beyond 0.3.
_VERDICTS = (
    (0.002, "practically the same model as"),
    (0.02, "very close to"),
    (0.06, "close to"),
    (0.2, "noticeably different from"),
    (math.inf, "far from"),
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model beside its source.

    Attributes:
        model, against: Folders of the two.
        text: A file, or what the built-in text is called.
        sequences: Pieces of text, of ``length`` tokens each.
        divergence: Of what both predict.
        parts: Embedding, layers and head in order; a tied head is the embedding.
        bits, source_bits: Stored bits per weight of the whole.
        nbytes, source_nbytes: Stored bytes.
    """

    model: str
    against: str
    text: str
    sequences: int
    length: int
    divergence: Divergence
    parts: tuple[Part, ...]
    bits: float
    source_bits: float
    nbytes: int
    source_nbytes: int
    seconds: float

    @property
    def verdict(self) -> str:
        """One sentence in plain words."""
        d = self.divergence
        words = next(words for limit, words in _VERDICTS if d.kl.value < limit)
        size = f"{self.bits:.2f} bits per weight"
        share = percent(self.nbytes / self.source_nbytes, 0)
        return (
            f"At {size} ({share} of the source's bytes) this is {words} its source: both find the "
            f"same next token most likely in {percent(d.top1.value)} of the places, and where the "
            f"source would write it, each token surprises this model by {number(d.kl.value)} nats "
            f"more (perplexity {_change(d.perplexity_ratio.value)})."
        )

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """What to show as a table: name, figure and, in words, what lies around it."""
        d = self.divergence
        spread = (
            f"median {number(d.kl_median)}, 90 % below {number(d.kl_p90)}, "
            f"99 % below {number(d.kl_p99)}, largest {number(d.kl_max)}"
        )
        ratio = f"source {number(d.source_perplexity.value)}, × {_mean(d.perplexity_ratio)}"
        pieces = f"{d.tokens:,} predictions in {self.sequences:,} sequences"
        return (
            ("KL from the source", f"{_mean(d.kl)} nats", spread),
            ("Same first choice", f"{_mean(d.top1, 100)} %", "of the next token"),
            ("Perplexity", number(d.perplexity.value), ratio),
            ("Bits per weight", f"{self.bits:.3f}", f"source {self.source_bits:.3f}"),
            ("Bytes of weights", f"{self.nbytes:,}", f"source {self.source_nbytes:,}"),
            ("Text", self.text, f"{pieces} of {self.length:,} tokens"),
        )

    def layer_rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """Part, error of its hidden states, their cosine, bits per weight."""
        return tuple(
            (part.name, _share(part.error), _cosine(part.cosine), f"{part.bits:.2f}")
            for part in self.parts
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON; what has no value is None."""
        parts = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in plain.items()}
            for plain in map(asdict, self.parts)
        ]
        fields = ("model", "against", "text", "sequences", "length", "bits", "source_bits")
        counts = ("nbytes", "source_nbytes", "seconds")
        values = asdict(self)
        return {
            **{name: values[name] for name in fields + counts},
            **self.divergence.to_json(),
            "parts": parts,
            "verdict": self.verdict,
        }


def evaluate(
    model: Path,
    *,
    against: Path,
    text: Path | None = None,
    tokens: int = TOKENS,
    length: int = LENGTH,
    progress: Report | None = None,
) -> Evaluation:
    """Compares the checkpoint in ``model`` with the one it was made from.

    Either may be in any layout that mlxqwen loads, quantised or not.

    Args:
        text: A file of plain text, Markdown or JSON lines; None for the built-in text, which
            shares no document with the built-in calibration text.
        tokens: How many to read at most, from the text's beginning.
        length: Tokens of a sequence; a shorter text makes one shorter sequence.

    Raises:
        CheckpointError: Files are missing or damaged, or a model computes what is not finite.
        UnsupportedModel: A layout that mlxqwen does not read.
        TokenizerError: Neither has a tokenizer that can be read.
        UsageError: The two are not forms of one model, or the text is too short or unreadable.
    """
    started = time.perf_counter()
    if tokens < 2 or length < 2:
        raise UsageError(
            f"{min(tokens, length)} tokens are too few to predict one from another.",
            "Ask for 2 or more; several thousand give a figure worth having.",
        )
    quantised, source = Layerwise.open(model), Layerwise.open(against)
    refuse_strangers(quantised, source)
    documents = held_out_text() if text is None else read_text(text)
    rows = _rows(quantised, source, documents, tokens, min(length, tokens))
    divergence, parts = compare_models(quantised, source, rows, progress)
    own, other = sizes(quantised)["all"], sizes(source)["all"]
    return Evaluation(
        model=str(model),
        against=str(against),
        text=BUILT_IN if text is None else str(text),
        sequences=rows.shape[0],
        length=rows.shape[1],
        divergence=divergence,
        parts=parts,
        bits=own.bits,
        source_bits=other.bits,
        nbytes=own.nbytes,
        source_nbytes=other.nbytes,
        seconds=time.perf_counter() - started,
    )


def _rows(
    model: Layerwise, source: Layerwise, documents: Sequence[Document], tokens: int, length: int
) -> mx.array:
    """Token sequences ``(N, L)``, after the tokenizers of both were found to agree."""
    found = _tokenizers(model, source)
    # Without chat templates: a newer template is no other tokenizer.
    plain = [
        Document(d.text or "\n".join(m["content"] for m in d.messages)) for d in documents[:64]
    ]
    cut = [token_rows(tokenizer, plain, length, _COMPARED_TOKENS) for tokenizer in found]
    if len(cut) == 2 and not mx.array_equal(cut[0], cut[1]):
        raise UsageError(
            f"The tokenizers of {model.directory.path} and {source.directory.path} cut the same "
            "text into other tokens, so their predictions cannot be compared.",
            "Name the model that it was quantised from.",
        )
    return token_rows(found[0], documents, length, tokens)


def _tokenizers(model: Layerwise, source: Layerwise) -> list[Tokenizer]:
    """Of the two, those that there are.

    Raises:
        TokenizerError: There is none, or one that lies there cannot be read.
    """
    found: list[Tokenizer] = []
    missing: TokenizerError | None = None
    for one in (source, model):
        try:
            found.append(one.tokenizer)
        except TokenizerError as error:
            missing = error
    if not found and missing is not None:
        raise missing
    return found


def number(value: float) -> str:
    """Three significant digits, for people."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if value < 1e-4 or value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def percent(share: float, digits: int = 1) -> str:
    """0.953 as 95.3 %."""
    return f"{100 * share:.{digits}f} %"


def _mean(mean: Mean, scale: float = 1) -> str:
    if math.isnan(mean.error):
        return number(mean.value * scale)
    # As many digits as the error leaves meaningful.
    error = mean.error * scale
    digits = 2 if error <= 0 else min(7, max(0, 1 - math.floor(math.log10(error))))
    return f"{mean.value * scale:,.{digits}f} ± {error:,.{digits}f}"


def _change(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "beyond all bounds"
    return f"{100 * (ratio - 1):+.1f} %"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value, 2)


def _cosine(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5f}"
