"""Fused norm, rotation and joining of q, k and v equal the float64 formula, rounded as composed."""

from __future__ import annotations

import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.model.attention import yarn_wavelengths
from mlxqwen.model.config import YarnConfig
from mlxqwen.model.kernels import qk_norm_rope as kernel
from mlxqwen.model.kernels.qk_norm_rope import Layout

# Units in the last place, relative: half of one is a correct rounding.
STEP = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}
DTYPES = list(STEP)
MOE = Layout(32, 4, 128, False, 128, 1e6, 1e-6)
NEXT = Layout(16, 2, 256, True, 64, 1e7, 1e-6)
QWEN2 = Layout(14, 2, 64, False, 64, 1e6, 1e-6)
ODD = Layout(3, 1, 80, True, 36, 1e4, 1e-5)
TINY = Layout(1, 1, 2, False, 2, 1e4, 1e-5)

Norms = tuple[mx.array, mx.array] | None


def given(
    layout: Layout, tokens: int, dtype: mx.Dtype, norm_dtype: mx.Dtype | None
) -> tuple[mx.array, Norms]:
    """A random projection, each head of another magnitude, and norm weights."""
    random = np.random.default_rng(layout.dim * 100 + tokens)
    scale = np.exp(random.uniform(-3, 3, (1, tokens, layout.width // layout.dim, 1)))
    rows = random.normal(size=(1, tokens, layout.width // layout.dim, layout.dim)) * scale
    mixed = mx.array(rows.astype(np.float32)).astype(dtype).reshape(1, tokens, layout.width)
    if norm_dtype is None:
        return mixed, None
    q, k = (
        mx.array(random.uniform(0.2, 2, layout.dim).astype(np.float32)).astype(norm_dtype)
        for _ in range(2)
    )
    return mixed, (q, k)


def exact(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32), dtype=np.float64)


def rounded(values: np.ndarray, dtype: mx.Dtype) -> np.ndarray:
    return exact(mx.array(values.astype(np.float32)).astype(dtype))


def check(
    layout: Layout,
    mixed: mx.array,
    norms: Norms,
    wavelengths: mx.array | None = None,
    offset: int = 5,
) -> None:
    assert kernel.fits(mixed, layout, norms, wavelengths)
    at = mx.array([offset], dtype=mx.int32)
    q, kv = kernel.qk_norm_rope(mixed, at, layout, norms, wavelengths)
    tokens, dtype, half = mixed.shape[1], mixed.dtype, layout.rotary_dims // 2
    heads, kv_heads = layout.heads * (1 + layout.gated), layout.kv_heads
    assert q.dtype == kv.dtype == dtype
    assert q.shape == (1, layout.heads, tokens, layout.dim)
    assert kv.shape == (1, 2 * kv_heads, tokens, layout.dim)
    x = exact(mixed).reshape(tokens, -1, layout.dim).swapaxes(0, 1)
    assert np.array_equal(exact(kv)[0, kv_heads:], x[heads + kv_heads :])

    if wavelengths is None:
        frequency = layout.theta ** (-np.arange(half) / half)
    else:
        frequency = 1 / exact(wavelengths)
    angle = (offset + np.arange(tokens))[:, None] * frequency
    cos, sin = np.cos(angle), np.sin(angle)
    for got, first, which in ((q[0], 0, 0), (kv[0, :kv_heads], heads, 1)):
        part = x[first : first + got.shape[0]]
        if norms is not None:
            size = np.sqrt((part**2).mean(axis=-1, keepdims=True) + layout.eps)
            part = rounded(part / size * exact(norms[which]), dtype)
        a, b, rest = np.split(part, [half, 2 * half], axis=-1)
        expected = np.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1)
        pair = np.hypot(a, b)
        length = np.concatenate([pair, pair, np.abs(rest)], axis=-1)
        # In float32 the frequency and the angle each lose some units in the last place.
        lost = np.concatenate([angle, angle, 0 * rest[0]], axis=-1) * 2.0**-20 + 2.0**-20
        error = np.abs(exact(got) - expected)
        assert (error <= (1.5 * STEP[dtype] + lost) * length + 1e-7).all()
        # The norm, in float32, may round the other way where it is almost halfway: rarely.
        tight = 0.501 * STEP[dtype] * np.abs(expected) + lost * length + 1e-7
        assert (error <= tight).mean() > 0.98


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", [MOE, NEXT, ODD], ids=["moe", "next", "odd"])
def test_normalised_heads(layout: Layout, dtype: mx.Dtype) -> None:
    for tokens in (1, 3):
        check(layout, *given(layout, tokens, dtype, dtype))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("layout", [QWEN2, TINY], ids=["qwen2", "tiny"])
def test_heads_without_norms(layout: Layout) -> None:
    for tokens in (1, 4):
        check(layout, *given(layout, tokens, mx.bfloat16, None))


@pytest.mark.usefixtures("kernels")
def test_up_to_sixteen_tokens() -> None:
    layout = replace(MOE, heads=8, kv_heads=1)
    for tokens in range(1, 17):
        check(layout, *given(layout, tokens, mx.bfloat16, mx.bfloat16))


@pytest.mark.usefixtures("kernels")
def test_weights_in_float32_are_not_rounded() -> None:
    check(NEXT, *given(NEXT, 2, mx.bfloat16, mx.float32))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("norm_dtype", [mx.bfloat16, None], ids=["normalised", "plain"])
def test_wavelengths_replace_the_powers_of_theta(norm_dtype: mx.Dtype | None) -> None:
    yarn = YarnConfig(
        factor=4.0,
        original_max_position_embeddings=32768,
        beta_fast=32.0,
        beta_slow=1.0,
        attention_factor=1.0 + 0.1 * math.log(4.0),
        truncate=True,
    )
    wavelengths = yarn_wavelengths(1e6, 128, yarn)
    layout = replace(MOE, heads=5, kv_heads=1)
    for offset in (0, 1000):
        check(layout, *given(layout, 2, mx.bfloat16, norm_dtype), wavelengths, offset)


@pytest.mark.usefixtures("kernels")
def test_far_positions() -> None:
    layout = replace(MOE, heads=4, kv_heads=1)
    for offset in (0, 1, 4095, 40959, 262143):
        check(layout, *given(layout, 2, mx.float32, mx.float32), offset=offset)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("layout", [MOE, NEXT, ODD], ids=["moe", "next", "odd"])
def test_it_equals_the_composed_operations(layout: Layout) -> None:
    mixed, norms = given(layout, 4, mx.float32, mx.float32)
    at = mx.array([77], dtype=mx.int32)
    ours = kernel.qk_norm_rope(mixed, at, layout, norms, None)
    composed = kernel.reference(mixed, at, layout, norms, None)
    for one, other in zip(ours, composed, strict=True):
        assert one.shape == other.shape
        assert mx.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_it_does_not_take() -> None:
    mixed, norms = given(MOE, 2, mx.bfloat16, mx.bfloat16)
    assert kernel.fits(mixed, MOE, norms, mx.ones(64))
    assert not kernel.fits(mixed, MOE, norms, mx.ones(63))
    assert not kernel.fits(mixed, MOE, (mx.ones(64), mx.ones(64)), None)
    assert not kernel.fits(mixed, MOE, (mx.ones(128), mx.ones(128, mx.float16)), None)
    assert not kernel.fits(mixed, replace(MOE, rotary_dims=35), norms, None)
    assert not kernel.fits(mixed, replace(MOE, heads=33), norms, None)
    assert not kernel.fits(mx.concatenate([mixed, mixed]), MOE, norms, None)
    assert not kernel.fits(mx.repeat(mixed, 9, axis=1), MOE, norms, None)
    assert not kernel.fits(mixed.astype(mx.int32), MOE, norms, None)
    wide = replace(MOE, heads=2, kv_heads=1, dim=512)
    assert not kernel.fits(mx.zeros((1, 1, wide.width)), wide, None, None)
