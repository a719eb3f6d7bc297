"""Names to canonical names: experts gathered, surplus dropped, the unknown refused by name."""

from pathlib import Path
from typing import Any

import pytest

from mlxqwen.checkpoint.layouts import canonical, quantized_modules
from mlxqwen.checkpoint.safetensors import TensorInfo
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.config import ModelConfig

CONFIG: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 8,
    "intermediate_size": 16,
    "moe_intermediate_size": 4,
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "head_dim": 4,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def infos(
    *names: str, shape: tuple[int, ...] = (4, 8), dtype: str = "BF16"
) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name, dtype, shape, Path("model.safetensors"), 0, 64) for name in names
    }


def experts(*indices: int, projection: str = "gate_proj") -> dict[str, TensorInfo]:
    return infos(*(f"model.layers.0.mlp.experts.{i}.{projection}.weight" for i in indices))


def names(tensors: dict[str, TensorInfo], **change: Any) -> set[str]:
    return set(canonical(tensors, ModelConfig.parse({**CONFIG, **change})))


def test_experts_are_gathered_in_numerical_order() -> None:
    config = ModelConfig.parse({**CONFIG, "num_experts": 12})
    origins = canonical(experts(*range(11, -1, -1)), config)
    origin = origins["model.layers.0.mlp.switch_mlp.gate_proj.weight"]
    assert [int(part.name.split(".")[5]) for part in origin.parts] == list(range(12))
    assert origin.shape == (12, 4, 8)
    assert origin.nbytes == 12 * 64


def test_a_tied_head_and_computed_buffers_are_dropped() -> None:
    stored = infos("lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")
    assert names(stored) == set()
    assert names(stored, tie_word_embeddings=False) == {"lm_head.weight"}


def test_a_missing_expert_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"Expert 1 of .*gate_proj"):
        names(experts(0, 2))


def test_a_surplus_expert_is_refused() -> None:
    with pytest.raises(CheckpointError, match="4 experts where config.json says 3"):
        names(experts(0, 1, 2, 3))


def test_experts_of_unequal_shape_are_refused() -> None:
    odd = infos("model.layers.0.mlp.experts.2.gate_proj.weight", shape=(5, 8))
    with pytest.raises(CheckpointError, match=r"experts\.2\.gate_proj"):
        names({**experts(0, 1), **odd})


@pytest.mark.parametrize(
    "foreign",
    [
        "transformer.h.0.attn.weight",
        "model.visual.patch_embed.weight",
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.self_attn.q_proj.weight_scale_inv",
        "model.layers.0.self_attn.q_proj.qweight",
    ],
)
def test_unknown_layouts_are_refused_by_name(foreign: str) -> None:
    with pytest.raises(UnsupportedModel, match=foreign.replace(".", r"\.")):
        names(infos(foreign))


def test_quantised_modules_are_those_with_scales() -> None:
    assert quantized_modules(["a.b.weight", "a.b.scales", "c.weight"]) == ["a.b"]
