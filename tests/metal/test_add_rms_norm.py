"""The fused addition and norm equals the float32 formula within the rounding of its dtype."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.model.kernels import add_rms_norm as kernel

EPS = 1e-6
# Units in the last place, relative: half of one is a correct rounding.
STEP = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}
DTYPES = list(STEP)


def given(rows: int, width: int, dtype: mx.Dtype, weight_dtype: mx.Dtype) -> list[mx.array]:
    """Random x, y and weight, each row of another magnitude."""
    random = np.random.default_rng(rows * 100_000 + width)
    scale = np.exp(random.uniform(-4, 4, (rows, 1)))
    x, y = (random.normal(size=(rows, width)) * scale for _ in range(2))
    weight = mx.array(random.uniform(0.2, 2, width).astype(np.float32)).astype(weight_dtype)
    return [mx.array(value.astype(np.float32)).astype(dtype) for value in (x, y)] + [weight]


def exact(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32), dtype=np.float64)


def check(x: mx.array, y: mx.array, weight: mx.array) -> None:
    assert kernel.fits(x, weight)
    added, normed = kernel.add_rms_norm(x, y, weight, EPS)
    assert added.dtype == normed.dtype == x.dtype
    assert added.shape == normed.shape == x.shape
    assert mx.array_equal(added, x + y)
    h = exact(added)
    expected = h / np.sqrt((h**2).mean(axis=-1, keepdims=True) + EPS) * exact(weight)
    error = np.abs(exact(normed) - expected)
    # Half a unit, and for float32 what its own sum and square root lose.
    slack = 0.501 if x.dtype != mx.float32 else 8
    assert (error <= slack * STEP[x.dtype] * np.abs(expected) + 1e-7).all()


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("width", [64, 1000, 1001, 1024, 2048, 4096, 5120])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_row_equals_the_formula(dtype: mx.Dtype, width: int) -> None:
    for rows in (1, 3):
        check(*given(rows, width, dtype, dtype))


@pytest.mark.usefixtures("kernels")
def test_up_to_sixteen_rows() -> None:
    for rows in range(1, 17):
        check(*given(rows, 1024, mx.bfloat16, mx.bfloat16))


@pytest.mark.usefixtures("kernels")
def test_a_weight_in_float32_is_not_rounded() -> None:
    check(*given(2, 1024, mx.bfloat16, mx.float32))


@pytest.mark.usefixtures("kernels")
def test_it_equals_the_composed_operations() -> None:
    x, y, weight = given(4, 2048, mx.float32, mx.float32)
    for ours, composed in zip(
        kernel.add_rms_norm(x.reshape(2, 2, -1), y.reshape(2, 2, -1), weight, EPS),
        kernel.reference(x.reshape(2, 2, -1), y.reshape(2, 2, -1), weight, EPS),
        strict=True,
    ):
        assert ours.shape == composed.shape
        assert mx.allclose(ours, composed, rtol=2e-6, atol=1e-7)


def test_what_it_does_not_take() -> None:
    weight = mx.ones(64)
    assert not kernel.fits(mx.zeros((17, 64)), weight)
    assert not kernel.fits(mx.zeros((1, 4)), mx.ones(4))
    assert not kernel.fits(mx.zeros((1, 32768)), mx.ones(32768))
    assert not kernel.fits(mx.zeros((0, 64)), weight)
    assert not kernel.fits(mx.zeros((1, 64), dtype=mx.int32), weight)
