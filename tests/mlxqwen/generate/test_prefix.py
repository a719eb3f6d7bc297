"""A timeline: reuse of what was read, for caches that can be cut and for those that cannot."""

from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.generate.decode import prefill
from mlxqwen.generate.prefix import Timeline
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


def build(model_type: str) -> Model:
    config = ModelConfig.parse(
        {**BASE, "model_type": model_type, **(DELTA if model_type == "qwen3_next" else {})}
    )

    class Random(Params):
        def _checked(self, name: str, array: Any, shape: tuple[int, ...] | None) -> mx.array:
            assert shape is not None
            return mx.random.normal(shape, key=mx.random.key(len(name) + sum(shape))) * 0.3

    return Model.build(config, Random({}, {}, mx.float32))


def read(timeline: Timeline, tokens: list[int]) -> None:
    prefill(timeline.model, tokens, timeline.cache)
    timeline.commit(tokens)


def continuation(timeline: Timeline, prompt: list[int]) -> mx.array:
    kept = timeline.rewind_to(prompt)
    return timeline.model(mx.array([prompt[kept:]]), timeline.cache)[0, -1]


@pytest.mark.parametrize("model_type", ["qwen3", "qwen3_next"])
def test_a_rewound_timeline_answers_like_a_fresh_one(model_type: str) -> None:
    model = build(model_type)
    first = list(range(1, 30))
    for prompt in ([*first[:20], 40, 41], [*first, 7], [9, 9, 9], first[:12], first):
        timeline = Timeline(model)
        read(timeline, first[:12])
        timeline.mark()
        read(timeline, first[12:])
        warm = continuation(timeline, prompt)
        assert mx.allclose(warm, model(mx.array([prompt]))[0, -1], atol=1e-4)


def test_a_recurrent_timeline_goes_back_to_the_last_mark() -> None:
    timeline = Timeline(build("qwen3_next"))
    read(timeline, [1, 2, 3])
    timeline.mark()
    read(timeline, [4, 5, 6])
    timeline.mark()
    read(timeline, [7, 8])
    assert timeline.rewind_to([1, 2, 3, 4, 5, 6, 7, 8, 9]) == 8
    assert timeline.rewind_to([1, 2, 3, 4, 5, 6, 7, 0, 0]) == 6
    assert timeline.rewind_to([1, 2, 3, 4, 0, 0]) == 3
    assert timeline.rewind_to([1, 0, 0]) == 0
    assert timeline.tokens == []


def test_a_cuttable_timeline_keeps_every_common_token() -> None:
    timeline = Timeline(build("qwen3"))
    read(timeline, [1, 2, 3, 4, 5])
    assert timeline.rewind_to([1, 2, 3, 0]) == 3
    assert timeline.rewind_to([1, 2, 3]) == 2  # one is left to read
    assert timeline.tokens == [1, 2]
