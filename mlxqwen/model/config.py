"""``config.json``, parsed once into a frozen ``ModelConfig`` that refuses what we cannot run.

Both dialects are read: ``rope_theta`` with ``rope_scaling`` (to Transformers 4) and
``rope_parameters`` (from Transformers 5); ``num_experts`` and ``num_local_experts``.
Refusing matters more than reading: a key that changes the mathematics and is silently ignored
gives a model that runs and talks nonsense.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from ..errors import UnsupportedModel
from .fields import Fields

ModelType = Literal["qwen2", "qwen3", "qwen3_moe"]
MODEL_TYPES: tuple[ModelType, ...] = ("qwen2", "qwen3", "qwen3_moe")

# Keys that do not change what is computed, or that `_refuse_other_mathematics` checks by value.
_DESCRIPTIVE = frozenset(
    "architectures attention_dropout auto_map bos_token_id decoder_start_token_id dtype "
    "initializer_range layer_types max_window_layers model_type output_router_logits pad_token_id "
    "quantization quantization_config rope_parameters rope_scaling router_aux_loss_coef "
    "sliding_window torch_dtype transformers_version use_cache use_sliding_window".split()
)
_READ = frozenset(
    "attention_bias decoder_sparse_step eos_token_id head_dim hidden_act hidden_size "
    "intermediate_size max_position_embeddings mlp_only_layers moe_intermediate_size "
    "norm_topk_prob num_attention_heads num_experts num_experts_per_tok num_hidden_layers "
    "num_key_value_heads num_local_experts qkv_bias rms_norm_eps rope_theta "
    "shared_expert_intermediate_size tie_word_embeddings use_qk_norm vocab_size".split()
)
# A key we do not know is refused where its name speaks of mathematics and its value is not neutral.
_MATHEMATICS = re.compile(
    r"scal|cap|norm|act|bias|multiplier|rope|rotary|alpha|residual|attn|attention|expert|moe"
    r"|window|chunk|linear|conv|mlp|gate|router|layer|head|softmax|logit|embed"
)
_NEUTRAL: tuple[object, ...] = (None, False, 0, 1, 1.0, "", [], {})


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


@dataclass(frozen=True, slots=True)
class MoEConfig:
    """Mixture of experts in the sparse layers."""

    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    norm_topk_prob: bool
    decoder_sparse_step: int
    mlp_only_layers: frozenset[int]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything the decoder is built from; names are those of Hugging Face's ``config.json``."""

    model_type: ModelType
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    max_position_embeddings: int
    attention_bias: bool
    output_bias: bool
    qk_norm: bool
    rope: RopeConfig
    moe: MoEConfig | None
    eos_token_ids: tuple[int, ...]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads a ``config.json`` already decoded.

        Raises:
            UnsupportedModel: for an unknown ``model_type``, a missing or ill-typed key, or
                mathematics that this runtime does not implement; the message names the key.
        """
        fields = Fields(config)
        model_type = config.get("model_type")
        if model_type not in MODEL_TYPES:
            raise UnsupportedModel(
                f"config.json has model_type {model_type!r}, which mlxqwen does not run.",
                f"It runs {', '.join(MODEL_TYPES)}.",
            )
        _refuse_other_mathematics(config, model_type)
        hidden_size = fields.positive("hidden_size")
        heads = fields.positive("num_attention_heads")
        bias = model_type == "qwen2" or fields.boolean("attention_bias", False)
        parsed = cls(
            model_type=model_type,
            vocab_size=fields.positive("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=fields.positive("intermediate_size"),
            num_hidden_layers=fields.positive("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=fields.positive("num_key_value_heads", heads),
            head_dim=_head_dim(fields, model_type, hidden_size, heads),
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
            max_position_embeddings=fields.positive("max_position_embeddings"),
            attention_bias=bias,
            output_bias=bias and model_type != "qwen2",
            qk_norm=model_type != "qwen2",
            rope=_parse_rope(config),
            moe=_parse_moe(fields) if model_type == "qwen3_moe" else None,
            eos_token_ids=token_ids(config.get("eos_token_id"), "eos_token_id"),
        )
        return parsed._checked()

    def _checked(self) -> ModelConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise UnsupportedModel(
                f"config.json has {self.num_attention_heads} attention heads that "
                f"{self.num_key_value_heads} key-value heads do not divide.",
                "The file is damaged; download it again.",
            )
        if self.head_dim % 2:
            raise UnsupportedModel(
                f"config.json has an odd head_dim of {self.head_dim}; rotary positions need pairs.",
                "The file is damaged; download it again.",
            )
        return self

    def is_sparse(self, layer: int) -> bool:
        """Whether layer ``layer`` (from 0) routes to experts instead of one dense MLP."""
        moe = self.moe
        return (
            moe is not None
            and layer not in moe.mlp_only_layers
            and (layer + 1) % moe.decoder_sparse_step == 0
        )

    def with_yarn(self, yarn: YarnConfig | None) -> ModelConfig:
        """The same model with other position scaling."""
        return replace(self, rope=replace(self.rope, yarn=yarn))


def token_ids(value: object, key: str) -> tuple[int, ...]:
    """An ``eos_token_id`` as both dialects write it: absent, one id, or a list of ids."""
    if value is None:
        return ()
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        ids = cast(list[object], value)
        if all(isinstance(item, int) for item in ids):
            return tuple(cast(list[int], ids))
    raise UnsupportedModel(f"{key} is {value!r}, not a token id or a list of them.")


def _head_dim(fields: Fields, model_type: str, hidden_size: int, heads: int) -> int:
    if fields.has("head_dim"):
        return fields.positive("head_dim")
    # Transformers' dense Qwen3 class defaults to 128 whatever the width; the others derive it.
    return 128 if model_type == "qwen3" else hidden_size // heads


def _refuse_other_mathematics(config: Mapping[str, Any], model_type: str) -> None:
    def refuse(key: str, why: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"config.json has {key} = {config[key]!r}: {why}.",
            "This checkpoint needs a newer mlxqwen, or is not a Qwen model.",
        )

    if config.get("hidden_act", "silu") != "silu":
        raise refuse("hidden_act", "only silu is implemented")
    if config.get("use_sliding_window"):
        raise refuse("use_sliding_window", "sliding-window attention is not implemented")
    for kind in cast(list[object], config.get("layer_types") or []):
        if kind != "full_attention":
            raise refuse("layer_types", f"{kind!r} layers are not implemented for {model_type}")
    if config.get("shared_expert_intermediate_size"):
        raise refuse("shared_expert_intermediate_size", f"{model_type} has no shared expert")
    if not config.get("use_qk_norm", True):
        raise refuse("use_qk_norm", "q and k are always normalised in this architecture")
    if config.get("qkv_bias") and model_type != "qwen2":
        raise refuse("qkv_bias", f"{model_type} takes its biases from attention_bias")
    for key, value in config.items():
        if key in _READ or key in _DESCRIPTIVE or value in _NEUTRAL:
            continue
        if _MATHEMATICS.search(key):
            raise refuse(key, "this key is unknown and may change the mathematics")


def _parse_rope(config: Mapping[str, Any]) -> RopeConfig:
    key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    section: object = config.get(key) or {}
    if not isinstance(section, Mapping):
        raise UnsupportedModel(f"config.json has {key} = {section!r}, not an object.")
    rope = Fields(cast(Mapping[str, Any], section), f"{key}.")
    theta = rope.number("rope_theta", Fields(config).number("rope_theta", 10_000.0))
    kind = rope.text("rope_type", rope.text("type", "default"))
    rope.refuse_unknown(
        "rope_theta rope_type type factor original_max_position_embeddings beta_fast beta_slow "
        "attention_factor mscale mscale_all_dim truncate partial_rotary_factor".split()
    )
    if rope.number("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedModel(
            f"config.json has {key}.partial_rotary_factor, not implemented here."
        )
    if kind == "default":
        return RopeConfig(theta, None)
    if kind != "yarn":
        raise UnsupportedModel(
            f"config.json asks for {kind!r} position scaling in {key}.",
            "Of the scalings mlxqwen implements YaRN.",
        )
    positions = Fields(config).positive("max_position_embeddings")
    original = rope.positive("original_max_position_embeddings", positions)
    factor = rope.number("factor", positions / original)
    return RopeConfig(theta, yarn_config(factor, original, rope))


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


def _parse_moe(fields: Fields) -> MoEConfig:
    experts = fields.positive(
        "num_local_experts" if fields.has("num_local_experts") else "num_experts"
    )
    chosen = fields.positive("num_experts_per_tok")
    if chosen > experts:
        raise UnsupportedModel(
            f"config.json chooses {chosen} of {experts} experts (num_experts_per_tok).",
            "The file is damaged; download it again.",
        )
    return MoEConfig(
        num_experts=experts,
        num_experts_per_tok=chosen,
        moe_intermediate_size=fields.positive("moe_intermediate_size"),
        norm_topk_prob=fields.boolean("norm_topk_prob", False),
        decoder_sparse_step=fields.positive("decoder_sparse_step", 1),
        mlp_only_layers=frozenset(fields.integers("mlp_only_layers")),
    )
