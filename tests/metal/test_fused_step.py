"""A whole decode step through every kernel, executed here by the emulator, against plain layers."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.model.cache import make_cache
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model
from mlxqwen.model.fused import FusedModel
from mlxqwen.model.params import Params
from mlxqwen.model.quantspec import QuantSpec
from mlxqwen.model.step import Step

BASE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "head_dim": 32,
    "vocab_size": 64,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
MOE = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
}
DELTA = {
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "shared_expert_intermediate_size": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


class _Quantised(Params):
    """Random tensors in the shapes that the model wants, matrices in 4 bits, the router in 8."""

    def __init__(self) -> None:
        super().__init__({}, {}, mx.float32)
        self._made = 0

    def _random(self, shape: tuple[int, ...]) -> mx.array:
        self._made += 1
        return mx.random.normal(shape, key=mx.random.key(self._made)) * shape[-1] ** -0.5

    def _checked(self, name: str, array: Any, shape: tuple[int, ...] | None) -> mx.array:
        assert shape is not None
        value = self._random(shape)
        return value + 1 if name.endswith("norm.weight") else value

    def stored(self, module: str, out: int, width: int, lead: tuple[int, ...] = ()) -> Any:
        from mlxqwen.model.linear import Stored

        spec = QuantSpec(8 if module.endswith(".mlp.gate") else 4, 32)
        packed, scales, biases = mx.quantize(
            self._random((*lead, out, width)), group_size=32, bits=spec.bits
        )
        return Stored(packed, scales, biases, spec)


MODELS = {
    "qwen3_moe": MOE,
    "qwen3": {"rope_scaling": YARN},
    "qwen2": {"head_dim": None},
    "qwen3_next": {**MOE, **DELTA},
}


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("model_type", MODELS)
def test_logits_of_the_fused_step(model_type: str) -> None:
    config = ModelConfig.parse({**BASE, "model_type": model_type, **MODELS[model_type]})
    model = Model.build(config, _Quantised())
    fused = FusedModel.of(model)
    kinds = {type(layer.mixer).__name__ for layer in fused.layers}
    kinds |= {type(layer.mlp).__name__ for layer in fused.layers}
    assert kinds <= {"FusedAttention", "FusedDelta", "FusedMoE", "MLP"}
    assert all(layer.adds for layer in fused.layers)
    plain_cache, cache = make_cache(model), make_cache(model)
    prompt = mx.array([[5, 9, 33, 2, 60, 7, 7, 41, 12]])
    model.hidden(prompt, plain_cache)
    model.hidden(prompt, cache)
    for token in (3, 50, 18):
        tokens = mx.array([[token]])
        expected = model(tokens, plain_cache)
        cache.reserve(1, 1)
        hidden = fused.run(tokens, cache.layers, Step.over(1, cache.offset, None))
        cache.advance(1)
        logits = model.logits(hidden)
        error = mx.linalg.norm(logits - expected) / mx.linalg.norm(expected)
        assert error.item() < 1e-5


def test_what_does_not_fit_stays_plain() -> None:
    config = {**BASE, "model_type": "qwen3_moe", **MOE, "num_experts": 32}
    for chosen, kind in ((8, "FusedMoE"), (17, "SparseMoE")):
        parsed = ModelConfig.parse({**config, "num_experts_per_tok": chosen})
        fused = FusedModel.of(Model.build(parsed, _Quantised()))
        assert {type(layer.mlp).__name__ for layer in fused.layers} == {kind}
