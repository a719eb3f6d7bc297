"""Makes a model fit: the bits of each matrix chosen so that all of it stays within N bytes.

N = weights + cache at a context + a reserve for what computing takes. Weights and cache are counted
to the byte, with floating numbers of 16 bits as stored. What fits best is predicted from measured
sensitivity (``sensitivity``), solved as a knapsack (``allocate``), and compared with the fixed
recipe by true KL wherever that fits as well: the better one is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.device import computes_in_float32, device
from mlxqwen.engine.memory import readable
from mlxqwen.errors import DoesNotFit, UsageError
from mlxqwen.model.capacity import cache_bytes
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.linear import Stored
from mlxqwen.model.quantspec import QuantSpec

from .allocate import Choice, allocate
from .calibrate import calibrate
from .guidance import NO_GUIDANCE, Guidance
from .layerwise import Layerwise
from .plan import make_plan
from .progress import Progress, Report
from .recipes import Recipe, choose_recipe
from .scores import Entry, Scores, key_of
from .sensitivity import PROBES, STREAMS, Sensitivity, measure
from .sizes import CONTEXT, at_least
from .supply import Folder, Supply
from .texts import calibration_text, read_text, token_rows
from .units import CANDIDATES, Unit, units_of
from .variants import Variant, divergences, rounded

RESERVE = 0.15

# Tokens of the probes, and as many again to compare the finished choice on. All probes are measured
# on the same ones, so few tell them apart; their streams of hidden states lie in memory together.
_TOKENS_CPU, _TOKENS_GPU, _LENGTH = 1024, 2048, 256
_STREAM_BYTES = 512 << 20

# Tokens of the text that rows are taken from, evenly.
_TEXT_TOKENS = 1 << 17

# Bytes of one number of the cache.
_WIDTH = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What matrices of one kind became: ``specs`` with the number of layers that got each."""

    name: str
    specs: tuple[tuple[QuantSpec | None, int], ...]
    parameters: int
    nbytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.nbytes * 8 / self.parameters

    @property
    def words(self) -> str:
        """``4-bit in 20 layers, 5-bit in 8``; groups are named where they are not of 64."""
        parts: list[str] = []
        for spec, count in self.specs:
            name = "unquantised" if spec is None else f"{spec.bits}-bit"
            if spec is not None and spec.group_size != 64:
                name += f" in groups of {spec.group_size}"
            layers = "layers" if count != 1 else "layer"
            parts.append(f"{name} ({count} {layers})" if len(self.specs) > 1 else name)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Fit:
    """A recipe within a budget. All sizes are bytes; ``total`` is the sum of the three above it.

    Attributes:
        recipe: Explicit choices for every matrix.
        weights: Of all tensors in the output.
        cache: Keys, values and states at ``context`` tokens.
        reserve: Kept free, a share of the budget.
        chosen: ``measured`` sensitivity, the fixed recipe ``balanced`` that did better, or
            ``finest``, everything at 8 bits.
        kl: Nats per token on calibration text for each of those that were compared.
        kinds: What each kind of matrix got, in natural order.
    """

    recipe: Recipe
    context: int
    weights: int
    cache: int
    reserve: int
    total: int
    budget: int
    chosen: str
    kl: Mapping[str, float]
    kinds: tuple[Kind, ...]

    def table(self) -> list[tuple[str, str, float, int]]:
        """Rows for people: kind, what it got in words, bits per weight, bytes."""
        return [(k.name, k.words, k.bits_per_weight, k.nbytes) for k in self.kinds]

    def __str__(self) -> str:
        return (
            f"Weights {readable(self.weights)}, cache for {self.context:,} tokens "
            f"{readable(self.cache)}, reserve {readable(self.reserve)}: {readable(self.total)} "
            f"of {readable(self.budget)}."
        )


