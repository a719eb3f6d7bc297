"""How a configuration places tokens: rotary base, the share of a head that turns, and YaRN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..errors import UnsupportedModel
from .fields import Fields


@dataclass(frozen=True, slots=True)
class YarnConfig:
    """Position scaling after YaRN (Peng et al. 2023, arXiv 2309.00071).

    Attributes:
        factor: How many times the original context is stretched.
        original_max_position_embeddings: Tokens of context in pre-training.
        beta_fast, beta_slow: Rotations that bound the ramp between the two kinds of frequency.
        attention_factor: What cos and sin are multiplied by.
        truncate: Whether the ramp's ends are rounded to whole dimensions.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float
    beta_slow: float
    attention_factor: float
    truncate: bool


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary positions: base, and YaRN where the configuration asks for it."""

    theta: float
    yarn: YarnConfig | None


def parse_rope(config: Mapping[str, Any], rotary_share: float) -> tuple[RopeConfig, float]:
    """Rotary positions in either dialect, and which share of a head they turn.

    The sections of multimodal positions are of no concern to text, whose three axes agree.
    """
    key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    section: object = config.get(key) or {}
    if not isinstance(section, Mapping):
        raise UnsupportedModel(f"config.json has {key} = {section!r}, not an object.")
    rope, outer = Fields(cast(Mapping[str, Any], section), f"{key}."), Fields(config)
    theta = rope.above_zero("rope_theta", outer.above_zero("rope_theta", 10_000.0))
    kind = rope.text("rope_type", rope.text("type", "default"))
    rope.refuse_unknown(
        "rope_theta rope_type type factor original_max_position_embeddings beta_fast beta_slow "
        "attention_factor mscale mscale_all_dim truncate partial_rotary_factor mrope_section "
        "mrope_interleaved".split()
    )
    outer_share = outer.number("partial_rotary_factor", rotary_share)
    share = rope.number("partial_rotary_factor", outer_share)
    if kind in ("default", "mrope"):
        return RopeConfig(theta, None), share
    if kind != "yarn":
        raise UnsupportedModel(
            f"config.json asks for {kind!r} position scaling in {key}.",
            "Of the scalings mlxqwen implements YaRN.",
        )
    positions = outer.positive("max_position_embeddings")
    original = rope.positive("original_max_position_embeddings", positions)
    factor = rope.above_zero("factor", positions / original)
    return RopeConfig(theta, yarn_config(factor, original, rope)), share


def yarn_config(factor: float, original: int, rope: Fields) -> YarnConfig:
    """YaRN with its defaults filled in as Transformers does.

    ``factor`` is the stretch itself, never max_position/original: the published cards keep
    ``max_position_embeddings`` unscaled.
    """
    mscale, all_dim = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    if mscale and all_dim:
        attention = yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all_dim)
    else:
        attention = yarn_magnitude(factor, 1.0)
    return YarnConfig(
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        attention_factor=rope.number("attention_factor", attention),
        truncate=rope.boolean("truncate", True),
    )


def yarn_magnitude(factor: float, mscale: float) -> float:
    """0.1 · mscale · ln(factor) + 1 (YaRN, section 3.4); 1 where nothing is stretched."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0
