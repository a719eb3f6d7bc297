"""Which quantisation each matrix gets, and how it is rounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Literal, get_args

from mlxqwen.checkpoint.quantspec import Mode, QuantSpec
from mlxqwen.errors import UsageError
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.quantspec import COMBINATIONS

Rounding = Literal["nearest", "searched"]
RecipeName = Literal["fast", "balanced", "best"]

RECIPE_NAMES: tuple[RecipeName, ...] = get_args(RecipeName)

# Bits and group size where only the mode is given: those of mlx_lm.convert.
_MODE_DEFAULTS: dict[Mode, tuple[int, int]] = {
    "affine": (4, 64),
    "mxfp4": (4, 32),
    "mxfp8": (8, 32),
    "nvfp4": (4, 16),
}

ROUTERS = (".mlp.gate", ".mlp.shared_expert_gate")
EXPERTS = (
    ".switch_mlp.gate_proj",
    ".switch_mlp.up_proj",
    ".switch_mlp.down_proj",
)

# A wrongly rounded router sends tokens to other experts, which costs far more than its bytes.
_ROUTER = QuantSpec(8, 64)


@dataclass(frozen=True, slots=True)
class Rule:
    """One spec for all modules whose path ends in one of ``suffixes``."""

    suffixes: tuple[str, ...]
    spec: QuantSpec


@dataclass(frozen=True, slots=True)
class Recipe:
    """A choice for every matrix, embeddings and head included.

    Attributes:
        name: What the user asked for: ``fast``, ``balanced``, ``best`` or ``fit``.
        default: The spec of every module that no rule and no explicit choice names.
        rules: Tried in order, the first that matches holds.
        modules: Explicit choices by canonical module; they win over rules, None is unquantised.
        rounding: ``nearest`` as ``mx.quantize`` does it, or ``searched`` scales and biases.
        calibrated: Whether it wants the importance of inputs from calibration text.
        refined: Whether it wants scales and biases learned layer by layer.
        shrinks_groups: Where a group does not divide a width, take the largest smaller one that
            does; otherwise such a matrix stays unquantised, as in mlx_lm.convert.
    """

    name: str
    default: QuantSpec
    rules: tuple[Rule, ...] = ()
    modules: Mapping[str, QuantSpec | None] = field(default_factory=dict[str, QuantSpec | None])
    rounding: Rounding = "nearest"
    calibrated: bool = False
    refined: bool = False
    shrinks_groups: bool = False

    def spec(self, module: str, width: int) -> QuantSpec | None:
        """The spec of a module of that input width; None where it stays unquantised."""
        if module in self.modules:
            chosen = self.modules[module]
            return None if chosen is None else self._fitted(chosen, width)
        for rule in self.rules:
            if module.endswith(rule.suffixes):
                return self._fitted(rule.spec, width)
        return self._fitted(self.default, width)

    def _fitted(self, spec: QuantSpec, width: int) -> QuantSpec | None:
        if self.shrinks_groups:
            groups = (g for b, g in COMBINATIONS[spec.mode] if b == spec.bits)
            fitting = [g for g in groups if g <= spec.group_size and width % g == 0]
            return replace(spec, group_size=max(fitting)) if fitting else None
        # A router must suit the default's group too: so does mlx_lm.convert decide.
        fits = width % self.default.group_size == 0 and width % spec.group_size == 0
        return spec if fits else None

    def digest(self) -> str:
        """SHA-256 in hex of everything in it."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def describe(self) -> str:
        """One line for people."""
        bulk = f"{self.default.mode} {self.default.bits}-bit in groups of {self.default.group_size}"
        own = {rule.spec for rule in self.rules} | set(self.modules.values())
        widths = sorted({s.bits for s in own if s is not None} - {self.default.bits})
        parts = [bulk]
        if widths:
            parts.append(f"some matrices {' and '.join(map(str, widths))}-bit")
        parts.append("searched scales" if self.rounding == "searched" else "rounded to nearest")
        if self.calibrated:
            parts.append("weighted by calibration text")
        if self.refined:
            parts.append("refined layer by layer")
        return f"{self.name}: {', '.join(parts)}"


FAST = Recipe("fast", QuantSpec(4, 64), (Rule(ROUTERS, _ROUTER),))


def choose_recipe(
    config: ModelConfig | None = None,
    name: str = "balanced",
    *,
    bits: int | None = None,
    group_size: int | None = None,
    mode: str | None = None,
) -> Recipe:
    """The recipe of that name for that model.

    Args:
        config: The model; only ``fast`` is the same for all and needs none.
        name: ``fast``, ``balanced`` or ``best``.
        bits: Of the bulk of the matrices; None takes the recipe's own, as for the next two.
        group_size: Of the bulk.
        mode: ``affine``, ``mxfp4``, ``mxfp8`` or ``nvfp4``. All but affine round to nearest.

    Raises:
        UsageError: No such recipe or mode, or MLX has no such combination, which the hint lists.
    """
    if name not in RECIPE_NAMES:
        raise UsageError(
            f"There is no recipe {name!r}.", f"Choose one of {', '.join(RECIPE_NAMES)}."
        )
    bulk = _bulk(bits, group_size, "affine" if mode is None else mode)
    if config is None or name == "fast" or bulk.mode != "affine":
        return replace(FAST, default=bulk)
    best = name == "best"
    kept = QuantSpec(max(8, bulk.bits), 64)
    rules = (Rule(ROUTERS, kept),)
    return Recipe(
        name,
        bulk,
        rules,
        rounding="searched",
        calibrated=best,
        refined=best,
        shrinks_groups=True,
    )


def _bulk(bits: int | None, group_size: int | None, mode: str) -> QuantSpec:
    known: Mode | None = next((m for m in get_args(Mode) if m == mode), None)
    if known is None:
        raise UsageError(f"There is no mode {mode!r}.", f"Choose {', '.join(get_args(Mode))}.")
    default_bits, default_group = _MODE_DEFAULTS[known]
    chosen = (
        default_bits if bits is None else bits,
        default_group if group_size is None else group_size,
    )
    if chosen not in COMBINATIONS[known]:
        widths = sorted({b for b, _ in COMBINATIONS[known]})
        groups = sorted({g for _, g in COMBINATIONS[known]})
        raise UsageError(
            f"MLX has no {known} quantisation with {chosen[0]} bits in groups of {chosen[1]}.",
            f"It has bits {', '.join(map(str, widths))} and groups {', '.join(map(str, groups))}.",
        )
    return QuantSpec(*chosen, known)
