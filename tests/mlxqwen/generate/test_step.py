"""The compiled step says what the plain one says, across growth of the cache and with penalties."""

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlxqwen.device import Device
from mlxqwen.generate import decode
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.generate.options import GREEDY, Sampling
from mlxqwen.generate.step import compiled_step
from mlxqwen.model.cache import make_cache
from mlxqwen.model.decoder import Model

SEEDED = Sampling(temperature=0.8, top_k=10, top_p=0.9, repetition=1.2, presence=0.5, seed=4)


def said(model: Model, sampling: Sampling, prompt: list[int], count: int) -> list[int]:
    return list(generate_tokens(model, prompt, sampling=sampling, max_tokens=count))


@pytest.mark.parametrize(("model_type", "sampling"), [("qwen3", SEEDED), ("qwen3_next", GREEDY)])
def test_same_tokens(
    model_type: str,
    sampling: Sampling,
    random_model: Callable[[str], Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = random_model(model_type)
    prompt = [3, 1, 4, 1, 5] * 50  # 250 tokens: the cache grows while decoding
    plain, first = said(model, sampling, prompt, 20), said(model, sampling, [7], 4)
    monkeypatch.setattr(decode, "plain_step", compiled_step)
    assert said(model, sampling, prompt, 20) == plain
    assert said(model, sampling, [7], 4) == first  # nothing is remembered before the first token


def test_one_trace_for_each_capacity(
    random_model: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = 0
    run = Model.run

    def counted(self: Model, *arguments: object) -> mx.array:
        nonlocal traces
        traces += 1
        return run(self, *arguments)

    monkeypatch.setattr(Model, "run", counted)
    monkeypatch.setattr(decode, "plain_step", compiled_step)
    said(random_model("qwen3"), GREEDY, [1] * 250, 30)
    assert traces == 1 + 2  # the prompt in one chunk; capacities 256 and 512


def test_a_padded_cache_takes_the_plain_step_on_a_gpu_too(
    random_model: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("qwen3")
    padded = [0, 0, 0, 7, 8, 9]

    def answer() -> list[int]:
        cache = make_cache(model, left_padding=[3])
        return list(generate_tokens(model, padded, cache=cache, max_tokens=6))

    plain = answer()
    monkeypatch.setattr(decode, "device", lambda: Device("metal", "a GPU"))
    assert answer() == plain == said(model, GREEDY, [7, 8, 9], 6)
