"""The fused router chooses as a stable sort of the probabilities does, and weighs as softmax."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.model.kernels import router as kernel

DTYPES = [mx.float32, mx.float16, mx.bfloat16]
# Experts and chosen: Qwen3-30B-A3B and 235B, Coder-480B, Next-80B, the built-in model, odd ones.
SHAPES = [(128, 8), (160, 8), (512, 10), (8, 2), (1, 1), (5, 5), (33, 3), (100, 16), (1024, 16)]


def expected(logits: np.ndarray, chosen: int, normalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Experts and weights in float64, each row sorted stably: equals stay in order of index."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        powers[powers < 1e-38] = 0  # as in float32, where a GPU has no subnormal numbers
        probabilities = powers / powers.sum(axis=-1, keepdims=True)
    order = np.argsort(probabilities, axis=-1, kind="stable")[..., -chosen:]
    weights = np.take_along_axis(probabilities, order, axis=-1)
    return order, weights / weights.sum(axis=-1, keepdims=True) if normalise else weights


def check(logits: np.ndarray, chosen: int, normalise: bool, dtype: mx.Dtype) -> None:
    given = mx.array(logits.astype(np.float32)).astype(dtype)
    assert kernel.fits(given, chosen)
    experts, weights = kernel.router(given, chosen, normalise)
    exact = np.array(given.astype(mx.float32), dtype=np.float64)
    want_experts, want_weights = expected(exact, chosen, normalise)
    assert experts.dtype == mx.uint32
    assert np.array_equal(np.array(experts), want_experts)
    assert np.allclose(np.array(weights), want_weights, rtol=4e-6, atol=0, equal_nan=True)


def spaced(rows: int, experts: int) -> np.ndarray:
    """Logits in steps of 1/8, exact in every dtype: some equal, the others plainly apart."""
    random = np.random.default_rng(rows * 10_000 + experts)
    return np.round(random.normal(size=(rows, experts)) * 24) / 8


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "plain"])
@pytest.mark.parametrize(("experts", "chosen"), SHAPES)
def test_random_rows(experts: int, chosen: int, normalise: bool) -> None:
    for rows in (1, 3, 16):
        check(spaced(rows, experts), chosen, normalise, mx.float32)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: mx.Dtype) -> None:
    for rows in range(1, 17):
        check(spaced(rows, 128), 8, True, dtype)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_logits_choose_the_highest_indices(dtype: mx.Dtype) -> None:
    rows = np.zeros((4, 128))
    rows[1] = -7.25
    rows[2, ::2] = 1
    rows[3, [3, 40, 41, 100]] = 5
    check(rows, 8, True, dtype)
    experts, _ = kernel.router(mx.array(rows[:1]).astype(dtype), 8, True)
    assert experts.tolist() == [[120, 121, 122, 123, 124, 125, 126, 127]]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("experts", [128, 126])  # full, and with two registers to spare
def test_rows_that_are_no_numbers(experts: int) -> None:
    rows = spaced(6, experts)
    rows[0, 17] = np.nan
    rows[1, 3] = np.inf
    rows[2] = -np.inf
    rows[3, : experts - 8] = -np.inf  # eight are left
    rows[4, 3:] = -np.inf  # three are left: the rest have probability 0
    rows[5] = np.nan
    for normalise in (True, False):
        check(rows, 8, normalise, mx.float32)


@pytest.mark.usefixtures("kernels")
def test_extreme_logits() -> None:
    rows = spaced(2, 128)
    rows[0] *= 1000  # all but a few probabilities are 0
    rows[1, 5] = 3e38
    check(rows, 8, True, mx.float32)


@pytest.mark.usefixtures("kernels")
def test_it_equals_the_composed_operations() -> None:
    random = np.random.default_rng(3)
    logits = mx.array(random.normal(size=(2, 2, 128)).astype(np.float32))
    experts, weights = kernel.router(logits, 8, True)
    other_experts, other_weights = kernel.reference(logits, 8, True)
    assert experts.shape == weights.shape == (2, 2, 8)
    order = mx.argsort(other_weights, axis=-1)  # the CPU does not sort what it partitions
    assert mx.array_equal(experts, mx.take_along_axis(other_experts, order, axis=-1))
    assert mx.allclose(weights, mx.take_along_axis(other_weights, order, axis=-1), rtol=4e-6)


def test_what_it_does_not_take() -> None:
    assert not kernel.fits(mx.zeros((17, 128)), 8)
    assert not kernel.fits(mx.zeros((1, 1025)), 8)
    assert not kernel.fits(mx.zeros((1, 128)), 17)
    assert not kernel.fits(mx.zeros((1, 4)), 5)
    assert not kernel.fits(mx.zeros((0, 128)), 8)
    assert not kernel.fits(mx.zeros((1, 128), dtype=mx.uint32), 8)
