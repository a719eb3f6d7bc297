"""Runs text through a checkpoint, layer by layer, and notes how strongly every input is driven.

One layer's weights are in memory at a time, with the hidden states of all the text: so any model
can be calibrated that fits on the disk. Results are kept for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.device import computes_in_float32, device
from mlxqwen.errors import CheckpointError

from .guidance import Guidance
from .hidden import Hidden
from .layerwise import EMBEDDING, HEAD, Layerwise
from .moments import Accumulator, Moments
from .progress import Progress, Report
from .recording import Input, recorded
from .scores import Entry, Scores, key_of
from .supply import Folder, Supply
from .texts import Document, calibration_text, read_text, token_rows

# With 128 experts of which 8 are chosen, an expert sees 4,096 rows of the larger number.
TOKENS_CPU, TOKENS_GPU = 16_384, 65_536

ROW_TOKENS = 512
_BATCH_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibration found, by canonical module path.

    Attributes:
        importance: Mean square of each input channel, float32 ``(in,)``, or of each expert's own
            ``(E, in)``. Modules of which nothing is known are not in it.
        usage: Of stacked experts ``(E,)``: see ``Moments``.
        identity: SHA-256 in hex of all that was found.
        tokens: How many were run through the model.
        documents: How many the text has that they were taken from.
    """

    importance: Mapping[str, mx.array]
    usage: Mapping[str, mx.array]
    identity: str
    tokens: int
    documents: int

    def guidance(self) -> Guidance:
        """For the rounding."""
        return Guidance(self.identity, self.importance)


def calibrate(
    source: Path | Directory | Supply,
    *,
    text: Path | None = None,
    tokens: int | None = None,
    progress: Report | None = None,
    scores: Scores | None = None,
) -> Calibration:
    """The importance of every input of every matrix, measured on text or known from before.

    Args:
        source: A checkpoint in any layout; shards of a supply are fetched as they are needed.
        text: The user's own text (see ``read_text``) instead of the built-in mix.
        tokens: How many to run at most; by default what suits the machine.
        progress: Told after every batch of every layer.
        scores: Where results are kept; by default in mlxqwen's data folder.

    Raises:
        CheckpointError: The checkpoint is damaged, or its tokenizer gives ids that it has not.
        UnsupportedModel: An architecture, layout or quantisation that is not read here.
        TokenizerError: There is no tokenizer beside the weights.
        UsageError: ``text`` cannot be used.
        OutputError: No room for hidden states.
    """
    supply = _supply(source)
    if scores is None:
        scores = Scores(say=lambda sentence: _tell(progress, 0, 0, sentence))
    model = Layerwise.open(supply.directory, fetch=supply.fetch)
    documents = calibration_text() if text is None else read_text(text)
    rows = _rows(model, documents, tokens)
    settings = {
        "source": supply.identity,
        "tokens": sha256(memoryview(cast("Any", rows)).cast("B")).hexdigest(),
        "shape": list(rows.shape),
        "device": device().kind,
    }
    key = key_of("calibration", settings)
    entry = scores.read(key)
    if entry is None:
        found = measure(model, rows, progress=progress)
        entry = _entry(found, int(rows.size), len(documents))
        scores.write(key, entry)
    else:
        _tell(progress, 1, 1, "known from an earlier run")
    return _calibration(entry)


def measure(
    model: Layerwise, rows: mx.array, *, progress: Report | None = None
) -> Iterator[Moments]:
    """Runs token rows (N, length) through the model; what each layer found comes after it.

    The token table is in the result only where it is the output matrix as well: then half its
    importance is that of the output's inputs and half is equal, for as a table every channel of a
    token's vector counts alike.
    """
    config = model.config
    count, length = rows.shape
    size = max(1, _BATCH_TOKENS // length)
    batches = [rows[start : start + size] for start in range(0, count, size)]
    total = config.num_hidden_layers * len(batches)
    nbytes = int(rows.size) * config.hidden_size * model.dtype.size
    step = model.step(length)
    experts = 0 if config.moe is None else config.moe.num_experts
    with Hidden(len(batches), nbytes) as hidden:
        _tell(progress, 0, total, f"{rows.size:,} tokens")
        for number, batch in enumerate(batches):
            hidden.write(number, model.embed(batch))
        model.release()
        for index in range(config.num_hidden_layers):
            sums = Accumulator(experts)
            layer = recorded(model.layer(index), index, sums.add)
            for number in range(len(batches)):
                x = layer(hidden.read(number), None, step)
                mx.eval(x, sums.arrays)
                hidden.write(number, x)
                done = index * len(batches) + number + 1
                _tell(progress, done, total, f"layer {index + 1} of {config.num_hidden_layers}")
            del layer
            # What this layer's weights took is room for the next one's, which differ in size.
            mx.clear_cache()
            yield from sums.moments(int(rows.size))
        yield from _output(model, hidden)


def _output(model: Layerwise, hidden: Hidden) -> Iterator[Moments]:
    tied = model.config.tie_word_embeddings
    sums, norm = Accumulator(0), model.norm()
    for number in range(len(hidden)):
        x = norm(hidden.read(number))
        sums.add(Input((EMBEDDING if tied else HEAD,), x.reshape(-1, x.shape[-1])))
        mx.eval(sums.arrays)
    for moments in sums.moments(0):
        importance = moments.importance
        yield replace(moments, importance=(importance + importance.mean()) / 2) if tied else moments


def _supply(source: Path | Directory | Supply) -> Supply:
    if isinstance(source, Directory):
        source = source.path
    return Folder.open(source) if isinstance(source, Path) else source


def _rows(model: Layerwise, documents: Sequence[Document], tokens: int | None) -> mx.array:
    """Token rows that the model can read."""
    if tokens is None:
        tokens = TOKENS_CPU if computes_in_float32() else TOKENS_GPU
    length = max(2, min(ROW_TOKENS, tokens, model.config.max_position_embeddings))
    rows = token_rows(model.tokenizer, documents, length, tokens)
    largest, vocabulary = int(cast("int", rows.max().item())), model.config.vocab_size
    if largest >= vocabulary:
        raise CheckpointError(
            f"The tokenizer in {model.directory.path} gives the id {largest}, but the model has "
            f"{vocabulary} tokens.",
            "Tokenizer and weights belong to different models; download both again.",
        )
    return rows


def _tell(progress: Report | None, done: int, total: int, message: str) -> None:
    if progress is not None:
        progress(Progress.of("calibrate", done, total, message))


def _entry(found: Iterator[Moments], tokens: int, documents: int) -> Entry:
    """As it is kept: an input that several matrices read once."""
    arrays: dict[str, mx.array] = {}
    groups: dict[str, list[str]] = {}
    for number, moments in enumerate(found):
        groups[str(number)] = list(moments.modules)
        arrays[f"{number}.importance"] = moments.importance
        if moments.usage is not None:
            arrays[f"{number}.usage"] = moments.usage
    return Entry(arrays, {"groups": groups, "tokens": tokens, "documents": documents})


def _calibration(entry: Entry) -> Calibration:
    groups = cast("Mapping[str, list[str]]", entry.value["groups"])

    def of(kind: str) -> dict[str, mx.array]:
        return {
            module: entry.arrays[f"{number}.{kind}"]
            for number, modules in groups.items()
            for module in modules
            if f"{number}.{kind}" in entry.arrays
        }

    return Calibration(
        importance=of("importance"),
        usage=of("usage"),
        identity=entry.fingerprint(),
        tokens=entry.value["tokens"],
        documents=entry.value["documents"],
    )
