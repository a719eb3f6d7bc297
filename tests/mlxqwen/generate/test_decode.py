"""Decoding: what is yielded, what the cache has read, and words put into the model's mouth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.load import load_model
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.generate.options import GREEDY, Sampling
from mlxqwen.generate.prefix import Timeline
from mlxqwen.generate.sampling import Sampler
from mlxqwen.model.cache import make_cache
from mlxqwen.model.decoder import Model

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))

from cases import CASES_NEXT
from checkpoints import write

PROMPT = [3, 14, 15, 92, 65]
FORCED = [7, 21, 33]
PENALISED = Sampling(temperature=0.0, repetition=1.7, presence=0.8)


def after(count: int, ids: Sequence[int]) -> Callable[[], Sequence[int]]:
    """Interjects ``ids`` once, after ``count`` tokens of the model."""
    asked = 0

    def interject() -> Sequence[int]:
        nonlocal asked
        asked += 1
        return ids if asked == count else ()

    return interject


def greedy(model: Model, prompt: Sequence[int], count: int) -> list[int]:
    return list(generate_tokens(model, prompt, max_tokens=count))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model most of whose layers keep a recurrent state, which cannot be cut back."""
    folder = tmp_path_factory.mktemp("hybrid") / "model"
    write(next(case for case in CASES_NEXT if case.name == "next_interval4"), folder, wide=True)
    return load_model(folder)[0]


@pytest.mark.parametrize("count", [1, 4])
def test_a_recurrent_state_sees_what_was_said_and_nothing_else(hybrid: Model, count: int) -> None:
    cache = make_cache(hybrid)
    said = list(
        generate_tokens(hybrid, PROMPT, cache=cache, max_tokens=16, interject=after(count, FORCED))
    )
    rest = said[count + 3 :]
    assert said[count : count + 3] == FORCED
    assert rest == greedy(hybrid, [*PROMPT, *said[: count + 3]], len(rest))
    assert cache.offset == len(PROMPT) + len(said) - 1


@pytest.mark.parametrize("count", [1, 4])
def test_the_model_goes_on_from_what_was_put_into_its_mouth(model: Model, count: int) -> None:
    said = list(generate_tokens(model, PROMPT, max_tokens=20, interject=after(count, FORCED)))
    assert len(said) == 20
    assert said[count : count + 3] == FORCED
    assert said[:count] == greedy(model, PROMPT, count)
    rest = said[count + 3 :]
    assert rest == greedy(model, [*PROMPT, *said[:count], *FORCED], len(rest))
    assert said != greedy(model, PROMPT, 20)


def test_forced_tokens_count_and_may_be_cut_short(model: Model) -> None:
    for limit in (4, 5, 6, 7, 8):
        tokens = generate_tokens(model, PROMPT, max_tokens=limit, interject=after(4, FORCED))
        said = list(tokens)
        assert len(said) == limit
        assert said[4:7] == FORCED[: limit - 4]


@pytest.mark.parametrize("cut", range(1, 12))
def test_wherever_it_stops_the_timeline_is_what_the_cache_has_read(model: Model, cut: int) -> None:
    timeline = Timeline(model)
    tokens = generate_tokens(
        model, PROMPT, cache=timeline.cache, max_tokens=20, interject=after(4, FORCED)
    )
    said = [next(tokens) for _ in range(cut)]
    tokens.close()
    timeline.commit([*PROMPT, *said])
    assert timeline.tokens == [*PROMPT, *said][: timeline.cache.offset]
    assert len(timeline.tokens) >= len(PROMPT) + cut - len(FORCED)
    prompt = [*PROMPT, *said, 40]
    cached = timeline.rewind_to(prompt)
    warm = generate_tokens(model, prompt[cached:], cache=timeline.cache, max_tokens=8)
    assert list(warm) == greedy(model, prompt, 8)


def test_stopping_is_asked_for_between_forced_tokens(model: Model) -> None:
    said: list[int] = []
    tokens = generate_tokens(
        model,
        PROMPT,
        max_tokens=20,
        should_stop=lambda: len(said) == 5,
        interject=after(4, FORCED),
    )
    for token in tokens:
        said.append(token)
    assert said[4:] == FORCED[:1]


def test_penalties_see_what_was_said_and_not_what_was_dropped(model: Model) -> None:
    count = 3
    said = list(
        generate_tokens(
            model, PROMPT, sampling=PENALISED, max_tokens=12, interject=after(count, FORCED)
        )
    )
    sampler = Sampler(PENALISED, model.config.vocab_size, PROMPT)
    flat = mx.zeros((1, model.config.vocab_size))
    for token in said[: count + 3]:  # teach it what was said, by making each token the likeliest
        flat[0, token] = 1e6
        assert sampler(flat).item() == token
        flat[0, token] = 0
    read = [*PROMPT, *said[: count + 3]]
    expected = sampler(model(mx.array([read]))[:, -1])
    assert said[count + 3] == expected.item()


def test_a_dropped_choice_leaves_no_trace() -> None:
    sampler = Sampler(Sampling(temperature=0.0, presence=2.0), 4)
    logits = mx.array([[1.0, 0.5, 0.0, -5.0]])
    assert sampler(logits).item() == 0
    sampler.choose_instead([1, 2])
    # 0 was never said, so it is still the likeliest; 1 and 2 have lost 2.
    assert sampler(logits).item() == 0
    assert sampler(mx.array([[-3.0, 0.5, 0.0, -1.0]])).item() == 3


def test_no_prompt_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(generate_tokens(model, []))
    assert greedy(model, PROMPT, 0) == []


def test_greedy_is_what_the_whole_sequence_says(model: Model) -> None:
    said = list(generate_tokens(model, PROMPT, sampling=GREEDY, max_tokens=6))
    logits = model(mx.array([[*PROMPT, *said]]))
    assert mx.argmax(logits[0, len(PROMPT) - 1 : -1], axis=-1).tolist() == said
