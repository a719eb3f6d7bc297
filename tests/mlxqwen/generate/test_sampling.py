"""Sampling: exact selection, the order of operations, penalties, seeds."""

from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.errors import CheckpointError, UsageError
from mlxqwen.generate.options import GREEDY, Sampling
from mlxqwen.generate.sampling import Sampler, largest


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.sampled_from([1, 50, 129, 4000, 20_001]), st.integers(0, 9))
def test_largest_is_exact_even_with_ties(k: int, vocab: int, seed: int) -> None:
    k = min(k, vocab)
    # Few distinct values: ties everywhere.
    logits = np.random.RandomState(seed).randint(0, 50, (2, vocab)).astype(np.float32)
    values, indices = largest(mx.array(logits), k)
    expected = -np.sort(-logits, axis=-1)[:, :k]
    assert np.array_equal(np.array(values), expected)
    chosen = np.array(indices)
    assert np.array_equal(np.take_along_axis(logits, chosen, axis=-1), expected)
    assert all(len(set(row)) == k for row in chosen.tolist())


def kept(sampling: Sampling, logits: list[float], draws: int = 400) -> set[int]:
    """The tokens that can be sampled, found by sampling."""
    sampler = Sampler(sampling, len(logits))
    rows = mx.broadcast_to(mx.array([logits]), (draws, len(logits)))
    return set(map(int, np.array(sampler(rows))))


PROBABILITIES = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.05], np.float32)).tolist()


@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize(("top_p", "expected"), [(0.39, {0}), (0.5, {0, 1}), (0.84, {0, 1, 2})])
def test_top_p_keeps_the_token_that_crosses(top_k: int, top_p: float, expected: set[int]) -> None:
    sampling = Sampling(temperature=1.0, top_k=top_k, top_p=top_p, seed=1)
    assert kept(sampling, PROBABILITIES) == expected


@pytest.mark.parametrize("top_k", [0, 5])
def test_min_p_is_relative_to_the_likeliest(top_k: int) -> None:
    sampling = Sampling(temperature=1.0, top_k=top_k, min_p=0.3, seed=1)
    assert kept(sampling, PROBABILITIES) == {0, 1, 2}


def test_temperature_comes_before_top_p() -> None:
    # At temperature 0.25 the first two carry 0.76 and 0.24: top-p 0.7 keeps only the first. In
    # the other order top-p would see 0.4 and 0.3 and keep both.
    assert kept(Sampling(temperature=0.25, top_p=0.7, seed=1), PROBABILITIES) == {0}


def test_top_k_one_is_greedy_and_temperature_zero_is_greedy() -> None:
    logits = mx.random.normal((4, 1000))
    best = mx.argmax(logits, axis=-1)
    assert mx.array_equal(Sampler(Sampling(temperature=1.0, top_k=1), 1000)(logits), best)
    assert mx.array_equal(Sampler(Sampling(temperature=0.0, top_k=20), 1000)(logits), best)


def test_frequencies_follow_the_probabilities() -> None:
    sampler = Sampler(Sampling(temperature=1.0, top_k=5, seed=3), 5)
    rows = mx.broadcast_to(mx.array([PROBABILITIES]), (20_000, 5))
    counts = Counter(np.array(sampler(rows)).tolist())
    assert counts[0] / 20_000 == pytest.approx(0.4, abs=0.02)
    assert counts[4] / 20_000 == pytest.approx(0.05, abs=0.01)


def test_a_seed_repeats_and_none_does_not() -> None:
    logits = mx.zeros((1, 1000))

    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), 1000)
        return [int(sampler(logits).item()) for _ in range(8)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_repetition_penalty_as_transformers_defines_it() -> None:
    logits = mx.array([[2.0, 1.9, -1.0, -1.1]])
    sampler = Sampler(Sampling(temperature=0.0, repetition=1.2), 4, prompt=[0])
    assert int(sampler(logits).item()) == 1  # 2.0 / 1.2 < 1.9
    assert int(sampler(logits).item()) == 0  # 1.9 / 1.2 < 2.0 / 1.2
    negative = Sampler(Sampling(temperature=0.0, repetition=1.2), 4, prompt=[2])
    assert int(negative(mx.array([[-9.0, -9.0, -1.0, -1.1]])).item()) == 3  # -1.0 · 1.2 < -1.1


def test_presence_counts_the_answer_not_the_prompt() -> None:
    logits = mx.array([[2.0, 1.5, 0.0]])
    sampler = Sampler(Sampling(temperature=0.0, presence=1.0), 3, prompt=[0])
    assert [int(sampler(logits).item()) for _ in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 2.0},
        {"repetition": 0.0},
        {"seed": -1},
        {"temperature": float("nan")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_none_takes_the_default_below() -> None:
    mine = Sampling(temperature=0.2)
    merged = mine.over(Sampling(temperature=0.9, top_k=20)).over(GREEDY)
    assert (merged.temperature, merged.top_k, merged.top_p) == (0.2, 20, 1.0)


def test_defaults_come_from_generation_config() -> None:
    config = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    read = Sampling.from_generation_config(config)
    assert (read.temperature, read.top_k, read.top_p) == (0.6, 20, 0.95)
    assert Sampling.from_generation_config({"do_sample": False}).temperature == 0.0
    assert Sampling.from_generation_config({}).top_k == 20


@pytest.mark.parametrize(
    "wrong", [{"temperature": "hot"}, {"top_k": 2.5}, {"temperature": -1}, {"top_p": True}]
)
def test_a_recommendation_that_cannot_be_names_file_and_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=rf"generation_config\.json .*{next(iter(wrong))}"):
        Sampling.from_generation_config(wrong)


def test_null_in_a_recommendation_is_silence() -> None:
    assert Sampling.from_generation_config({"temperature": None}).temperature == 0.7
