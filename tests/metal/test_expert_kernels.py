"""The fused experts equal float64 sums over the unpacked weights within their dtype's rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.model.kernels import expert_down as down
from mlxqwen.model.kernels import expert_gate_up as gate_up
from mlxqwen.model.kernels.packed import Packed
from mlxqwen.model.quantspec import QuantSpec

DTYPES = [mx.float32, mx.float16, mx.bfloat16]
# Half a unit in the last place, relative: what one rounding loses.
ROUNDING = {mx.float32: 2.0**-24, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}
# Sums in float32, relative to the sum of magnitudes. A lane adds up to a few hundred products.
SUMMING = 32 * 2.0**-24

Q4 = QuantSpec(4, 64)


@dataclass(frozen=True)
class Case:
    """``dtype``, width and rows of the matrix, its quantisation, experts, chosen experts."""

    dtype: mx.Dtype
    width: int
    rows: int
    spec: QuantSpec
    experts: int
    chosen: int

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("mlx.core.")
        return (
            f"{name}, {self.width} x {self.rows}, {self.spec.bits} bits by {self.spec.group_size}"
        )


def exact(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32), dtype=np.float64)


def drawn(random: np.random.Generator, shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    return mx.array(random.normal(size=shape).astype(np.float32)).astype(dtype)


def packed(
    random: np.random.Generator, lead: tuple[int, ...], width: int, spec: QuantSpec, dtype: mx.Dtype
) -> Packed:
    """Every pattern of bits; scales of either sign; weights of about 1/√width around 0."""
    top = 2**spec.bits - 1
    words = random.integers(0, 2**32, (*lead, width * spec.bits // 32), dtype=np.uint32)
    scales = random.normal(size=(*lead, width // spec.group_size)) * 4 / top / np.sqrt(width)
    biases = -scales * top * random.uniform(0.4, 0.6, scales.shape)
    parts = (mx.array(part.astype(np.float32)).astype(dtype) for part in (scales, biases))
    return Packed(mx.array(words), *parts, spec)


def unpacked(matrix: Packed, chosen: mx.array | None = None) -> np.ndarray:
    """The weights in float64, read from the bits; of the chosen matrices where there is a stack."""
    pick = ... if chosen is None else np.array(chosen)
    shifts = np.arange(0, 32, matrix.spec.bits, dtype=np.uint32)
    words = np.array(matrix.weight)[pick]
    q = (words[..., None] >> shifts & (2**matrix.spec.bits - 1)).reshape(*words.shape[:-1], -1)
    s, b = (
        np.repeat(exact(part)[pick], matrix.spec.group_size, axis=-1)
        for part in (matrix.scales, matrix.biases)
    )
    return s * q + b


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def check_gate_up(case: Case, seed: int = 0, magnitude: float = 1.0) -> None:
    random = np.random.default_rng(seed)
    matrix = packed(random, (case.experts, 2 * case.rows), case.width, case.spec, case.dtype)
    x = drawn(random, (case.width,), case.dtype) * magnitude
    indices = mx.array(random.permutation(case.experts)[: case.chosen].astype(np.uint32))
    assert gate_up.fits(x, matrix, indices)
    act = gate_up.expert_gate_up(x, matrix, indices)
    assert act.dtype == case.dtype
    assert act.shape == (case.chosen, case.rows)

    weights = unpacked(matrix, indices)
    gate, up = np.split(weights @ exact(x), 2, axis=-1)
    # The packed value and the bias are each as large as the weight, and are summed apart.
    sums = 3 * np.abs(weights) @ np.abs(exact(x)) * SUMMING
    lost_gate, lost_up = np.split(sums, 2, axis=-1)
    half = ROUNDING[case.dtype] * 1.01
    lost_gate, lost_up = lost_gate + half * np.abs(gate), lost_up + half * np.abs(up)
    s = sigmoid(gate)
    slope = np.abs(s + gate * s * (1 - s)) + 0.5 * lost_gate  # |silu''| ≤ 1/2
    silu = gate * s
    allowed = slope * lost_gate * np.abs(up) + np.abs(silu) * lost_up
    allowed += 3.1 * half * np.abs(silu * up) + lost_gate * lost_up
    if case.dtype == mx.float16:
        allowed += 2.0**-24 * (1 + np.abs(up))  # the step of its smallest numbers
    assert (np.abs(exact(act) - silu * up) <= allowed + 1e-30).all()


def check_down(
    case: Case, seed: int = 0, shared: tuple[int, QuantSpec] | None = None, gate: float = 0.5
) -> None:
    """``shared``: the width of the shared expert and its quantisation."""
    random = np.random.default_rng(seed)
    matrix = packed(random, (case.experts, case.rows), case.width, case.spec, case.dtype)
    act = drawn(random, (case.chosen, case.width), case.dtype)
    indices = mx.array(random.permutation(case.experts)[: case.chosen].astype(np.uint32))
    scores = mx.softmax(drawn(random, (case.chosen,), mx.float32))
    residual = drawn(random, (case.rows,), case.dtype)
    expected = exact(residual)
    magnitude = np.abs(expected)
    for weights, row, score in zip(
        unpacked(matrix, indices), exact(act), exact(scores), strict=True
    ):
        expected = expected + score * (weights @ row)
        magnitude = magnitude + score * 3 * np.abs(weights) @ np.abs(row)
    slot = None
    if shared is not None:
        width, spec = shared
        slot = down.Shared(
            drawn(random, (width,), case.dtype),
            packed(random, (case.rows,), width, spec, case.dtype),
            mx.array([[gate]]).astype(case.dtype),
        )
        score = sigmoid(exact(slot.gate)).item()
        expected = expected + score * (unpacked(slot.down) @ exact(slot.act))
        magnitude += score * 3 * np.abs(unpacked(slot.down)) @ np.abs(exact(slot.act))
    assert down.fits(act, matrix, indices, scores, residual, slot)
    y = down.expert_down(act, matrix, indices, scores, residual, slot)
    assert y.dtype == case.dtype
    assert y.shape == (case.rows,)
    allowed = ROUNDING[case.dtype] * 1.001 * np.abs(expected) + SUMMING * magnitude
    assert (np.abs(exact(y) - expected) <= allowed).all()


# Widths as released; the rows reduced where the emulator would take long: they are all alike.
RELEASED = {
    "30B-A3B": Case(mx.bfloat16, 2048, 768, Q4, 8, 8),
    "235B-A22B": Case(mx.bfloat16, 4096, 128, Q4, 16, 8),
    "Coder-480B": Case(mx.bfloat16, 6144, 96, Q4, 9, 8),
    "Next-80B": Case(mx.bfloat16, 2048, 512, Q4, 12, 10),
}
RELEASED_DOWN = {
    "30B-A3B": Case(mx.bfloat16, 768, 2048, Q4, 8, 8),
    "235B-A22B": Case(mx.bfloat16, 1536, 512, Q4, 16, 8),
    "Coder-480B": Case(mx.bfloat16, 2560, 512, Q4, 9, 8),
}
# Widths that no step divides, one lane's worth beyond a step, and steps of one word and of two.
ODD = [
    Case(mx.float32, 160, 96, QuantSpec(4, 32), 20, 3),
    Case(mx.float32, 288, 64, QuantSpec(8, 32), 5, 3),
    Case(mx.float16, 96, 160, QuantSpec(8, 32), 5, 4),
    Case(mx.float16, 1024, 32, QuantSpec(4, 128), 5, 3),
    Case(mx.bfloat16, 640, 96, QuantSpec(4, 128), 4, 2),
    Case(mx.bfloat16, 768, 64, QuantSpec(8, 64), 4, 2),
]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", RELEASED)
def test_gate_and_up_of_released_models(name: str) -> None:
    check_gate_up(RELEASED[name])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", RELEASED_DOWN)
def test_down_of_released_models(name: str) -> None:
    check_down(RELEASED_DOWN[name])


@pytest.mark.usefixtures("kernels")
def test_down_with_the_shared_expert_of_next_80b() -> None:
    check_down(Case(mx.bfloat16, 512, 2048, Q4, 12, 10), shared=(512, Q4))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("case", ODD, ids=str)
def test_odd_widths(case: Case) -> None:
    for seed in range(3):
        check_gate_up(case, seed)
        check_down(case, seed)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("chosen", [1, 16])
def test_one_and_sixteen_experts(chosen: int) -> None:
    case = Case(mx.float32, 160, 96, QuantSpec(4, 32), 20, chosen)
    check_gate_up(case)
    check_down(case)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("gate", [-30.0, -1.0, 30.0])
def test_a_shared_expert_of_another_width_and_quantisation(gate: float) -> None:
    case = Case(mx.float32, 160, 96, QuantSpec(4, 32), 20, 2)
    check_down(case, shared=(288, QuantSpec(8, 32)), gate=gate)


@pytest.mark.usefixtures("kernels")
def test_gates_far_from_zero() -> None:
    """Exponents beyond float32's range on both sides, and none that is not a number."""
    for seed in range(3):
        check_gate_up(ODD[0], seed, magnitude=100.0)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_it_rounds_where_the_composed_operations_do(dtype: mx.Dtype) -> None:
    """But where the last bit of a sum in float32 decides, every result has the same bits."""
    case = next(case for case in ODD if case.dtype == dtype)
    equal = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        matrix = packed(random, (case.experts, 2 * case.rows), case.width, case.spec, dtype)
        x = drawn(random, (case.width,), dtype)
        indices = mx.arange(case.chosen)
        both = mx.array((unpacked(matrix, indices) @ exact(x)).astype(np.float32)).astype(dtype)
        gate, up = mx.split(both, 2, axis=-1)
        half_way = mx.array(sigmoid(exact(gate)).astype(np.float32)).astype(dtype)
        expected = gate * half_way * up
        equal.append(np.array(expected == gate_up.expert_gate_up(x, matrix, indices)))
    assert np.mean(equal) > 0.99


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("index_dtype", [mx.uint32, mx.int32], ids=str)
def test_they_equal_the_composed_operations(index_dtype: mx.Dtype) -> None:
    random = np.random.default_rng(7)
    spec = QuantSpec(4, 32)
    experts = packed(random, (20, 192), 160, spec, mx.float32)
    back = packed(random, (20, 160), 96, spec, mx.float32)
    x, residual = drawn(random, (160,), mx.float32), drawn(random, (160,), mx.float32)
    indices = mx.array([19, 0, 7]).astype(index_dtype)
    scores = mx.array([0.5, 0.125, 0.375])
    act = gate_up.expert_gate_up(x, experts, indices)
    assert mx.allclose(act, gate_up.reference(x, experts, indices), rtol=1e-5, atol=1e-5)
    for shared in (
        None,
        down.Shared(
            drawn(random, (64,), mx.float32),
            packed(random, (160,), 64, spec, mx.float32),
            mx.array([[0.3]]),
        ),
    ):
        given = (act, back, indices, scores, residual, shared)
        assert mx.allclose(down.expert_down(*given), down.reference(*given), rtol=1e-5, atol=1e-5)


