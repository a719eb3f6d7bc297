"""The mathematics of comparing predictions, against NumPy in double precision."""

from __future__ import annotations

import json
import math

import mlx.core as mx
import numpy as np
import pytest

from quantize import divergence
from quantize.divergence import Comparison, compare, histogram, quantile

VOCABULARY = 151_936


def logits(seed: int, shape: tuple[int, ...], scale: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def reference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p, log q and KL in double precision."""
    pair = []
    for x in (a.astype(np.float64), b.astype(np.float64)):
        x = x - x.max(axis=-1, keepdims=True)
        pair.append(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))
    log_p, log_q = pair
    return log_p, log_q, (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 0.3, 3.0])
@pytest.mark.parametrize("vocabulary", [7, 512, VOCABULARY])
def test_equals_double_precision(noise: float, vocabulary: int) -> None:
    a = logits(1, (5, vocabulary))
    b = a + logits(2, a.shape, noise)
    targets = np.arange(5) % vocabulary
    got = compare(mx.array(a), mx.array(b), mx.array(targets))
    log_p, log_q, kl = reference(a, b)
    rows = np.arange(5)
    # Logits that are 1e-4 apart are themselves rounded to some 2e-7.
    np.testing.assert_allclose(np.array(got.kl), kl, rtol=1e-2 if noise < 1e-3 else 1e-4)
    np.testing.assert_allclose(np.array(got.source_nll), -log_p[rows, targets], rtol=2e-6)
    np.testing.assert_allclose(np.array(got.nll), -log_q[rows, targets], rtol=2e-6)
    agrees = a.argmax(axis=-1) == b.argmax(axis=-1)
    np.testing.assert_array_equal(np.array(got.agrees), agrees)


def test_a_model_and_itself_are_exactly_alike() -> None:
    a = mx.array(logits(3, (4, 1000)))
    got = compare(a, a, mx.zeros(4, mx.int32))
    assert got.kl.tolist() == [0.0] * 4
    assert got.agrees.tolist() == [1.0] * 4


def test_a_shift_of_all_logits_changes_nothing() -> None:
    a = logits(4, (3, 4000))
    got = compare(mx.array(a), mx.array(a + np.float32(50)), mx.zeros(3, mx.int32))
    # 4000 log-probabilities rounded to 4e-6 each: all that is left is their square.
    assert max(got.kl.tolist()) < 1e-10


def test_predictions_that_exclude_each_other_stay_finite() -> None:
    a = mx.array([[500.0, -500.0, 0.0], [-80.0, 90.0, 0.0]])
    got = compare(a, -a, mx.array([1, 0]))
    assert got.kl.tolist() == pytest.approx([1000.0, 170.0])


def test_half_precision_logits_are_widened_first() -> None:
    a = mx.array(logits(5, (2, 64))).astype(mx.bfloat16)
    b = mx.array(logits(6, (2, 64))).astype(mx.bfloat16)
    got = compare(a, b, mx.array([0, 1]))
    wide = compare(a.astype(mx.float32), b.astype(mx.float32), mx.array([0, 1]))
    assert got.kl.tolist() == wide.kl.tolist()


def test_many_chunks_tell_what_one_array_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, length, width, vocabulary = 6, 8, 16, 40
    heads = [logits(10, (width, vocabulary), 0.5)]
    heads.append(heads[0] + logits(11, heads[0].shape, 0.2))
    hidden = logits(12, (sequences * length, width), 1.0)
    targets = np.arange(len(hidden)) % vocabulary
    monkeypatch.setattr(divergence, "CHUNK_NUMBERS", 5 * vocabulary)
    seen: list[int] = []

    def head(index: int, x: mx.array) -> mx.array:
        seen.append(x.shape[0])
        return x @ mx.array(heads[index])

    comparison = Comparison(length)
    states = mx.array(hidden)
    comparison.add_hidden(
        lambda x: head(0, x), lambda x: head(1, x), (states, states), mx.array(targets)
    )
    assert max(seen) == 5
    assert len(comparison) == len(hidden)
    got = comparison.result()

    log_p, log_q, kl = reference(hidden @ heads[0], hidden @ heads[1])
    rows = np.arange(len(hidden))
    nll, source = -log_q[rows, targets], -log_p[rows, targets]
    agrees = log_p.argmax(axis=-1) == log_q.argmax(axis=-1)
    close = {"rel": 1e-4}
    assert got.tokens == len(hidden)
    assert got.kl.value == pytest.approx(kl.mean(), **close)
    assert got.kl_median == pytest.approx(np.median(kl), **close)
    assert got.kl_p90 == pytest.approx(np.percentile(kl, 90), **close)
    assert got.kl_p99 == pytest.approx(np.percentile(kl, 99), **close)
    assert got.kl_max == pytest.approx(kl.max(), **close)
    assert got.top1.value == agrees.mean()
    assert 0 < got.top1.value < 1
    assert got.perplexity.value == pytest.approx(np.exp(nll.mean()), **close)
    assert got.source_perplexity.value == pytest.approx(np.exp(source.mean()), **close)
    assert got.perplexity_ratio.value == pytest.approx(np.exp((nll - source).mean()), **close)
    for mean, values in ((got.kl, kl), (got.top1, agrees)):
        means = values.reshape(sequences, length).mean(axis=1)
        assert mean.error == pytest.approx(means.std(ddof=1) / sequences**0.5, rel=1e-3)
    ratio = (nll - source).reshape(sequences, length).mean(axis=1)
    expected = got.perplexity_ratio.value * ratio.std(ddof=1) / sequences**0.5
    assert got.perplexity_ratio.error == pytest.approx(expected, rel=1e-3)
    assert sum(got.histogram.counts) == len(hidden)


def test_one_sequence_has_no_standard_error() -> None:
    comparison = Comparison(4)
    a = mx.array(logits(7, (4, 9)))
    comparison.add(a, a + 1, mx.zeros(4, mx.int32))
    result = comparison.result()
    assert math.isnan(result.kl.error)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["kl"]["value"] == result.kl.value
    assert plain["kl"]["error"] is None
    assert plain["top1"]["value"] == 1.0


def test_quantiles_are_numpys() -> None:
    values = sorted(logits(8, (37,)).tolist())
    for share in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(np.percentile(values, share * 100))
    assert quantile([3.0], 0.99) == 3.0


def test_histogram_counts_every_value_once() -> None:
    bins = histogram([0.0, 1e-12, 1e-3, 1.1e-3, 5.0, 1e6], first=-4, last=1, per=1)
    assert bins.edges == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])
    assert bins.counts == (2, 2, 0, 0, 2)
