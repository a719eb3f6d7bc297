"""A timeline: reuse of what was read, for caches that can be cut and for those that cannot."""

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlxqwen.generate.decode import prefill
from mlxqwen.generate.prefix import Timeline
from mlxqwen.model.decoder import Model

Build = Callable[[str], Model]


def read(timeline: Timeline, tokens: list[int]) -> None:
    prefill(timeline.model, tokens, timeline.cache)
    timeline.commit(tokens)


def continuation(timeline: Timeline, prompt: list[int]) -> mx.array:
    kept = timeline.rewind_to(prompt)
    return timeline.model(mx.array([prompt[kept:]]), timeline.cache)[0, -1]


@pytest.mark.parametrize("model_type", ["qwen3", "qwen3_next"])
def test_a_rewound_timeline_answers_like_a_fresh_one(model_type: str, random_model: Build) -> None:
    model = random_model(model_type)
    first = list(range(1, 30))
    for prompt in ([*first[:20], 40, 41], [*first, 7], [9, 9, 9], first[:12], first):
        timeline = Timeline(model)
        read(timeline, first[:12])
        timeline.mark()
        read(timeline, first[12:])
        warm = continuation(timeline, prompt)
        assert mx.allclose(warm, model(mx.array([prompt]))[0, -1], atol=1e-4)


def test_a_recurrent_timeline_goes_back_to_the_last_mark(random_model: Build) -> None:
    timeline = Timeline(random_model("qwen3_next"))
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


def test_a_cuttable_timeline_keeps_every_common_token(random_model: Build) -> None:
    timeline = Timeline(random_model("qwen3"))
    read(timeline, [1, 2, 3, 4, 5])
    assert timeline.rewind_to([1, 2, 3, 0]) == 3
    assert timeline.rewind_to([1, 2, 3]) == 2  # one is left to read
    assert timeline.tokens == [1, 2]
