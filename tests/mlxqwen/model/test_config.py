"""config.json: both dialects read alike, and everything we cannot run is refused by name."""

import json
from typing import Any

import pytest

from mlxqwen.errors import UnsupportedModel
from mlxqwen.model.config import ModelConfig, token_ids

DENSE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MOE = {
    **DENSE,
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [3],
    "router_aux_loss_coef": 0.001,
    "output_router_logits": False,
}


def test_the_published_dense_config() -> None:
    config = ModelConfig.parse(DENSE)
    assert config.head_dim == 128
    assert config.qk_norm
    assert not config.attention_bias
    assert config.rope.theta == 1_000_000
    assert config.rope.yarn is None
    assert config.eos_token_ids == (151645,)
    assert config.moe is None


def test_which_layers_are_sparse() -> None:
    config = ModelConfig.parse(MOE)
    assert [layer for layer in range(8) if config.is_sparse(layer)] == [1, 5, 7]


def test_qwen2_derives_head_dim_and_has_biases_on_qkv_only() -> None:
    config = {**DENSE, "model_type": "qwen2"}
    del config["head_dim"]
    del config["attention_bias"]
    parsed = ModelConfig.parse(config)
    assert parsed.head_dim == 64
    assert parsed.attention_bias
    assert not parsed.output_bias
    assert not parsed.qk_norm


def test_transformers_5_dialect_means_the_same() -> None:
    new = {k: v for k, v in MOE.items() if k not in ("rope_theta", "rope_scaling", "num_experts")}
    new["rope_parameters"] = {
        "rope_type": "yarn",
        "rope_theta": 1000000,
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    }
    new["num_local_experts"] = 128
    new["layer_types"] = ["full_attention"] * 28
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert ModelConfig.parse(new) == ModelConfig.parse({**MOE, "rope_scaling": scaling})


def test_yarn_uses_the_factor_not_the_ratio_of_lengths() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    yarn = ModelConfig.parse({**DENSE, "rope_scaling": scaling}).rope.yarn
    assert yarn is not None
    assert yarn.factor == 4.0
    assert yarn.attention_factor == pytest.approx(1.1386294)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"model_type": None}, "model_type"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "new_rule": 3}}, "new_rule"),
        ({"rope_scaling": "yarn"}, "rope_scaling"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"attention_multiplier": 0.5}, "attention_multiplier"),
        ({"residual_scale": 0.3}, "residual_scale"),
        ({"hidden_size": "1024"}, "hidden_size"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings"),
        ({"num_key_value_heads": 3}, "key-value heads"),
        ({"head_dim": 127}, "head_dim"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps"),
        ({"max_position_embeddings": 10**30}, "max_position_embeddings"),
    ],
)
def test_refusals_name_the_key(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        ModelConfig.parse({**DENSE, **change})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_experts_per_tok": 129}, "num_experts_per_tok"),
        ({"num_experts": None}, "num_experts"),
        ({"shared_expert_intermediate_size": 512}, "shared_expert_intermediate_size"),
        ({"mlp_only_layers": "none"}, "mlp_only_layers"),
        ({"use_qk_norm": False}, "use_qk_norm"),
    ],
)
def test_moe_refusals_name_the_key(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        ModelConfig.parse({**MOE, **change})


def test_neutral_and_descriptive_keys_are_no_obstacle() -> None:
    ModelConfig.parse({**MOE, "qkv_bias": False, "use_qk_norm": True, "logit_scale": None})
    ModelConfig.parse({**DENSE, "_name_or_path": "x", "unsloth_fixed": True})


def test_parse_leaves_its_input_alone() -> None:
    before = json.dumps(MOE)
    ModelConfig.parse(MOE)
    assert json.dumps(MOE) == before


def test_token_ids_of_both_dialects() -> None:
    assert token_ids(None, "k") == ()
    assert token_ids(3, "k") == (3,)
    assert token_ids([3, 5], "k") == (3, 5)
    with pytest.raises(UnsupportedModel, match="k is True"):
        token_ids(True, "k")


def omni(**holder: Any) -> dict[str, Any]:
    text = {**DENSE, "model_type": "qwen2_5_omni_text"}
    return {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": text, **holder}}


def test_what_holds_the_text_model_says_whether_its_head_is_tied() -> None:
    assert not ModelConfig.parse(omni()).tie_word_embeddings
    assert ModelConfig.parse(omni(tie_word_embeddings=True)).tie_word_embeddings


def test_a_nested_text_model_that_is_missing_or_foreign() -> None:
    with pytest.raises(UnsupportedModel, match="thinker_config"):
        ModelConfig.parse({"model_type": "qwen2_5_omni"})
    with pytest.raises(UnsupportedModel, match="llama"):
        ModelConfig.parse(
            {"model_type": "qwen3_5", "text_config": {**DENSE, "model_type": "llama"}}
        )