def small(spec: QuantSpec = Q4, rows: int = 128, width: int = 64) -> Packed:
    return packed(np.random.default_rng(0), (4, rows), width, spec, mx.float32)


def test_what_gate_up_does_not_take() -> None:
    x, indices = mx.zeros(64), mx.zeros(2, mx.uint32)
    assert gate_up.fits(x, small(), indices)
    assert not gate_up.fits(mx.zeros((1, 64)), small(), indices)
    assert not gate_up.fits(mx.zeros(96), small(), indices)
    assert not gate_up.fits(x.astype(mx.bfloat16), small(), indices)
    assert not gate_up.fits(x, small(QuantSpec(6, 64)), indices)
    assert not gate_up.fits(x, small(rows=96), indices)
    assert not gate_up.fits(x, small(rows=2 * 4128), indices)
    assert not gate_up.fits(x, small(), mx.zeros(17, mx.uint32))
    assert not gate_up.fits(x, small(), mx.zeros(0, mx.uint32))
    assert not gate_up.fits(x, small(), mx.zeros((2, 1), mx.uint32))
    assert not gate_up.fits(x, small(), mx.zeros(2))


def test_what_down_does_not_take() -> None:
    act, indices, scores, residual = (
        mx.zeros((2, 64)),
        mx.zeros(2, mx.uint32),
        mx.zeros(2),
        mx.zeros(128),
    )
    matrix, one = small(), mx.zeros(1)
    row = Packed(matrix.weight[0], matrix.scales[0], matrix.biases[0], Q4)
    assert down.fits(act, matrix, indices, scores, residual)
    assert down.fits(act, matrix, indices, scores.astype(mx.bfloat16), residual)
    assert down.fits(act, matrix, indices, scores, residual, down.Shared(act[0], row, one))
    assert not down.fits(act, matrix, indices, scores, residual, down.Shared(act, row, one))
    assert not down.fits(act, matrix, indices, scores, residual, down.Shared(act[0], matrix, one))
    assert not down.fits(act, matrix, indices, scores, residual, down.Shared(act[0], row, scores))
    assert not down.fits(act[None], matrix, indices, scores, residual)
    assert not down.fits(act[:1], matrix, indices, scores, residual)
    assert not down.fits(act, matrix, indices, scores[:1], residual)
    assert not down.fits(act, matrix, indices, scores, residual[:64])
    assert not down.fits(act, matrix, indices, scores, residual.astype(mx.bfloat16))
    wide = mx.zeros((2, 4160))
    assert not down.fits(wide, small(width=4160), indices, scores, residual)
    many = mx.zeros((17, 64))
    assert not down.fits(many, matrix, mx.zeros(17, mx.uint32), mx.zeros(17), residual)
