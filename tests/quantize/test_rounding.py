"""Rows to bytes, and what the bytes say of the error."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.quantspec import QuantSpec
from quantize.rounding import Errors, error_of, round_rows
from quantize.search import search_affine

SPECS = [
    QuantSpec(4, 64),
    QuantSpec(3, 32),
    QuantSpec(8, 128),
    QuantSpec(4, 32, "mxfp4"),
    QuantSpec(8, 32, "mxfp8"),
    QuantSpec(4, 16, "nvfp4"),
    None,
]
DTYPES = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}


def normal(rows: int, width: int, seed: int = 0) -> mx.array:
    return mx.random.normal((rows, width), key=mx.random.key(seed))


def bytes_of(parts: tuple[mx.array, ...]) -> list[bytes]:
    return [bytes(memoryview(part.view(mx.uint8))) for part in parts]


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_nearest_is_what_mlx_does(spec, target):
    rows = normal(5, 256)
    found = [bytes(part) for part in round_rows(rows, target, spec)]
    typed = rows.astype(DTYPES[target])
    if spec is None:
        assert found == bytes_of((typed,))
        return
    packed = mx.quantize(typed, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    assert found == bytes_of(packed)


@pytest.mark.parametrize("spec", [s for s in SPECS if s and s.mode != "affine"], ids=str)
def test_only_affine_scales_are_searched(spec):
    rows = normal(3, 64)
    assert round_rows(rows, "BF16", spec, "searched") == round_rows(rows, "BF16", spec)


def test_searched_scales_are_those_of_the_rows_as_stored():
    rows, spec = normal(4, 128), QuantSpec(4, 64)
    weights = mx.abs(normal(1, 128, 1))
    for given in (None, weights):
        found = round_rows(rows, "BF16", spec, "searched", given)
        expected = search_affine(rows.astype(mx.bfloat16), spec, given)
        assert [bytes(part) for part in found] == bytes_of(expected)


@pytest.mark.parametrize("rounding", ["nearest", "searched"])
def test_learned_scales_take_the_place_of_those_found(rounding):
    rows, spec = normal(4, 128), QuantSpec(4, 64)
    weights = mx.abs(normal(1, 128, 1))
    learned = (mx.full((4, 2), 0.3001), mx.full((4, 2), -2.4003))
    words, scales, biases = round_rows(rows, "BF16", spec, rounding, weights, learned)
    assert bytes(words) == bytes(round_rows(rows, "BF16", spec, rounding, weights)[0])
    stored = bytes_of(tuple(part.astype(mx.bfloat16) for part in learned))
    assert [bytes(scales), bytes(biases)] == stored


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_errors_are_those_of_the_restored_rows(spec, target):
    rows = normal(6, 256, 2)
    packed = round_rows(rows, target, spec)
    typed = rows.astype(DTYPES[target])
    if spec is None:
        restored = typed.astype(mx.float32)
    else:
        parts = mx.quantize(typed, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
        wide = (p if p.dtype in (mx.uint32, mx.uint8) else p.astype(mx.float32) for p in parts)
        restored = mx.dequantize(
            *wide, group_size=spec.group_size, bits=spec.bits, mode=spec.mode
        ).astype(mx.float32)
    found = error_of(rows, packed, spec, target)
    away = rows - restored
    assert found.squared == pytest.approx((away * away).sum().item(), rel=1e-4, abs=1e-9)
    assert found.power == pytest.approx((rows * rows).sum().item(), rel=1e-5)
    assert found.largest == pytest.approx(mx.abs(away).max().item(), rel=1e-4, abs=1e-9)
    assert found.cosine == pytest.approx(
        (rows * restored).sum().item() / mx.sqrt((rows**2).sum() * (restored**2).sum()).item(),
        rel=1e-5,
    )
    assert (found.nonfinite, found.count) == (0, 6 * 256)
    # A span gives the same as its rows alone, and spans add up.
    first, rest = (error_of(rows, packed, spec, target, span=span) for span in ((0, 2), (2, 6)))
    joined = first.add(rest)
    assert joined.squared == pytest.approx(found.squared, rel=1e-5, abs=1e-9)
    assert (joined.largest, joined.count) == (found.largest, found.count)
    assert joined.clipped == found.clipped


def test_weights_outside_the_range_are_counted():
    spec = QuantSpec(4, 32)
    stored = mx.array([[0.0, 7.5] + [3.5] * 30])
    packed = round_rows(stored, "F32", spec)
    # The range is 0 to 7.5 in steps of a half; a quarter beyond it is still nearest to an end.
    rows = mx.array([[-0.2, 7.7] + [3.5] * 30])
    assert error_of(rows, packed, spec, "F32").clipped == 0
    rows = mx.array([[-0.3, 30.0] + [3.5] * 30])
    found = error_of(rows, packed, spec, "F32")
    assert found.clipped == 2
    assert found.clip_rate == 2 / 32
    assert found.largest == 22.5


@pytest.mark.parametrize(("mode", "bits", "end"), [("mxfp4", 4, 6.0), ("mxfp8", 8, 448.0)])
def test_ends_of_float_codes_are_known(mode, bits, end):
    spec = QuantSpec(bits, 32, mode)
    rows = mx.array([[end] + [1.0] * 31])
    packed = round_rows(rows, "F32", spec)
    assert error_of(rows, packed, spec, "F32").clipped == 0
    assert error_of(rows * mx.array([1.03] + [1.0] * 31), packed, spec, "F32").clipped == 0
    assert error_of(rows * mx.array([1.3] + [1.0] * 31), packed, spec, "F32").clipped == 1


def test_broken_numbers_are_counted_and_left_out():
    rows = mx.array([[1.0] * 30 + [mx.inf, mx.nan], [2.0] * 32])
    found = error_of(rows, round_rows(rows, "F32", None), None, "F32")
    assert found.nonfinite == 2
    assert found.power == 30 + 4 * 32
    assert found.squared == 0


def test_nothing_and_zeros_have_no_error():
    assert Errors().relative_mse == 0
    assert Errors().cosine == 1
    assert Errors().clip_rate == 0
    zeros = mx.zeros((2, 64))
    found = error_of(zeros, round_rows(zeros, "BF16", QuantSpec(4, 64)), QuantSpec(4, 64), "BF16")
    assert (found.relative_mse, found.cosine, found.clipped) == (0, 1, 0)
    lost = Errors(squared=1.0, power=0.0)
    assert lost.relative_mse == float("inf")
    assert Errors(power=1.0).cosine == 0


@pytest.mark.parametrize("size", [1e30, 3e37])
def test_squares_beyond_float32_are_summed(size):
    mx.random.seed(3)
    rows, spec = mx.random.normal((4, 128)), QuantSpec(4, 64)
    usual = error_of(rows, round_rows(rows, "F32", spec), spec, "F32")
    rows = rows * size
    found = error_of(rows, round_rows(rows, "F32", spec), spec, "F32")
    assert found.nonfinite == 0
    assert found.relative_mse == pytest.approx(usual.relative_mse, rel=1e-3)
    assert found.cosine == pytest.approx(usual.cosine, rel=1e-5)
    assert found.largest == pytest.approx(usual.largest * size, rel=1e-3)


def test_tiny_weights_that_are_lost_are_an_error():
    rows, spec = mx.random.normal((4, 128)) * 1e-25, QuantSpec(4, 64)
    # MLX's smallest scale makes zeros of them; their squares are zero in float32.
    found = error_of(rows, round_rows(rows, "F32", spec), spec, "F32")
    assert found.relative_mse == pytest.approx(1)
    assert found.power == pytest.approx(512e-50, rel=0.3)
