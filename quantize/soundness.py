"""Whether what lies in a model's folder works: read strictly, computed with, and written back.

One layer at a time, so that no model is too large to be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from mlxqwen.checkpoint.directory import read_json_object
from mlxqwen.checkpoint.methods import parse_method
from mlxqwen.checkpoint.origins import Packed
from mlxqwen.checkpoint.quantspec import Quantization
from mlxqwen.errors import MlxqwenError, TemplateError, TokenizerError
from mlxqwen.model.linear import arrays_of
from mlxqwen.text.tokenizer import Tokenizer

from .layerwise import Layerwise
from .lockstep import sizes
from .plan import is_matrix, output_name
from .progress import Progress, Report
from .rounding import bounded_cache

_CACHE_BYTES = 256 << 20

AGAIN = "Quantise or download the model again."

_TOKENIZER = "Copy tokenizer.json and tokenizer_config.json from the source."

# Text that every tokenizer must give back, and text that only those with all of Unicode can.
_PLAIN_TEXT = "The quick brown fox, 42 times: def f(x): return x"
_ANY_TEXT = "Perché no? 模型很小。 Ünïcödé 🦊\n\tend"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and the next step."""

    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what} {self.hint}"


@dataclass(slots=True)
class Findings:
    """What a check has found so far, and how many bytes of how many it has read."""

    path: Path
    report: Report | None
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])
    done: int = 0
    total: int = 0

    def problem(self, what: str, hint: str = AGAIN) -> None:
        self.problems.append(Problem(what, hint))

    def caught(self, error: MlxqwenError) -> None:
        self.problem(error.what, error.hint or AGAIN)

    def read(self, nbytes: int, message: str) -> None:
        """``nbytes`` more are done."""
        self.done = min(self.done + nbytes, self.total)
        if self.report is not None:
            self.report(Progress.of("check", self.done, self.total, message))


@dataclass(frozen=True, slots=True)
class Trial:
    """What loading came to: layers that were computed, and stored bits per weight."""

    layers: int = 0
    bits: float | None = None


def try_out(findings: Findings, *, ours: bool) -> Trial:
    """Loads and runs the model, adding to ``findings``; bytes are those of its weights.

    Args:
        ours: Whether we wrote it: then configuration and weights must agree in every word.
    """
    known = bool(findings.problems)
    try:
        _check_twins(findings)
        tokens = _tokens(findings)
        model = Layerwise.open(findings.path)
        _check_strangers(findings, model)
        _check_block(findings, model, ours)
        _check_tokens(findings, model)
        bits = sizes(model)["all"].bits
        usable = [token for token in tokens if token < model.config.vocab_size]
        with bounded_cache(_CACHE_BYTES):
            return Trial(_compute(findings, model, usable or [0]), bits)
    except MlxqwenError as error:
        if known:
            findings.notes.append(f"With its files like that it could not be loaded: {error.what}")
        else:
            findings.caught(error)
        return Trial()


def strangers(path: Path, known: set[str]) -> Iterator[Path]:
    """Files that mlx-lm would load and that are not ``known``: it takes every one of that name."""
    return (file for file in sorted(path.glob("model*.safetensors")) if file.name not in known)


def not_ours(findings: Findings, known: set[str]) -> None:
    """A problem for each of the ``strangers``."""
    for file in strangers(findings.path, known):
        findings.problem(
            f"{file} does not belong to the model, but mlx-lm would load it.", "Remove it."
        )


def _check_twins(findings: Findings) -> None:
    config = read_json_object(findings.path / "config.json")
    block, twin = config.get("quantization"), config.get("quantization_config")
    if isinstance(block, dict) and twin is not None and twin != block:
        findings.problem(
            f"{findings.path / 'config.json'}: quantization and quantization_config differ, so "
            "programs that read one or the other load different models.",
            "Make quantization_config equal to quantization.",
        )


