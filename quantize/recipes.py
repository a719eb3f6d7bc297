"""Which quantisation each matrix gets, and how it is rounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import prod
from typing import Literal, get_args

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.quantspec import Mode, QuantSpec
from mlxqwen.errors import UsageError
from mlxqwen.model.config import ModelConfig, MoEConfig
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
        keeps_packed: Copy what the source has in as few bits already, where otherwise it is rounded
            a second time whenever the spec differs: more bits bring nothing back.
    """

    name: str
    default: QuantSpec
    rules: tuple[Rule, ...] = ()
    modules: Mapping[str, QuantSpec | None] = field(default_factory=dict[str, QuantSpec | None])
    rounding: Rounding = "nearest"
    calibrated: bool = False
    refined: bool = False
    shrinks_groups: bool = False
    keeps_packed: bool = False

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
            *most, last = map(str, widths)
            several = f"{', '.join(most)} and {last}" if most else last
            parts.append(f"some matrices {several}-bit")
        parts.append("searched scales" if self.rounding == "searched" else "rounded to nearest")
        if self.calibrated:
            parts.append("weighted by calibration text")
        if self.refined:
            parts.append("refined layer by layer")
        return f"{self.name}: {', '.join(parts)}"


FAST = Recipe("fast", QuantSpec(4, 64), (Rule(ROUTERS, _ROUTER),))


def choose_recipe(
    config: ModelConfig | None,
    name: RecipeName = "balanced",
    *,
    bits: int | None = None,
    group_size: int | None = None,
    mode: str | None = None,
) -> Recipe:
    """The recipe of that name for that model.

    Args:
        config: The model; ``fast`` is the same for all and needs none.
        bits: Of the bulk of the matrices; None takes the recipe's own, as for the next two.
        group_size: Of the bulk.
        mode: ``affine``, ``mxfp4``, ``mxfp8`` or ``nvfp4``. All but affine are ``fast``: there is
            no bias to search, and mlx_lm.convert's choice of what is kept higher.

    Raises:
        UsageError: There is no such mode, or MLX has no such combination, which the hint lists.
    """
    bulk = _bulk(bits, group_size, "affine" if mode is None else mode)
    if name == "fast" or bulk.mode != "affine":
        return replace(FAST, default=bulk)
    assert config is not None, f"what {name} keeps higher depends on the model"
    return Recipe(
        name,
        bulk,
        _dense_rules(config, bulk.bits) if config.moe is None else _sparse_rules(config.moe, bulk),
        rounding="searched",
        calibrated=name == "best",
        refined=name == "best",
        shrinks_groups=True,
        keeps_packed=True,
    )


def _sparse_rules(moe: MoEConfig, bulk: QuantSpec) -> tuple[Rule, ...]:
    """Experts as the bulk, all else higher: it is small, and every token goes through it.

    An expert sees only k of E tokens, so that all else pays a bit more for each factor of four
    between them. On a trained MoE with E / k = 4 six bits are best: at equal bytes KL is 71 % below
    ``fast``, with eight 45 %, with five 61 %. Released models have 15 and more, and eight
    bits.
    """
    few = moe.num_experts <= 4 * moe.num_experts_per_tok
    kept = _raised(max(bulk.bits, 4), 2) if few else QuantSpec(8, 64)
    router = QuantSpec(8, 64)
    return (Rule(EXPERTS, bulk), Rule(ROUTERS, router), Rule(("",), kept))


def _dense_rules(config: ModelConfig, bits: int) -> tuple[Rule, ...]:
    """A few matrices higher, each where its share of the error is several times that of its bytes.

    Measured on a trained model of 6 layers with a tied head, at 4 bits and equal bytes: KL is 22 %
    below ``fast`` with searched scales alone, 63 % with the head in 6 bits, 69 % with v_proj
    besides, 71 % with k_proj too. Some down_proj change nothing there, but in larger models a few
    of them carry massive activations: Qwen3-8B's perplexity falls from 7.37 to 6.39 where these
    very layers, v_proj and the head are higher (ml-explore/mlx-lm#202).
    """
    layers = config.num_hidden_layers
    some = tuple(f".layers.{n}.mlp.down_proj" for n in range(layers) if _is_sensitive(n, layers))
    one, two = _raised(bits, 1), _raised(bits, 2)
    # Each layer adds an error of its own, so that a head's counts for less the more there are, and
    # its bytes for more: that of the model above is two thirds of a layer, Qwen3-0.6B's is ten.
    size = config.vocab_size * config.hidden_size / _layer_parameters(config)
    head, embedding = two if size <= 1 else one, one if size <= 2 else QuantSpec(bits, 64)
    vocabulary = (
        (Rule((".embed_tokens",), head),)
        if config.tie_word_embeddings
        else (Rule(("lm_head",), head), Rule((".embed_tokens",), embedding))
    )
    return (
        *vocabulary,
        Rule((".self_attn.k_proj", ".self_attn.v_proj"), two),
        # A gated delta net's decay and gate are a few rows, and its state remembers their errors.
        Rule((".in_proj_a", ".in_proj_b", ".in_proj_ba"), QuantSpec(8, 64)),
        Rule((".in_proj_qkv", ".in_proj_qkvz", ".linear_attn.out_proj"), one),
        Rule(some, one),
    )


def _is_sensitive(layer: int, layers: int) -> bool:
    """The first and last eighth and every third between, as llama.cpp and mlx-lm choose them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _raised(bits: int, more: int) -> QuantSpec:
    widths = sorted({b for b, _ in COMBINATIONS["affine"]})
    return QuantSpec(next((b for b in widths if b >= bits + more), widths[-1]), 64)


def _layer_parameters(config: ModelConfig) -> float:
    """Of one layer's matrices, averaged over the layers."""
    names = expected_tensors(config)
    inside = sum(prod(shape) for name, shape in names if ".layers." in name and len(shape) > 1)
    return inside / config.num_hidden_layers


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
