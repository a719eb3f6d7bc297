"""Random weights of a small Qwen model, tensor by tensor in the names of the official checkpoints.

The generator is numpy's frozen legacy `RandomState`, seeded by the tensor's name, and the numbers
are sums of uniforms: only exactly rounded arithmetic, so every machine makes the same bits.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

Config = dict[str, Any]
Weights = dict[str, np.ndarray]

ZERO_CENTRED = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}


def text_config(config: Config) -> Config:
    """The text model's own block, in the old dialect's names where the two differ."""
    if "thinker_config" in config:
        config = config["thinker_config"]
    text = dict(config.get("text_config", config))
    text.setdefault("num_experts", text.get("num_local_experts"))
    if text["model_type"] == "qwen2_5_omni_text":
        text.setdefault("tie_word_embeddings", False)
    return text


def is_sparse(text: Config, layer: int) -> bool:
    if not text["num_experts"] or layer in (text.get("mlp_only_layers") or []):
        return False
    return (layer + 1) % text.get("decoder_sparse_step", 1) == 0


def is_linear(text: Config, layer: int) -> bool:
    """Whether this layer is a gated delta net."""
    if text["model_type"] not in ZERO_CENTRED:
        return False
    types = text.get("layer_types")
    if types is not None:
        return types[layer] == "linear_attention"
    return (layer + 1) % text["full_attention_interval"] != 0


def _attention(text: Config, p: str) -> dict[str, tuple[int, ...]]:
    hidden, kind = text["hidden_size"], text["model_type"]
    heads, kv = text["num_attention_heads"], text["num_key_value_heads"]
    head_dim = text.get("head_dim") or hidden // heads
    q_out = heads * head_dim * (2 if kind in ZERO_CENTRED else 1)
    shapes = {
        p + "q_proj.weight": (q_out, hidden),
        p + "k_proj.weight": (kv * head_dim, hidden),
        p + "v_proj.weight": (kv * head_dim, hidden),
        p + "o_proj.weight": (hidden, heads * head_dim),
    }
    qwen2 = kind in {"qwen2", "qwen2_5_omni_text"}
    if qwen2 or text.get("attention_bias"):
        shapes[p + "q_proj.bias"] = (q_out,)
        shapes[p + "k_proj.bias"] = shapes[p + "v_proj.bias"] = (kv * head_dim,)
    if not qwen2:
        if text.get("attention_bias"):
            shapes[p + "o_proj.bias"] = (hidden,)
        shapes[p + "q_norm.weight"] = shapes[p + "k_norm.weight"] = (head_dim,)
    return shapes


def _delta_net(text: Config, p: str) -> dict[str, tuple[int, ...]]:
    hidden = text["hidden_size"]
    v_heads = text["linear_num_value_heads"]
    keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    values = v_heads * text["linear_value_head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        p + "A_log": (v_heads,),
        p + "dt_bias": (v_heads,),
        p + "conv1d.weight": (2 * keys + values, 1, text["linear_conv_kernel_dim"]),
        p + "norm.weight": (text["linear_value_head_dim"],),
        p + "out_proj.weight": (hidden, values),
    }
    if text["model_type"] == "qwen3_next":
        shapes[p + "in_proj_qkvz.weight"] = (2 * keys + 2 * values, hidden)
        shapes[p + "in_proj_ba.weight"] = (2 * v_heads, hidden)
    else:
        shapes[p + "in_proj_qkv.weight"] = (2 * keys + values, hidden)
        shapes[p + "in_proj_z.weight"] = (values, hidden)
        shapes[p + "in_proj_b.weight"] = shapes[p + "in_proj_a.weight"] = (v_heads, hidden)
    return shapes


def _mlp(p: str, hidden: int, width: int) -> dict[str, tuple[int, ...]]:
    return {
        p + "gate_proj.weight": (width, hidden),
        p + "up_proj.weight": (width, hidden),
        p + "down_proj.weight": (hidden, width),
    }


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Every text tensor and its shape, experts one by one, prefix `model.`."""
    text = text_config(config)
    hidden, vocab = text["hidden_size"], text["vocab_size"]
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(text["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out[p + "input_layernorm.weight"] = (hidden,)
        out[p + "post_attention_layernorm.weight"] = (hidden,)
        if is_linear(text, i):
            out |= _delta_net(text, p + "linear_attn.")
        else:
            out |= _attention(text, p + "self_attn.")
        p += "mlp."
        if not is_sparse(text, i):
            out |= _mlp(p, hidden, text["intermediate_size"])
            continue
        out[p + "gate.weight"] = (text["num_experts"], hidden)
        for expert in range(text["num_experts"]):
            out |= _mlp(f"{p}experts.{expert}.", hidden, text["moe_intermediate_size"])
        if text.get("shared_expert_intermediate_size"):
            out |= _mlp(p + "shared_expert.", hidden, text["shared_expert_intermediate_size"])
            out[p + "shared_expert_gate.weight"] = (1, hidden)
    out["model.norm.weight"] = (hidden,)
    if not text["tie_word_embeddings"]:
        out["lm_head.weight"] = (vocab, hidden)
    return out


def noise(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Close to N(0, 1): four uniforms summed, scaled to variance one."""
    state = np.random.RandomState((zlib.crc32(name.encode()) + 7919 * seed) % 2**32)
    total = state.random_sample((4, *shape)).sum(0) - 2
    return (total * math.sqrt(3)).astype(np.float32)


def fill(
    name: str, shape: tuple[int, ...], seed: int, *, zero_centred: bool, tied: bool
) -> np.ndarray:
    """Scales that keep logits, attention scores and router logits of order one."""
    x = noise(name, shape, seed)
    f = np.float32
    if name.endswith("A_log"):
        return x * f(0.7) - f(1)
    if name.endswith("dt_bias"):
        return x * f(0.5)
    if name.endswith(".bias"):
        return x * f(0.2)
    if len(shape) == 1:
        centred = zero_centred and not name.endswith("linear_attn.norm.weight")
        return x * f(0.2) + f(0 if centred else 1)
    if name.endswith("embed_tokens.weight") and not tied:
        return x
    fan_in = math.sqrt(shape[-1])
    head = name.endswith(("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight"))
    return x * f((2 if head else 1) / fan_in)


def make_weights(config: Config, seed: int) -> Weights:
    text = text_config(config)
    zero_centred = text["model_type"] in ZERO_CENTRED
    tied = text["tie_word_embeddings"]
    return {
        name: fill(name, shape, seed, zero_centred=zero_centred, tied=tied)
        for name, shape in shapes(config).items()
    }


def checksum(weights: Weights) -> int:
    """CRC-32 over names and float32 bytes: shows at once whether a machine made other weights."""
    total = 0
    for name in sorted(weights):
        total = zlib.crc32(weights[name].tobytes(), zlib.crc32(name.encode(), total))
    return total
