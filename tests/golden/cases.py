"""The table of golden cases. Field sets are those of the officially published config.json files."""

from __future__ import annotations

from typing import Any

from checkpoints import Case
from weights import Config

VOCAB = 160
EOS = VOCAB - 1

_COMMON: Config = {
    "attention_dropout": 0.0,
    "bos_token_id": EOS - 1,
    "eos_token_id": EOS,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCAB,
}
_MOE: Config = {
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
}


def qwen2(**changes: Any) -> Config:
    """As QwQ-32B: a sliding window written down and switched off, no head_dim."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        **_COMMON,
        "max_window_layers": 1,
        "model_type": "qwen2",
        "rms_norm_eps": 1e-05,
        "sliding_window": 8,
        "transformers_version": "4.43.1",
        **changes,
    }


def qwen3(**changes: Any) -> Config:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        **_COMMON,
        "attention_bias": False,
        "head_dim": 16,
        "max_window_layers": 3,
        "model_type": "qwen3",
        "rope_scaling": None,
        "sliding_window": None,
        "transformers_version": "4.51.0",
        **changes,
    }


def qwen3_moe(**changes: Any) -> Config:
    config = qwen3(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe")
    return {**config, **_MOE, **changes}


def qwen3_next(**changes: Any) -> Config:
    config = {
        "architectures": ["Qwen3NextForCausalLM"],
        **_COMMON,
        **_MOE,
        "full_attention_interval": 4,
        "head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_value_head_dim": 32,
        "model_type": "qwen3_next",
        "num_hidden_layers": 4,
        "partial_rotary_factor": 0.25,
        "rope_scaling": None,
        "rope_theta": 10000000,
        "shared_expert_intermediate_size": 48,
        "transformers_version": "4.57.0.dev0",
    }
    return {**config, **changes}


def transformers_5(config: Config) -> Config:
    """The same model as transformers 5 writes its config."""
    new = {k: v for k, v in config.items() if k not in {"rope_theta", "rope_scaling"}}
    rope = dict(config.get("rope_scaling") or {"rope_type": "default"})
    rope["rope_theta"] = float(config["rope_theta"])
    rope["rope_type"] = rope.pop("type", rope.get("rope_type"))
    if "partial_rotary_factor" in new:
        rope["partial_rotary_factor"] = new.pop("partial_rotary_factor")
    new["rope_parameters"] = rope
    new["dtype"] = new.pop("torch_dtype")
    new["transformers_version"] = "5.23.0"
    if new["model_type"] == "qwen3_moe":
        new["num_local_experts"] = new.pop("num_experts")
    interval = new.pop("full_attention_interval", None)
    kinds = ["linear_attention", "full_attention"]
    if interval is not None:
        layers = range(new["num_hidden_layers"])
        new["layer_types"] = [kinds[(i + 1) % interval == 0] for i in layers]
    elif new["model_type"] in {"qwen2", "qwen3"}:
        new["layer_types"] = ["full_attention"] * new["num_hidden_layers"]
    return new


def qwen3_5(*, moe: bool, **changes: Any) -> Config:
    """Nested: the text model under text_config, beside a vision tower."""
    kind = "qwen3_5_moe" if moe else "qwen3_5"
    text = transformers_5(qwen3_next(**changes))
    for key in ("architectures", "transformers_version", "decoder_sparse_step", "mlp_only_layers"):
        del text[key]
    del text["norm_topk_prob"], text["use_sliding_window"]
    moe_keys = ("moe_intermediate_size", "num_experts", "num_experts_per_tok")
    moe_keys += ("output_router_logits", "router_aux_loss_coef", "shared_expert_intermediate_size")
    for key in ("intermediate_size",) if moe else moe_keys:
        del text[key]
    text |= {"model_type": kind + "_text", "attention_bias": False, "attn_output_gate": True}
    text["rope_parameters"] |= {"mrope_interleaved": True, "mrope_section": [2, 1, 1]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2}
    vision |= {"out_hidden_size": text["hidden_size"], "model_type": kind + "_vision"}
    architecture = (
        "Qwen3_5MoeForConditionalGeneration" if moe else "Qwen3_5ForConditionalGeneration"
    )
    return {
        "architectures": [architecture],
        "image_token_id": 150,
        "model_type": kind,
        "text_config": text,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "transformers_version": "5.23.0",
        "video_token_id": 151,
        "vision_config": vision,
        "vision_end_token_id": 152,
        "vision_start_token_id": 153,
    }


def omni() -> Config:
    text = qwen2(model_type="qwen2_5_omni_text", rms_norm_eps=1e-06)
    for key in ("architectures", "transformers_version", "torch_dtype"):
        del text[key]
    text["rope_scaling"] = {"mrope_section": [2, 3, 3], "rope_type": "default", "type": "default"}
    audio = {"model_type": "qwen2_5_omni_audio_encoder", "d_model": 32, "encoder_layers": 1}
    talker = {"model_type": "qwen2_5_omni_talker", "hidden_size": 32, "num_hidden_layers": 1}
    return {
        "architectures": ["Qwen2_5OmniModel"],
        "enable_audio_output": True,
        "model_type": "qwen2_5_omni",
        "talker_config": talker | {"vocab_size": 40, "eos_token_id": 3},
        "thinker_config": {
            "architectures": ["Qwen2OmniNaViTThinkerForConditionalGeneration"],
            "audio_config": audio,
            "model_type": "qwen2_5_omni_thinker",
            "text_config": text,
            "vision_config": {"model_type": "qwen2_5_omni_vision_encoder", "depth": 1},
        },
        "token2wav_config": {"model_type": "qwen2_5_omni_token2wav"},
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
    }


def yarn(original: int, **more: Any) -> Config:
    scaling = {"factor": 4.0, "original_max_position_embeddings": original, "rope_type": "yarn"}
    return {"rope_scaling": {**scaling, **more}}


# Names end like those of the text layers, so a careless prefix rule collides.
_MTP = {
    "mtp.fc.weight": (64, 128),
    "mtp.norm.weight": (64,),
    "mtp.layers.0.input_layernorm.weight": (64,),
    "mtp.layers.0.self_attn.k_proj.weight": (64, 64),
    "mtp.layers.0.mlp.gate.weight": (8, 64),
    "mtp.layers.0.mlp.experts.0.up_proj.weight": (32, 64),
}
_VISUAL = {
    "model.visual.blocks.0.mlp.linear_fc1.weight": (32, 32),
    "model.visual.patch_embed.proj.bias": (32,),
}
_OMNI = {
    "talker.model.layers.0.self_attn.q_proj.weight": (32, 32),
    "talker.model.layers.0.input_layernorm.weight": (32,),
    "talker.model.embed_tokens.weight": (40, 32),
    "talker.thinker_to_talker_proj.weight": (32, 64),
    "thinker.audio_tower.layers.0.self_attn.k_proj.weight": (32, 32),
    "thinker.visual.blocks.0.attn.q.weight": (32, 32),
    "token2wav.code2wav_dit_model.proj_out.weight": (8, 32),
}
_WIDE = {"hidden_size": 160, "intermediate_size": 192, "head_dim": 32}
_G32 = {"intermediate_size": 128, "head_dim": 32}

CASES = [
    Case("dense_tied", 8, qwen3(tie_word_embeddings=True)),
    Case("dense_untied", 2, qwen3(num_hidden_layers=4, num_key_value_heads=1)),
    Case(
        "dense_head_dim",
        4,
        qwen3(rms_norm_eps=1e-3, head_dim=32, num_attention_heads=6, rope_theta=5000000),
    ),
    Case("dense_attention_bias", 1, qwen3(attention_bias=True)),
    Case(
        "dense_yarn",
        2,
        qwen3(head_dim=32, rope_theta=10000, max_position_embeddings=160, **yarn(64)),
        long=80,
    ),
    Case(
        "dense_yarn_old_key",
        0,
        qwen3(
            head_dim=32, **yarn(4096, type="yarn", beta_fast=16, beta_slow=2, attention_factor=1.3)
        ),
    ),
    Case(
        "dense_tied_stores_head",
        14,
        qwen3(tie_word_embeddings=True),
        stores_tied_head=True,
        shards=2,
    ),
    Case("dense_bf16", 0, qwen3(), dtype="BF16", shards=3),
    Case("moe_2of8", 1, qwen3_moe(), shards=4),
    Case("moe_8of128", 0, qwen3_moe(num_experts=128, num_experts_per_tok=8, num_hidden_layers=2)),
    Case("moe_raw_topk", 0, qwen3_moe(rms_norm_eps=1e-3, norm_topk_prob=False)),
    Case("moe_sparse_step", 1, qwen3_moe(decoder_sparse_step=2, num_hidden_layers=4)),
    Case("moe_mlp_only", 2, qwen3_moe(mlp_only_layers=[1])),
    Case("moe_yarn", 1, qwen3_moe(head_dim=32, rope_theta=10000, **yarn(512))),
    Case("moe_bf16", 2, qwen3_moe(), dtype="BF16"),
    Case("qwen2_tied", 21, qwen2(tie_word_embeddings=True)),
    Case("qwen2_untied", 0, qwen2(rms_norm_eps=1e-3, num_key_value_heads=1)),
    Case("qwen2_yarn", 0, qwen2(hidden_size=128, rope_theta=10000, **yarn(64)), long=80),
    Case("mlx_4bit_tied", 2, qwen3(tie_word_embeddings=True), layout="mlx_affine", dtype="BF16"),
    Case(
        "mlx_4bit_qwen2",
        0,
        qwen2(intermediate_size=128),
        layout="mlx_affine",
        dtype="BF16",
        shards=2,
    ),
    Case(
        "mlx_4bit_moe",
        1,
        qwen3_moe(moe_intermediate_size=64),
        layout="mlx_affine",
        dtype="BF16",
        shards=2,
    ),
    Case(
        "mlx_8bit_group32",
        0,
        qwen3_moe(mlp_only_layers=[0]),
        layout="mlx_affine",
        bits=8,
        group_size=32,
    ),
    Case("mlx_unquantised_moe", 0, qwen3_moe(), layout="mlx"),
]

# For the issue after this one: other architectures and other people's layouts.
CASES_NEXT = [
    Case("next_interval4", 3, qwen3_next(), foreign=_MTP, shards=3),
    Case(
        "next_interval2",
        0,
        qwen3_next(
            rms_norm_eps=1e-3,
            full_attention_interval=2,
            linear_key_head_dim=16,
            linear_value_head_dim=24,
            linear_num_key_heads=2,
            linear_num_value_heads=6,
            num_experts=16,
            num_experts_per_tok=4,
            mlp_only_layers=[2],
        ),
    ),
    Case("next_bf16", 0, qwen3_next(), dtype="BF16", foreign=_MTP),
    Case(
        "next_transformers5",
        0,
        transformers_5(qwen3_next(full_attention_interval=2)),
        layout="packed",
    ),
    Case("next_yarn", 0, qwen3_next(rope_theta=10000, head_dim=64, **yarn(64)), long=80),
    Case("next_mlx", 0, qwen3_next(), layout="mlx"),
    Case("next_mlx_4bit", 0, qwen3_next(moe_intermediate_size=64), layout="mlx_affine"),
    Case("next_long", 2, qwen3_next(num_hidden_layers=2, full_attention_interval=2), long=150),
    Case("qwen3_5_dense", 1, qwen3_5(moe=False, tie_word_embeddings=True), foreign=_MTP | _VISUAL),
    Case("qwen3_5_dense_bf16", 0, qwen3_5(moe=False), foreign=_VISUAL, dtype="BF16"),
    Case("qwen3_5_moe", 3, qwen3_5(moe=True), layout="packed", foreign=_MTP | _VISUAL, shards=2),
    Case("omni_thinker", 0, omni(), foreign=_OMNI, shards=2),
    Case("fp8_dense", 0, qwen3(**_WIDE), layout="fp8", dtype="BF16", shards=3),
    Case("fp8_moe", 0, qwen3_moe(**_WIDE, moe_intermediate_size=144), layout="fp8", dtype="BF16"),
    Case("gptq_dense", 0, qwen3(**_G32), layout="gptq", dtype="F16", group_size=32),
    Case(
        "gptq_act_order",
        0,
        qwen3(**_G32),
        layout="gptq",
        dtype="F16",
        group_size=32,
        symmetric=False,
        act_order=True,
    ),
    Case("gptq_moe", 3, qwen3_moe(), layout="gptq", dtype="F16", group_size=32, shards=2),
    Case("gptq_qwen2", 4, qwen2(intermediate_size=128), layout="gptq", dtype="F16", group_size=32),
    Case("awq_dense", 3, qwen3(**_G32), layout="awq", dtype="F16", group_size=32),
    Case("awq_qwen2", 0, qwen2(intermediate_size=128), layout="awq", dtype="F16", group_size=32),
    Case("awq_moe", 0, qwen3_moe(), layout="awq", dtype="F16", group_size=32),
    Case("moe_packed", 1, qwen3_moe(), layout="packed"),
    Case("moe_packed_v4", 1, qwen3_moe(), layout="packed_v4", dtype="BF16"),
    Case("next_packed_v4", 1, qwen3_next(), layout="packed_v4"),
    Case("moe_transformers5", 0, transformers_5(qwen3_moe(mlp_only_layers=[1])), layout="packed"),
    Case(
        "dense_transformers5_yarn",
        2,
        transformers_5(qwen3(head_dim=32, rope_theta=10000, **yarn(64))),
        long=80,
    ),
    Case("qwen2_transformers5", 3, transformers_5(qwen2())),
]
