"""The kernels of the gated delta net, and of the attention's gate, equal their float64 formulas."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.model.kernels import conv_delta, gated_norm, output_gate

# Units in the last place, relative: half of one is a correct rounding.
STEP = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}
DTYPES = list(STEP)
EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """Heads and widths of a gated delta net."""

    key_heads: int
    heads: int
    key_dim: int
    value_dim: int
    taps: int = 4

    @property
    def channels(self) -> int:
        return 2 * self.key_heads * self.key_dim + self.heads * self.value_dim

    @property
    def width(self) -> int:
        return self.channels + self.heads * self.value_dim + 2 * self.heads


NEXT = Shape(16, 32, 128, 128)
FEW = Shape(2, 4, 128, 128)
ODD = Shape(3, 9, 96, 40, taps=3)
TINY = Shape(1, 1, 32, 1, taps=2)


def exact(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32), dtype=np.float64)


def rounded(values: np.ndarray, dtype: mx.Dtype) -> np.ndarray:
    return exact(mx.array(values.astype(np.float32)).astype(dtype))


def random_array(random: np.random.Generator, *shape: int, dtype: mx.Dtype) -> mx.array:
    return mx.array(random.normal(size=shape).astype(np.float32)).astype(dtype)


def given(shape: Shape, dtype: mx.Dtype) -> tuple[mx.array, ...]:
    """A token's projection, window, convolution, decay, bias and state."""
    random = np.random.default_rng(shape.channels)
    return (
        random_array(random, 1, 1, shape.width, dtype=dtype) * 2,
        random_array(random, 1, shape.taps - 1, shape.channels, dtype=dtype),
        random_array(random, shape.channels, shape.taps, 1, dtype=dtype),
        -mx.exp(random_array(random, shape.heads, dtype=mx.float32)),
        random_array(random, shape.heads, dtype=mx.float32),
        random_array(random, 1, shape.heads, shape.value_dim, shape.key_dim, dtype=mx.float32),
    )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def formula(arrays: tuple[mx.array, ...], key_heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Output ``(Hv, Dv)`` and next state ``(Hv, Dv, Dk)`` in float64, rounded where composed."""
    dtype = arrays[0].dtype
    projected, window, conv, decay, bias, state = (exact(array) for array in arrays)
    heads, value_dim, key_dim = state.shape[1:]
    channels, keys = conv.shape[0], key_heads * key_dim
    taps = np.concatenate([window[0], projected[0, :, :channels]])
    x = rounded((taps * conv[:, :, 0].T).sum(axis=0), dtype)
    x = rounded(x * sigmoid(x), dtype)
    q, k = (
        np.repeat(part.reshape(key_heads, key_dim), heads // key_heads, axis=0)
        for part in (x[:keys], x[keys : 2 * keys])
    )
    v = x[2 * keys :].reshape(heads, value_dim)
    q, k = (part / np.sqrt((part**2).sum(axis=-1, keepdims=True) + 1e-6) for part in (q, k))
    gates = projected[0, 0, channels + heads * value_dim :]
    beta, gamma = sigmoid(gates[:heads]), np.exp(decay * np.logaddexp(gates[heads:] + bias, 0))
    moved = state[0] * gamma[:, None, None]
    delta = beta[:, None] * (v - np.einsum("hvk,hk->hv", moved, k))
    moved = moved + delta[:, :, None] * k[:, None, :]
    return np.einsum("hvk,hk->hv", moved, q) * key_dim**-0.5, moved


def check_delta(shape: Shape, arrays: tuple[mx.array, ...]) -> None:
    projected, window, conv, _, _, state = arrays
    assert conv_delta.fits(projected, window, conv, state, shape.key_heads)
    out, next_window, next_state = conv_delta.conv_delta(*arrays, shape.key_heads)
    assert (out.dtype, next_window.dtype, next_state.dtype) == (
        mx.float32,
        window.dtype,
        mx.float32,
    )
    assert out.shape == (1, 1, shape.heads, shape.value_dim)
    whole = mx.concatenate([window, projected[..., : shape.channels]], axis=1)
    assert mx.array_equal(next_window, whole[:, 1:])
    expected, moved = formula(arrays, shape.key_heads)
    # A sum that is almost halfway between two numbers of 16 bits may be rounded the other way: it
    # moves one number of a head, by one unit in the last place.
    once = 0 if window.dtype == mx.float32 else STEP[window.dtype]
    for got, want in ((exact(out)[0, 0], expected), (exact(next_state)[0], moved)):
        assert got.shape == want.shape
        error = np.abs(got - want) / np.abs(want).max()
        assert error.max() <= 2e-6 + once
        assert np.median(error) <= 1e-6


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [FEW, ODD, TINY], ids=["few", "odd", "tiny"])
def test_a_token_moves_window_and_state(shape: Shape, dtype: mx.Dtype) -> None:
    check_delta(shape, given(shape, dtype))


@pytest.mark.usefixtures("kernels")
def test_the_heads_of_the_released_models() -> None:
    check_delta(NEXT, given(NEXT, mx.bfloat16))


@pytest.mark.usefixtures("kernels")
def test_the_epsilon_is_on_the_sum_of_squares() -> None:
    """Where queries and keys are small, it keeps them from length one."""
    projected, window, conv, *rest = given(FEW, mx.float32)
    check_delta(FEW, (projected, window, conv * 2e-4, *rest))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shape", [FEW, ODD], ids=["few", "odd"])
def test_token_after_token_it_equals_the_composed_operations(shape: Shape) -> None:
    projected, window, conv, decay, bias, state = given(shape, mx.float32)
    ours = theirs = (window, state)
    random = np.random.default_rng(3)
    for _ in range(5):
        token = random_array(random, *projected.shape, dtype=mx.float32)
        read, *ours = conv_delta.conv_delta(
            token, ours[0], conv, decay, bias, ours[1], shape.key_heads
        )
        want, *theirs = conv_delta.reference(
            token, theirs[0], conv, decay, bias, theirs[1], shape.key_heads
        )
        for one, other in zip((read, *ours), (want, *theirs), strict=True):
            assert one.shape == other.shape
            assert mx.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("kernels")
def test_a_gate_near_zero_keeps_its_digits() -> None:
    """With no keys and no values the state only decays; 1 + exp(-15.53) is halfway to the next
    float32, so that a plain logarithm of it would be wrong by a third."""
    shape = FEW
    _, window, conv, _, _, state = given(shape, mx.float32)
    steps = np.array([-15.53, -100.0, 0.0, 90.0], dtype=np.float32)
    projected = mx.concatenate([mx.zeros((shape.width - 4,)), mx.array(steps)]).reshape(1, 1, -1)
    decay = mx.array([-16.0, -16.0, -0.5, -0.1])
    _, _, moved = conv_delta.conv_delta(
        projected, mx.zeros_like(window), conv, decay, mx.zeros(4), state, shape.key_heads
    )
    gamma = np.exp(exact(decay) * np.logaddexp(steps.astype(np.float64), 0))
    expected = exact(state) * gamma[:, None, None]
    assert (np.abs(exact(moved) - expected) <= np.abs(expected) * 2e-6 + 1e-12).all()
    assert np.abs(exact(moved) / exact(state) - gamma[:, None, None])[0, 0].max() < 2.5e-7


def test_what_the_delta_kernel_does_not_take() -> None:
    projected, window, conv, _, _, state = given(FEW, mx.bfloat16)
    assert conv_delta.fits(projected, window, conv, state, 2)
    assert not conv_delta.fits(projected, window, conv, state, 1)
    assert not conv_delta.fits(projected, window, conv, state, 3)
    assert not conv_delta.fits(projected, window[:, 1:], conv, state, 2)
    assert not conv_delta.fits(projected, window.astype(mx.float32), conv, state, 2)
    assert not conv_delta.fits(projected, window, conv, state.astype(mx.bfloat16), 2)
    assert not conv_delta.fits(mx.repeat(projected, 2, axis=1), window, conv, state, 2)
    narrow = given(Shape(2, 4, 48, 16), mx.bfloat16)
    assert not conv_delta.fits(narrow[0], narrow[1], narrow[2], narrow[5], 2)


def within(got: mx.array, expected: np.ndarray) -> bool:
    slack = 0.501 if got.dtype != mx.float32 else 8
    error = np.abs(exact(got) - expected)
    return bool((error <= slack * STEP[got.dtype] * np.abs(expected) + 1e-7).all())


def wide_gates(random: np.random.Generator, tokens: int, width: int, dtype: mx.Dtype) -> mx.array:
    """Gates of every size, some beyond what an exponential can hold."""
    scale = mx.array(10.0 ** random.uniform(-3, 2, (1, tokens, width)).astype(np.float32))
    return (random_array(random, 1, tokens, width, dtype=mx.float32) * scale).astype(dtype)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "dim"), [(32, 128), (3, 40), (1, 1)])
def test_gated_norm(heads: int, dim: int, dtype: mx.Dtype) -> None:
    random = np.random.default_rng(dim)
    start = 2 * dim
    for tokens in (1, 2):
        out = random_array(random, 1, tokens, heads, dim, dtype=mx.float32) * 0.01
        weight = random_array(random, dim, dtype=mx.float32)
        projected = wide_gates(random, tokens, start + heads * dim + 2 * heads, dtype)
        assert gated_norm.fits(out, projected, weight, start)
        got = gated_norm.gated_norm(out, projected, weight, start, EPS)
        composed = gated_norm.reference(out, projected, weight, start, EPS)
        assert got.dtype == composed.dtype == dtype
        assert got.shape == composed.shape == (1, tokens, heads * dim)
        x, z = exact(out), exact(projected[..., start : start + heads * dim]).reshape(out.shape)
        normed = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * exact(weight)
        expected = (normed * z * sigmoid(z)).reshape(got.shape)
        assert within(got, expected)
        assert mx.allclose(got, composed, rtol=2 * STEP[dtype] + 1e-5, atol=1e-6)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "dim"), [(16, 256), (3, 20), (1, 1)])
def test_output_gate(heads: int, dim: int, dtype: mx.Dtype) -> None:
    random = np.random.default_rng(dim)
    start = heads * dim
    for tokens in (1, 3):
        out = random_array(random, 1, heads, tokens, dim, dtype=dtype)
        mixed = wide_gates(random, tokens, 2 * start + 4 * dim, dtype)
        assert output_gate.fits(out, mixed, start)
        got = output_gate.output_gate(out, mixed, start)
        # In float32: the sigmoid of MLX's CPU in float16 is zero below -9.7.
        composed = output_gate.reference(out.astype(mx.float32), mixed.astype(mx.float32), start)
        assert got.dtype == dtype
        assert got.shape == composed.shape == (1, tokens, start)
        gate = exact(mixed[..., start : 2 * start])
        expected = exact(out).swapaxes(1, 2).reshape(got.shape) * sigmoid(gate)
        assert within(got, expected)
        assert mx.allclose(got, composed, rtol=STEP[dtype] + 1e-5, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_gates_of_up_to_sixteen_tokens() -> None:
    random = np.random.default_rng(16)
    weight = mx.ones(64)
    for tokens in range(1, 17):
        out = random_array(random, 1, tokens, 2, 64, dtype=mx.float32)
        mixed = random_array(random, 1, tokens, 200, dtype=mx.bfloat16)
        assert mx.allclose(
            gated_norm.gated_norm(out, mixed, weight, 70, EPS),
            gated_norm.reference(out, mixed, weight, 70, EPS),
            rtol=2**-7,
        )
        heads = out.astype(mx.bfloat16).swapaxes(1, 2)
        assert mx.allclose(
            output_gate.output_gate(heads, mixed, 70),
            output_gate.reference(heads, mixed, 70),
            rtol=2**-6,
        )


def test_what_the_gates_do_not_take() -> None:
    out, mixed = mx.zeros((1, 2, 3, 8)), mx.zeros((1, 2, 40))
    assert gated_norm.fits(out, mixed, mx.ones(8), 16)
    assert not gated_norm.fits(out, mixed, mx.ones(8), 17)
    assert not gated_norm.fits(out, mixed, mx.ones(9), 0)
    assert not gated_norm.fits(out.astype(mx.bfloat16), mixed, mx.ones(8), 0)
    assert not gated_norm.fits(out, mixed[:, :1], mx.ones(8), 0)
    heads = out.swapaxes(1, 2)
    assert output_gate.fits(heads, mixed, 16)
    assert not output_gate.fits(heads, mixed, 17)
    assert not output_gate.fits(heads, mixed.astype(mx.bfloat16), 0)
    assert not output_gate.fits(mx.repeat(heads, 9, axis=2), mx.repeat(mixed, 9, axis=1), 0)
