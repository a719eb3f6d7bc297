"""What rounding is guided by, as a recipe wants it: calibration, refinement, distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlxqwen.device import computes_in_float32, memory_budget
from mlxqwen.engine.memory import readable
from mlxqwen.errors import UsageError
from mlxqwen.model.config import ModelConfig

from .calibrate import calibrate
from .distil import distil, distil_need
from .guidance import NO_GUIDANCE, Guidance
from .layerwise import Layerwise
from .plan import Plan
from .progress import Report
from .refine import refine
from .scores import Entry, Scores, key_of
from .supply import Supply
from .texts import calibration_text, read_text, token_rows

# Learning sees each row several times, forwards and backwards, so it takes fewer than calibration.
_TOKENS_CPU, _TOKENS_GPU, _LENGTH = 8192, 16_384, 512


def guide(
    supply: Supply, plan: Plan, *, text: Path | None = None, progress: Report | None = None
) -> Guidance:
    """What the recipe of ``plan`` wants to know of a source that is all here; maybe nothing.

    Both kinds keep what they found, layer by layer, so that an interrupted run does not begin anew.

    Args:
        text: A file in place of the built-in mix.

    Raises:
        UsageError: ``text`` cannot be used, or is too short to learn from.
        MlxqwenError: As ``calibrate`` and ``refine``.
    """
    recipe = plan.recipe
    guidance = NO_GUIDANCE
    # Before hours of calibration: whether there is text enough to learn from.
    tokens = _tokens(supply, text) if recipe.refined else None
    if recipe.calibrated:
        guidance = calibrate(supply, text=text, progress=progress).guidance()
    if tokens is not None:
        config = ModelConfig.parse(supply.directory.config)
        stages = (refine, distil) if distillation(plan, config).fits else (refine,)
        for stage in stages:
            guidance = stage(
                supply.directory,
                plan,
                guidance,
                tokens=tokens,
                identity=supply.identity,
                cache=_Kept(Scores()),
                progress=progress,
            )
    return guidance


def _tokens(supply: Supply, text: Path | None) -> mx.array:
    """Rows (N, L) to learn from; at least two, for one of them is kept aside to judge by."""
    documents = calibration_text() if text is None else read_text(text)
    limit = _TOKENS_CPU if computes_in_float32() else _TOKENS_GPU
    tokenizer = Layerwise.open(supply.directory).tokenizer
    tokens = token_rows(tokenizer, documents, _LENGTH, limit)
    if tokens.shape[0] < 2:
        raise UsageError(
            f"{text} has {tokens.size:,} tokens or a few more, too few to learn scales from.",
            f"Give a text of {2 * _LENGTH:,} tokens at least, or leave --calibration out.",
        )
    return tokens


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the whole model is refined at once after its layers one by one; bytes."""

    need: int
    budget: int

    @property
    def fits(self) -> bool:
        return self.need <= self.budget

    def __str__(self) -> str:
        if self.fits:
            return (
                "Scales are refined layer by layer, then all at once, which takes "
                f"{readable(self.need)} of memory."
            )
        return (
            "Scales are refined layer by layer only: all at once would take "
            f"{readable(self.need)} of memory, more than the {readable(self.budget)} that this "
            "machine gives."
        )


def distillation(plan: Plan, config: ModelConfig) -> Decision:
    """Decided from headers alone, so that it can be said before any work."""
    return Decision(distil_need(plan, config), memory_budget())


@dataclass(frozen=True, slots=True)
class _Kept:
    """Scores, as refinement keeps its layers in them."""

    scores: Scores

    def load(self, key: str) -> Mapping[str, mx.array] | None:
        entry = self.scores.read(key_of("refinement", {"layer": key}))
        return None if entry is None else entry.arrays

    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None:
        self.scores.write(key_of("refinement", {"layer": key}), Entry(arrays, {}))
