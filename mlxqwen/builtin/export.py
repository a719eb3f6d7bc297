"""The built-in model's shape, its first parameters, and its files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from ..model.config import ModelConfig
from .optimizer import AdamW

_STACKED = re.compile(r"^(.*\.mlp)\.switch_mlp\.(gate_proj|up_proj|down_proj)\.weight$")
_STEP = "step"


def hf_config() -> dict[str, Any]:
    """``config.json`` in the form of the official Qwen3-30B-A3B one, with our sizes."""
    return {
        "architectures": ["Qwen3MoeForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "decoder_sparse_step": 1,
        "eos_token_id": 0,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 256,
        "initializer_range": 0.02,
        "intermediate_size": 512,
        "max_position_embeddings": 2048,
        "max_window_layers": 4,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 128,
        "norm_topk_prob": True,
        "num_attention_heads": 4,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "output_router_logits": False,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 4096,
    }


def initial_parameters(config: ModelConfig, seed: int) -> dict[str, mx.array]:
    """Random float32 parameters under canonical names; residual outputs start smaller.

    Raises:
        ValueError: if ``config`` has no experts.
    """
    if config.moe is None:
        raise ValueError("the built-in model is a mixture of experts")
    width, dim, experts = config.hidden_size, config.head_dim, config.moe.num_experts
    inner, layers = config.moe.moe_intermediate_size, config.num_hidden_layers
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, width)}
    norms: dict[str, int] = {"model.norm.weight": width}
    for layer in range(layers):
        path = f"model.layers.{layer}"
        norms[f"{path}.input_layernorm.weight"] = width
        norms[f"{path}.post_attention_layernorm.weight"] = width
        norms[f"{path}.self_attn.q_norm.weight"] = dim
        norms[f"{path}.self_attn.k_norm.weight"] = dim
        shapes[f"{path}.self_attn.q_proj.weight"] = (config.num_attention_heads * dim, width)
        shapes[f"{path}.self_attn.k_proj.weight"] = (config.num_key_value_heads * dim, width)
        shapes[f"{path}.self_attn.v_proj.weight"] = (config.num_key_value_heads * dim, width)
        shapes[f"{path}.self_attn.o_proj.weight"] = (width, config.num_attention_heads * dim)
        shapes[f"{path}.mlp.gate.weight"] = (experts, width)
        shapes[f"{path}.mlp.switch_mlp.gate_proj.weight"] = (experts, inner, width)
        shapes[f"{path}.mlp.switch_mlp.up_proj.weight"] = (experts, inner, width)
        shapes[f"{path}.mlp.switch_mlp.down_proj.weight"] = (experts, width, inner)
    keys = mx.random.split(mx.random.key(seed), len(shapes))
    parameters = {name: mx.ones((size,)) for name, size in norms.items()}
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        scale = 0.02 if name.startswith("model.embed") else shape[-1] ** -0.5
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            scale /= (2 * layers) ** 0.5
        parameters[name] = scale * mx.random.normal(shape, key=key)
    return parameters


def checkpoint_tensors(parameters: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Hugging Face's names and dtype: experts one by one, everything in bfloat16."""
    tensors: dict[str, mx.array] = {}
    for name, value in parameters.items():
        stored = value.astype(mx.bfloat16)
        match = _STACKED.match(name)
        if match is None:
            tensors[name] = stored
            continue
        for expert in range(stored.shape[0]):
            tensors[f"{match[1]}.experts.{expert}.{match[2]}.weight"] = stored[expert]
    return tensors


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], parameters: Mapping[str, mx.array]
) -> None:
    """Writes config.json and model.safetensors into ``folder``, replacing older ones at once."""
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _save(folder / "model.safetensors", checkpoint_tensors(parameters))


def save_state(path: Path, parameters: Mapping[str, mx.array], optimizer: AdamW) -> None:
    """Writes parameters, optimiser moments and the number of finished steps."""
    arrays = {_STEP: mx.array(optimizer.step)}
    for name, value in parameters.items():
        arrays[f"p/{name}"] = value
        arrays[f"m/{name}"] = optimizer.m[name]
        arrays[f"v/{name}"] = optimizer.v[name]
    _save(path, arrays)


def load_state(path: Path, parameters: dict[str, mx.array], optimizer: AdamW) -> None:
    """Restores what ``save_state`` wrote, in place.

    Raises:
        ValueError: if the file holds no such state.
    """
    arrays = mx.load(str(path))
    if not isinstance(arrays, dict) or _STEP not in arrays:
        raise ValueError(f"{path} is not a saved state")
    for name in parameters:
        parameters[name] = arrays[f"p/{name}"]
        optimizer.m[name] = arrays[f"m/{name}"]
        optimizer.v[name] = arrays[f"v/{name}"]
    optimizer.step = cast(int, arrays[_STEP].item())


def _save(path: Path, arrays: dict[str, mx.array]) -> None:
    partial = path.with_name(path.stem + ".partial.safetensors")
    mx.save_safetensors(str(partial), arrays, metadata={"format": "pt"})
    partial.replace(path)
