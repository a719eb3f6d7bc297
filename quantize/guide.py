"""What rounding is guided by, as a recipe wants it: calibration, then refinement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from .calibrate import calibrate
from .guidance import NO_GUIDANCE, Guidance
from .layerwise import Layerwise
from .plan import Plan
from .progress import Report
from .refine import refine
from .scores import Entry, Scores, key_of
from .supply import Supply
from .texts import calibration_text, read_text, token_rows

# Learning sees each row several times, so it takes fewer than calibration.
_TOKENS, _LENGTH = 16_384, 512


def guide(
    supply: Supply, plan: Plan, *, text: Path | None = None, progress: Report | None = None
) -> Guidance:
    """What the recipe of ``plan`` wants to know of a source that is all here; maybe nothing.

    Both kinds keep what they found, layer by layer, so that an interrupted run does not begin anew.

    Args:
        text: A file in place of the built-in mix.

    Raises:
        UsageError: ``text`` cannot be used.
        MlxqwenError: As ``calibrate`` and ``refine``.
    """
    recipe = plan.recipe
    guidance = NO_GUIDANCE
    if recipe.calibrated:
        guidance = calibrate(supply, text=text, progress=progress).guidance()
    if recipe.refined:
        documents = calibration_text() if text is None else read_text(text)
        tokenizer = Layerwise.open(supply.directory).tokenizer
        guidance = refine(
            supply.directory,
            plan,
            guidance,
            tokens=token_rows(tokenizer, documents, _LENGTH, _TOKENS),
            identity=supply.identity,
            cache=_Kept(Scores()),
            progress=progress,
        )
    return guidance


@dataclass(frozen=True, slots=True)
class _Kept:
    """Scores, as refinement keeps its layers in them."""

    scores: Scores

    def load(self, key: str) -> Mapping[str, mx.array] | None:
        entry = self.scores.read(key_of("refinement", {"layer": key}))
        return None if entry is None else entry.arrays

    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None:
        self.scores.write(key_of("refinement", {"layer": key}), Entry(arrays, {}))
