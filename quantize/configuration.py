"""The ``config.json`` of an output: the source's, in words that other MLX programs understand.

Nothing of the source's own is changed but its quantisation; keys are added. One source is
rewritten: Qwen2.5-Omni's text model, left alone by the rest, is a Qwen2 and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxqwen.model.config import ModelConfig


def output_config(
    source: Mapping[str, Any], config: ModelConfig, block: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration to write.

    Args:
        source: The source's ``config.json``.
        config: The same, parsed.
        block: The quantisation, for both keys under which programs look for it.
    """
    if config.model_type == "qwen2_5_omni":
        base = _plain_qwen2(source, config)
    else:
        base = {**_former_dialect(source, config), **source}
    return {**base, "quantization": block, "quantization_config": block}


def _former_dialect(source: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """What Transformers 5 says in ``rope_parameters`` and elsewhere, as mlx-lm's classes ask it."""
    if "rope_parameters" not in source or config.model_type in ("qwen3_5", "qwen3_5_moe"):
        return {}
    added: dict[str, Any] = {"rope_theta": config.rope.theta}
    if config.rope.yarn is not None:
        added["rope_scaling"] = source["rope_parameters"]
    if config.moe is not None:
        added["num_experts"] = config.moe.num_experts
    if config.delta is not None:
        added["partial_rotary_factor"] = config.rotary_dims / config.head_dim
        full = [n for n in range(config.num_hidden_layers) if not config.is_linear(n)]
        # mlx-lm knows layers that recur at an interval only; others it cannot run at all.
        added["full_attention_interval"] = full[0] + 1 if full else config.num_hidden_layers + 1
    return added


def _plain_qwen2(source: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    thinker: Mapping[str, Any] = source.get("thinker_config", source)
    text: Mapping[str, Any] = thinker.get("text_config", thinker)
    outer = {key: source[key] for key in ("torch_dtype", "dtype") if key in source}
    own: dict[str, Any] = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    if config.rope.yarn is None:
        # Positions in three sections are plain ones where all is text.
        own |= {"rope_scaling": None, "rope_theta": config.rope.theta}
    kept = {key: value for key, value in text.items() if key != "rope_parameters"}
    return {**outer, **kept, **own}