def _tokens(findings: Findings) -> list[int]:
    """Some ids to compute with, from a tokenizer that gives text back as it was."""
    try:
        tokenizer = Tokenizer.from_directory(findings.path)
        template = tokenizer.chat_template
    except (TokenizerError, TemplateError) as error:
        findings.caught(error)
        return list(range(32))
    if template is None:
        findings.notes.append("It has no chat template: it completes text, but cannot chat.")
    plain, anything = tokenizer.encode(_PLAIN_TEXT), tokenizer.encode(_ANY_TEXT)
    if tokenizer.decode(plain).strip() != _PLAIN_TEXT:
        findings.problem(
            f"The tokenizer of {findings.path} does not give back the text that it was given.",
            _TOKENIZER,
        )
    elif tokenizer.decode(anything).strip() != _ANY_TEXT:
        findings.notes.append("Its tokenizer cannot write every character of Unicode.")
    return plain + anything


def _check_strangers(findings: Findings, model: Layerwise) -> None:
    told = {problem.what for problem in findings.problems}
    known = {shard.name for shard in model.directory.shards}
    for file in strangers(findings.path, known):
        if not any(str(file) in what for what in told):
            not_ours(findings, known)
            return


def _check_block(findings: Findings, model: Layerwise, ours: bool) -> None:
    """That the configuration says of every matrix how it is stored, to who infers nothing.

    That it says no more than mlx-lm understands, and that packed weights have the shapes it says,
    was found out when the model was opened.
    """
    method = parse_method(model.directory.config)
    if not isinstance(method, Quantization):
        return
    silent: list[str] = []
    for name, origin in model.layout.origins.items():
        module = output_name(name, model.config).removesuffix(".weight")
        packed = any(isinstance(part, Packed) for part in origin.parts)
        if is_matrix(origin) and not packed and method.of(module) is not None:
            silent.append(module)
    if not silent:
        return
    more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    what = (
        f"{findings.path / 'config.json'} does not say that {silent[0]}{more} is stored "
        "unquantised; mlx-lm finds out by itself, other programs may not."
    )
    if ours:
        findings.problem(what, f'Add "{silent[0]}": false to its quantization block.')
    else:
        findings.notes.append(what)


def _check_tokens(findings: Findings, model: Layerwise) -> None:
    """An id beyond the vocabulary reads memory that is not the table's."""
    config = model.config
    beyond = [token for token in config.eos_token_ids if token >= config.vocab_size]
    if beyond:
        findings.problem(
            f"{findings.path / 'config.json'} ends turns with token {beyond[0]}, beyond its "
            f"vocabulary of {config.vocab_size:,}.",
            "Copy config.json and generation_config.json from the source.",
        )
    try:
        count = model.tokenizer.vocab_size
    except TokenizerError:
        return  # told already
    if count > config.vocab_size:
        findings.problem(
            f"The tokenizer of {findings.path} has {count:,} tokens, the model only "
            f"{config.vocab_size:,}.",
            _TOKENIZER,
        )


def _compute(findings: Findings, model: Layerwise, tokens: list[int]) -> int:
    """A short text through the whole model; the number of layers it went through."""
    stored, layers = sizes(model), model.config.num_hidden_layers
    batch = mx.array(tokens)[None]  # (1, L)
    step = model.step(batch.shape[1])
    table = model.embedding()
    sound = _finite(findings, "embedding", table)
    hidden = table(batch)
    mx.eval(hidden)
    del table
    findings.read(stored["embedding"].nbytes, "embedding")
    for index in range(layers):
        layer = model.layer(index)
        sound &= _finite(findings, f"layer {index}", layer)
        hidden = layer(hidden, None, step)
        mx.eval(hidden)
        # Before the next one is read.
        del layer
        findings.read(stored[str(index)].nbytes, f"layer {index + 1} of {layers}")
    head = model.head()
    sound &= _finite(findings, "head", head)
    if sound and not bool(mx.isfinite(head(hidden)).all()):
        findings.problem(f"{findings.path} computes numbers that are not finite.")
    findings.read(findings.total, "head")
    return layers


def _finite(findings: Findings, part: str, module: object) -> bool:
    floats = (a for a in arrays_of(module) if mx.issubdtype(a.dtype, mx.floating))
    if all(bool(mx.isfinite(array).all()) for array in floats):
        return True
    findings.problem(f"{findings.path}: numbers in its {part} are not finite.")
    return False
