"""``config.json``, parsed once into a frozen ``ModelConfig`` that refuses what we cannot run.

Both dialects are read: ``rope_theta`` with ``rope_scaling`` (to Transformers 4) and
``rope_parameters`` (from Transformers 5); ``num_experts`` and ``num_local_experts``.
Refusing matters more than reading: a key that changes the mathematics and is silently ignored
gives a model that runs and talks nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from ..device import prefill_chunk
from ..errors import UnsupportedModel
from .fields import Fields
from .positions import RopeConfig, YarnConfig, parse_rope, yarn_config

__all__ = ["ModelConfig", "RopeConfig", "YarnConfig", "token_ids", "yarn_config"]

ModelType = Literal[
    "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen2_5_omni"
]
MODEL_TYPES: tuple[ModelType, ...] = get_args(ModelType)

# Where the text model of a multimodal checkpoint is described, and what it calls itself there.
_NESTED: Mapping[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "qwen3_5": (("text_config",), frozenset({"qwen3_5_text"})),
    "qwen3_5_moe": (("text_config",), frozenset({"qwen3_5_moe_text"})),
    "qwen2_5_omni": (("thinker_config", "text_config"), frozenset({"qwen2_5_omni_text", "qwen2"})),
}
_TEXT_ONLY = {"qwen3_5_text": "qwen3_5", "qwen3_5_moe_text": "qwen3_5_moe"}
_HYBRID = frozenset({"qwen3_next", "qwen3_5", "qwen3_5_moe"})
_SPARSE = frozenset({"qwen3_moe", "qwen3_next", "qwen3_5_moe"})
_QWEN2 = frozenset({"qwen2", "qwen2_5_omni"})

# Keys that do not change what is computed, or that `_refuse_other_mathematics` checks by value.
_DESCRIPTIVE = frozenset(
    "_attn_implementation architectures attention_dropout attn_implementation auto_map "
    "bos_token_id decoder_start_token_id dtype "
    "initializer_range layer_types max_window_layers model_type output_router_logits pad_token_id "
    "mamba_ssm_dtype mtp_num_hidden_layers mtp_use_dedicated_embeddings "
    "quantization quantization_config rope_parameters rope_scaling router_aux_loss_coef "
    "sliding_window torch_dtype transformers_version use_cache use_sliding_window".split()
)
_READ = frozenset(
    "attention_bias attn_output_gate decoder_sparse_step eos_token_id full_attention_interval "
    "head_dim hidden_act hidden_size linear_conv_kernel_dim linear_key_head_dim "
    "linear_num_key_heads linear_num_value_heads linear_value_head_dim partial_rotary_factor "
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
class MoEConfig:
    """Mixture of experts in the sparse layers."""

    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    norm_topk_prob: bool
    decoder_sparse_step: int
    mlp_only_layers: frozenset[int]
    shared_expert_intermediate_size: int = 0


@dataclass(frozen=True, slots=True)
class DeltaConfig:
    """Gated delta net of the linear-attention layers.

    ``grouped`` says how the checkpoint orders its input projection: per key head
    ``[q | k | v | z]`` in one matrix (qwen3_next), or one matrix each (qwen3_5).
    """

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel_dim: int
    layers: frozenset[int]
    grouped: bool

    @property
    def key_dim(self) -> int:
        """Width of all queries, and of all keys."""
        return self.num_key_heads * self.key_head_dim

    @property
    def value_dim(self) -> int:
        """Width of all values, and of the output gate z."""
        return self.num_value_heads * self.value_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.key_dim + self.value_dim


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
    gated_attention: bool
    zero_centred_norms: bool
    rope: RopeConfig
    rotary_dims: int
    moe: MoEConfig | None
    delta: DeltaConfig | None
    eos_token_ids: tuple[int, ...]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads a ``config.json`` already decoded; of a multimodal one, its text model.

        Raises:
            UnsupportedModel: for an unknown ``model_type``, a missing or ill-typed key, or
                mathematics that this runtime does not implement; the message names the key.
        """
        model_type, holder, text = _text_model(config)
        fields = Fields(text)
        _refuse_other_mathematics(text, model_type)
        hidden_size = fields.positive("hidden_size")
        heads = fields.positive("num_attention_heads")
        qwen2 = model_type in _QWEN2
        bias = qwen2 or fields.boolean("attention_bias", False)
        head_dim = _head_dim(fields, model_type, hidden_size, heads)
        rope, rotary_share = parse_rope(text, 0.25 if model_type in _HYBRID else 1.0)
        ends = text.get("eos_token_id")
        parsed = cls(
            model_type=model_type,
            vocab_size=fields.positive("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=fields.positive("intermediate_size", _dense_width(text)),
            num_hidden_layers=fields.positive("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=fields.positive("num_key_value_heads", heads),
            head_dim=head_dim,
            rms_norm_eps=fields.above_zero("rms_norm_eps", 1e-6),
            tie_word_embeddings=_tied(model_type, holder, text),
            max_position_embeddings=fields.positive("max_position_embeddings"),
            attention_bias=bias,
            output_bias=bias and not qwen2,
            qk_norm=not qwen2,
            gated_attention=model_type in _HYBRID and fields.boolean("attn_output_gate", True),
            zero_centred_norms=model_type in _HYBRID,
            rope=rope,
            rotary_dims=int(head_dim * rotary_share),
            moe=_parse_moe(fields, model_type) if model_type in _SPARSE else None,
            delta=_parse_delta(fields, text, model_type) if model_type in _HYBRID else None,
            eos_token_ids=token_ids(
                config.get("eos_token_id") if ends is None else ends, "eos_token_id"
            ),
        )
        return parsed._checked()

    def _checked(self) -> ModelConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise UnsupportedModel(
                f"config.json has {self.num_attention_heads} attention heads that "
                f"{self.num_key_value_heads} key-value heads do not divide.",
                "The file is damaged; download it again.",
            )
        if self.rotary_dims % 2 or not 0 < self.rotary_dims <= self.head_dim:
            raise UnsupportedModel(
                f"config.json rotates {self.rotary_dims} of head_dim {self.head_dim}; "
                "rotary positions need pairs within a head.",
                "The file is damaged; download it again.",
            )
        delta = self.delta
        if delta is not None and delta.num_value_heads % delta.num_key_heads:
            raise UnsupportedModel(
                f"config.json has {delta.num_value_heads} linear value heads that "
                f"{delta.num_key_heads} key heads do not divide.",
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

    def is_linear(self, layer: int) -> bool:
        """Whether layer ``layer`` (from 0) is a gated delta net instead of attention."""
        return self.delta is not None and layer in self.delta.layers

    @property
    def prefill_chunk(self) -> int:
        """Prompt tokens to hand over at once on this machine."""
        moe = self.moe
        if moe is None:
            return prefill_chunk()
        return prefill_chunk(moe.num_experts_per_tok, moe.num_experts)

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
    if model_type in _HYBRID:
        return 256
    return 128 if model_type == "qwen3" else hidden_size // heads


def _text_model(
    config: Mapping[str, Any],
) -> tuple[ModelType, Mapping[str, Any], Mapping[str, Any]]:
    """The architecture, the object that holds its text model's, and that itself."""
    found = config.get("model_type")
    name = _TEXT_ONLY.get(found, found) if isinstance(found, str) else found
    known: ModelType | None = next((kind for kind in MODEL_TYPES if kind == name), None)
    if known is None:
        raise UnsupportedModel(
            f"config.json has model_type {found!r}, which mlxqwen does not run.",
            f"It runs {', '.join(MODEL_TYPES)}.",
        )
    holder = text = config
    if found == known and known in _NESTED:
        path, names = _NESTED[known]
        for key in path:
            section: object = text.get(key)
            if not isinstance(section, Mapping):
                raise UnsupportedModel(
                    f"config.json of a {known} has no {key} that describes its text model.",
                    "The file is damaged; download it again.",
                )
            holder, text = text, cast(Mapping[str, Any], section)
        inner = text.get("model_type")
        if inner is not None and inner not in names:
            raise UnsupportedModel(
                f"config.json of a {known} describes a text model of type {inner!r}.",
                "This checkpoint needs a newer mlxqwen.",
            )
    return known, holder, text


def _tied(model_type: ModelType, holder: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether the head is the embedding.

    In a multimodal file the object around the text model decides, for the head belongs to it; that
    of Omni means False where it is silent, whatever the text model's own says.
    """
    inner = model_type != "qwen2_5_omni" and Fields(text).boolean("tie_word_embeddings", False)
    return Fields(holder).boolean("tie_word_embeddings", inner)


def _dense_width(text: Mapping[str, Any]) -> int | None:
    """A model whose every layer is sparse needs no ``intermediate_size``."""
    return 1 if text.get("num_experts") or text.get("num_local_experts") else None


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
    runs = {"full_attention", "linear_attention"} if model_type in _HYBRID else {"full_attention"}
    for kind in cast(list[object], config.get("layer_types") or []):
        if kind not in runs:
            raise refuse("layer_types", f"{kind!r} layers are not implemented for {model_type}")
    if config.get("shared_expert_intermediate_size") and model_type == "qwen3_moe":
        raise refuse("shared_expert_intermediate_size", f"{model_type} has no shared expert")
    if not config.get("use_qk_norm", True):
        raise refuse("use_qk_norm", "q and k are always normalised in this architecture")
    if config.get("qkv_bias") and model_type not in _QWEN2:
        raise refuse("qkv_bias", f"{model_type} takes its biases from attention_bias")
    for key, value in config.items():
        if key in _READ or key in _DESCRIPTIVE or value in _NEUTRAL:
            continue
        if _MATHEMATICS.search(key):
            raise refuse(key, "this key is unknown and may change the mathematics")


def _parse_moe(fields: Fields, model_type: ModelType) -> MoEConfig:
    experts = fields.positive(
        "num_local_experts" if fields.has("num_local_experts") else "num_experts"
    )
    chosen = fields.positive("num_experts_per_tok")
    if chosen > experts:
        raise UnsupportedModel(
            f"config.json chooses {chosen} of {experts} experts (num_experts_per_tok).",
            "The file is damaged; download it again.",
        )
    hybrid = model_type in _HYBRID
    # Transformers' Qwen3.5 knows no switch: it always renormalises.
    always = model_type == "qwen3_5_moe"
    return MoEConfig(
        num_experts=experts,
        num_experts_per_tok=chosen,
        moe_intermediate_size=fields.positive("moe_intermediate_size"),
        norm_topk_prob=always or fields.boolean("norm_topk_prob", hybrid),
        decoder_sparse_step=fields.positive("decoder_sparse_step", 1),
        mlp_only_layers=frozenset(fields.integers("mlp_only_layers")),
        shared_expert_intermediate_size=(
            fields.positive("shared_expert_intermediate_size") if hybrid else 0
        ),
    )


def _parse_delta(fields: Fields, config: Mapping[str, Any], model_type: ModelType) -> DeltaConfig:
    count = fields.positive("num_hidden_layers")
    kinds = cast(list[object], config.get("layer_types") or [])
    if kinds and len(kinds) != count:
        raise UnsupportedModel(
            f"config.json lists {len(kinds)} layer_types for {count} layers.",
            "The file is damaged; download it again.",
        )
    if kinds:
        linear = frozenset(i for i, kind in enumerate(kinds) if kind == "linear_attention")
    else:
        interval = fields.positive("full_attention_interval", 4)
        linear = frozenset(i for i in range(count) if (i + 1) % interval)
    return DeltaConfig(
        num_key_heads=fields.positive("linear_num_key_heads"),
        num_value_heads=fields.positive("linear_num_value_heads"),
        key_head_dim=fields.positive("linear_key_head_dim"),
        value_head_dim=fields.positive("linear_value_head_dim"),
        conv_kernel_dim=fields.positive("linear_conv_kernel_dim"),
        layers=linear,
        grouped=model_type == "qwen3_next",
    )
