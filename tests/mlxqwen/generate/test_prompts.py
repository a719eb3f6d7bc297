"""Prompts at the level of arrays: every form of ids, and ids that no table has."""

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlxqwen.device import Device
from mlxqwen.generate import decode
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.model.cache import make_cache
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model

Build = Callable[[str], Model]


def test_lists_and_arrays_say_the_same(random_model: Build) -> None:
    model = random_model("qwen3")
    expected = list(generate_tokens(model, [3, 1, 4], max_tokens=5))
    for prompt in ((3, 1, 4), mx.array([3, 1, 4]), mx.array([3, 1, 4], mx.uint8)):
        assert list(generate_tokens(model, prompt, max_tokens=5)) == expected


@pytest.mark.parametrize("prompt", [[1, 50, 3], [-1], [10**6]])
def test_ids_outside_the_vocabulary_are_refused(random_model: Build, prompt: list[int]) -> None:
    with pytest.raises(ValueError, match="outside the vocabulary"):
        next(generate_tokens(random_model("qwen3"), prompt))


def test_an_empty_prompt_is_refused(random_model: Build) -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(generate_tokens(random_model("qwen3"), []))


def test_padding_must_fit_the_batch(random_model: Build) -> None:
    model = random_model("qwen3")
    with pytest.raises(ValueError, match="negative"):
        make_cache(model, left_padding=[-2, 0])
    with pytest.raises(ValueError, match="for 1 sequences, not 2"):
        model(mx.array([[1, 2], [3, 4]]), make_cache(model, left_padding=[1]))
    assert make_cache(model, left_padding=mx.array([0, 2]).tolist()).left_padding is not None


def test_a_chunk_that_takes_long_on_a_gpu_halves_the_next(
    random_model: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = random_model("qwen3"), list[int]()
    monkeypatch.setattr(decode, "device", lambda: Device("metal", "a GPU"))
    monkeypatch.setattr(ModelConfig, "prefill_chunk", 1024)
    clock = iter(range(0, 1000, 3))  # three seconds between any two looks at it
    monkeypatch.setattr(decode.time, "perf_counter", lambda: float(next(clock)))
    cache = make_cache(model)
    assert decode.prefill(model, [1] * 2100, cache, on_progress=seen.append)
    assert seen == [1024, 1536, 1792, 2048, 2100]
