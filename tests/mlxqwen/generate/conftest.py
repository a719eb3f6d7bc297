"""Small random models, built without files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model
from mlxqwen.model.params import Params

BASE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "head_dim": 16,
    "vocab_size": 50,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
DELTA: dict[str, Any] = {
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}


class _Random(Params):
    """Tensors made up as they are asked for, in the shapes that the model wants."""

    def _checked(self, name: str, array: Any, shape: tuple[int, ...] | None) -> mx.array:
        assert shape is not None
        return mx.random.normal(shape, key=mx.random.key(len(name) + sum(shape))) * 0.3


@pytest.fixture
def random_model() -> Callable[[str], Model]:
    """model_type -> a model of that type, always the same."""

    def build(model_type: str) -> Model:
        extra = DELTA if model_type == "qwen3_next" else {}
        config = ModelConfig.parse({**BASE, "model_type": model_type, **extra})
        return Model.build(config, _Random({}, {}, mx.float32))

    return build