def fit(
    source: Directory | Supply,
    budget: int,
    *,
    context: int = CONTEXT,
    reserve: float = RESERVE,
    text: Path | None = None,
    tokens: mx.array | None = None,
    guidance: Guidance | None = None,
    scores: Scores | None = None,
    progress: Report | None = None,
) -> Fit:
    """The best recipe of which weights, cache and reserve stay within ``budget`` bytes.

    Args:
        source: A checkpoint of which all files are here.
        context: Tokens that the cache has room for.
        reserve: Share of the budget that is kept free.
        text: The user's own text to measure on; the built-in mix otherwise.
        tokens: Rows (B, L) to measure on, in place of text: every other one is for comparing.
        guidance: The importance of inputs, in place of calibrating.
        scores: Where measurements are kept; by default in mlxqwen's data folder.

    Raises:
        DoesNotFit: The smallest form is larger; the hint says what would fit.
        UsageError: Nonsense for ``context`` or ``reserve``, or ``text`` cannot be used.
        CheckpointError, UnsupportedModel: As ``make_plan``.
    """
    if context < 1 or not 0 <= reserve < 1:
        raise UsageError(f"A context of {context} tokens with a reserve of {reserve:.0%} is none.")
    task = _Task.of(source, budget, context, reserve)
    finest = task.recipe([_finest(unit) for unit in task.units])
    if task.weights(finest) <= task.room:
        return task.done(finest, "finest", {})
    smallest = task.recipe([min(u.candidates, key=u.nbytes) for u in task.units])
    if task.weights(smallest) > task.room:
        raise task.does_not_fit(task.weights(smallest))
    model = Layerwise.open(task.directory)
    scores = Scores() if scores is None else scores
    if guidance is None:
        guidance = calibrate(source, text=text, progress=progress, scores=scores).guidance()
    rows = _rows(model, text) if tokens is None else tokens
    known = _sensitivity(task, model, rows[0::2], guidance, scores, progress)
    recipes = {"measured": task.allocated(known)}
    fixed = replace(choose_recipe(task.config, "balanced"), name="fit")
    if task.weights(fixed) <= task.room:
        recipes["balanced"] = fixed
        recipes["balanced, calibrated"] = replace(fixed, calibrated=True)
    kl: dict[str, float] = {}
    if len(recipes) > 1:
        others = rows[1::2] if rows.shape[0] > 1 else rows
        kl = _compared(task, model, others, recipes, guidance, progress)
    chosen = min(recipes, key=lambda name: kl.get(name, 0.0))
    return task.done(recipes[chosen], chosen, kl)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is asked for. ``room`` is what the budget leaves for weights, ``plain`` the bytes of
    tensors that nobody quantises."""

    source: Directory | Supply
    directory: Directory
    config: ModelConfig
    units: tuple[Unit, ...]
    plain: int
    budget: int
    context: int
    share: float

    @classmethod
    def of(cls, source: Directory | Supply, budget: int, context: int, share: float) -> _Task:
        directory = source if isinstance(source, Directory) else source.directory
        model = Layerwise.open(directory)
        units = units_of(directory, model.layout)
        task = cls(source, directory, model.config, units, 0, budget, context, share)
        first = [unit.candidates[0] for unit in units]
        written = task.weights(task.recipe(first))
        named = sum(unit.nbytes(spec) for unit, spec in zip(units, first, strict=True))
        return replace(task, plain=written - named)

    @property
    def cache(self) -> int:
        return cache_bytes(self.config, self.context, _WIDTH)

    @property
    def reserve(self) -> int:
        return math.ceil(self.budget * self.share)

    @property
    def room(self) -> int:
        return self.budget - self.cache - self.reserve

    def recipe(self, specs: Sequence[QuantSpec | None], *, calibrated: bool = False) -> Recipe:
        """With ``specs`` for the units; the default is what most bytes of them have."""
        modules = {
            m.module: spec for u, spec in zip(self.units, specs, strict=True) for m in u.matrices
        }
        sizes: Counter[QuantSpec] = Counter()
        for unit, spec in zip(self.units, specs, strict=True):
            if spec is not None:
                sizes[spec] += unit.nbytes(spec)
        default = max(sizes, key=lambda s: sizes[s], default=QuantSpec(8, 64))
        return Recipe(
            "fit",
            default,
            modules=modules,
            rounding="searched",
            calibrated=calibrated,
            shrinks_groups=True,
        )

    def weights(self, recipe: Recipe) -> int:
        return make_plan(self.directory, recipe).tensor_bytes

    def allocated(self, known: Sensitivity) -> Recipe:
        choices = [
            [Choice(u.nbytes(s), loss) for s, loss in zip(u.candidates, losses, strict=True)]
            for u, losses in zip(self.units, known.losses(self.units), strict=True)
        ]
        found = allocate(choices, self.room - self.plain)
        specs = [u.candidates[i] for u, i in zip(self.units, found.chosen, strict=True)]
        return self.recipe(specs, calibrated=True)

    def done(self, recipe: Recipe, chosen: str, kl: Mapping[str, float]) -> Fit:
        weights = self.weights(recipe)
        total = weights + self.cache + self.reserve
        assert total <= self.budget, f"{total} bytes chosen for {self.budget}"
        return Fit(
            recipe=recipe,
            context=self.context,
            weights=weights,
            cache=self.cache,
            reserve=self.reserve,
            total=total,
            budget=self.budget,
            chosen=chosen,
            kl=kl,
            kinds=_kinds(self.units, recipe),
        )

    def does_not_fit(self, smallest: int) -> DoesNotFit:
        total = smallest + self.cache + self.reserve
        needed = math.ceil((smallest + self.cache) / (1 - self.share))
        hint = f"It takes --fit {at_least(needed)}"
        longest = self._longest(self.budget - self.reserve - smallest)
        if longest:
            hint += f", or --context {longest}, the longest that fits into this"
        return DoesNotFit(
            f"The smallest form takes {readable(smallest)} of weights; with "
            f"{readable(self.cache)} of cache for {self.context:,} tokens and "
            f"{readable(self.reserve)} of reserve that is {readable(total)}, more than "
            f"{readable(self.budget)}.",
            f"{hint}.",
        )

    def _longest(self, room: int) -> int:
        """Tokens whose cache fits into ``room``, fewer than asked for; 0 where none do."""
        low, high = 0, self.context - 1
        while low < high:
            middle = (low + high + 1) // 2
            fits = cache_bytes(self.config, middle, _WIDTH) <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def _finest(unit: Unit) -> QuantSpec | None:
    return max(unit.candidates, key=unit.nbytes)


def _kinds(units: Sequence[Unit], recipe: Recipe) -> tuple[Kind, ...]:
    specs: dict[str, Counter[QuantSpec | None]] = {}
    sizes: dict[str, list[int]] = {}
    for unit in units:
        chosen = {m.module: recipe.spec(m.module, m.origin.shape[-1]) for m in unit.matrices}
        specs.setdefault(unit.kind, Counter()).update(set(chosen.values()))
        size = sizes.setdefault(unit.kind, [0, 0])
        size[0] += unit.parameters
        size[1] += sum(m.nbytes(chosen[m.module]) for m in unit.matrices)
    return tuple(
        Kind(name, tuple(sorted(counts.items(), key=_by_bits)), *sizes[name])
        for name, counts in specs.items()
    )


def _by_bits(entry: tuple[QuantSpec | None, int]) -> tuple[int, int]:
    spec, _ = entry
    return (16, 0) if spec is None else (spec.bits, -spec.group_size)


def _rows(model: Layerwise, text: Path | None) -> mx.array:
    """Rows from all over the text."""
    documents = calibration_text() if text is None else read_text(text)
    most = _TOKENS_CPU if computes_in_float32() else _TOKENS_GPU
    state = STREAMS * model.config.hidden_size * model.dtype.size
    length = min(_LENGTH, model.config.max_position_embeddings)
    wanted = 2 * max(1, min(most, _STREAM_BYTES // state) // length)
    rows = token_rows(model.tokenizer, documents, length, _TEXT_TOKENS)
    return rows[:: max(1, rows.shape[0] // wanted)][:wanted]


def _sensitivity(
    task: _Task,
    model: Layerwise,
    rows: mx.array,
    guidance: Guidance,
    scores: Scores,
    progress: Report | None,
) -> Sensitivity:
    """Measured, or known from before."""
    source = task.source
    supply = Folder.open(source.path) if isinstance(source, Directory) else source
    settings: dict[str, Any] = {
        "source": supply.identity,
        "tokens": sha256(memoryview(cast("Any", mx.contiguous(rows))).cast("B")).hexdigest(),
        "shape": list(rows.shape),
        "guidance": guidance.identity,
        "candidates": [[s.bits, s.group_size] for s in (*CANDIDATES, *PROBES)],
        "device": device().kind,
    }
    key = key_of("sensitivity", settings)
    entry = scores.read(key)
    if entry is None:
        found = measure(model, task.units, rows, guidance, report=_reporter(progress, "measuring"))
        scores.write(key, Entry({}, found.to_json()))
        return found
    return Sensitivity.from_json(entry.value)


def _compared(
    task: _Task,
    model: Layerwise,
    rows: mx.array,
    recipes: Mapping[str, Recipe],
    guidance: Guidance,
    progress: Report | None,
) -> dict[str, float]:
    """True KL of whole recipes."""
    variants = [
        recipe_variant(task.units, recipe, guidance if recipe.calibrated else NO_GUIDANCE)
        for recipe in recipes.values()
    ]
    kl = divergences(model, rows, variants, _reporter(progress, "comparing"))
    return dict(zip(recipes, kl, strict=True))


def recipe_variant(units: Sequence[Unit], recipe: Recipe, guidance: Guidance) -> Variant:
    """The model as ``recipe`` would write it, of which ``guidance`` gives the importance."""
    chosen = {
        m.module: (m.dtype, recipe.spec(m.module, m.origin.shape[-1]))
        for unit in units
        for m in unit.matrices
    }

    def swap(module: str, matrix: Stored) -> Stored:
        dtype, spec = chosen[module]
        return rounded(matrix, module, spec, dtype, recipe.rounding, guidance)

    return Variant(frozenset(chosen), swap)


def _reporter(progress: Report | None, message: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress.of("fit", done, total, message))

    return report
