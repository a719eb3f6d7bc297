"""What rounding is guided by, as a recipe wants it: calibration, then refinement layer by layer.

Distilling the whole model's scales afterwards, as mlx-lm's DWQ does with some two million tokens,
was tried with the tokens that a laptop takes in minutes: on held-out text it never won (KL of a
trained mixture 0.00224 beside 0.00222 without, and 0.00258 alone), so it is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlxqwen.errors import UsageError

from .calibrate import calibrate
from .guidance import NO_GUIDANCE, Guidance
from .layerwise import Layerwise
from .plan import Plan
from .progress import Report
from .refine import refine
from .scores import Entry, Scores, key_of
from .supply import Supply
from .texts import calibration_text, read_text, token_rows

# What refinement was measured with: KL falls by a further 28 to 36 % on trained models of 5 M.
_TOKENS, _LENGTH = 16_384, 512


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
        guidance = refine(
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
    tokenizer = Layerwise.open(supply.directory).tokenizer
    tokens = token_rows(tokenizer, documents, _LENGTH, _TOKENS)
    if tokens.shape[0] < 2:
        raise UsageError(
            f"{text} has {tokens.size:,} tokens or a few more, too few to learn scales from.",
            f"Give a text of {2 * _LENGTH:,} tokens at least, or leave --calibration out.",
        )
    return tokens


@dataclass(frozen=True, slots=True)
class _Kept:
    """Scores, as refinement keeps its layers in them."""

    scores: Scores

    def load(self, key: str) -> Mapping[str, mx.array] | None:
        entry = self.scores.read(key_of("refinement", {"layer": key}))
        return None if entry is None else entry.arrays

    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None:
        self.scores.write(key_of("refinement", {"layer": key}), Entry(arrays, {}))
