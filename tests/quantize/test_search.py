"""Searched scales: never worse than mx.quantize in any group, and in its very format."""

from __future__ import annotations

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.checkpoint.quantspec import QuantSpec
from quantize import search
from quantize.packing import pack_columns
from quantize.search import search_affine

BITS = [1, 2, 3, 4, 5, 6, 8]
DTYPES = [mx.bfloat16, mx.float16, mx.float32]


def restored(parts, spec: QuantSpec) -> mx.array:
    words, scales, biases = parts
    return mx.dequantize(
        words,
        scales.astype(mx.float32),
        biases.astype(mx.float32),
        group_size=spec.group_size,
        bits=spec.bits,
    )


def error(rows, parts, spec: QuantSpec, weights=None) -> mx.array:
    """Of each group, in units of its largest weight so that squares neither over- nor underflow."""
    rows = rows.astype(mx.float32)
    groups = rows.reshape(-1, spec.group_size)
    largest = mx.abs(groups).max(axis=-1, keepdims=True)
    away = groups / largest - restored(parts, spec).reshape(groups.shape) / largest
    square = mx.where(largest > 0, away * away, 0)
    if weights is not None:
        square = square * mx.broadcast_to(weights, rows.shape).reshape(groups.shape)
    return square.sum(axis=-1)


def nearest(rows, spec: QuantSpec):
    return mx.quantize(rows, group_size=spec.group_size, bits=spec.bits)


def unpacked(words: mx.array, spec: QuantSpec) -> mx.array:
    """Codes of groups with a scale of one and a bias of zero."""
    groups = (words.shape[0], words.shape[1] * 32 // spec.bits // spec.group_size)
    return restored((words, mx.ones(groups), mx.zeros(groups)), spec)


def sample(kind: str, shape: tuple[int, int], seed: int) -> mx.array:
    one, two = mx.random.split(mx.random.key(seed))
    normal = mx.random.normal(shape, key=one)
    other = mx.random.uniform(shape=shape, key=two)
    match kind:
        case "normal":
            return normal
        case "far from zero":
            return normal + 40
        case "one side":
            return mx.abs(normal) ** 3
        case "outliers":
            return mx.where(other > 0.97, 30 * normal, normal)
        case "two values":
            return mx.where(other > 0.5, 1.0, -0.25)
        case "one differs":
            return mx.where(mx.arange(shape[1]) == 3, 7.0, 0.125 + 0 * normal)
        case "few zeros":
            return mx.where(other > 0.9, 0, normal)
        case "zeros":
            return 0 * normal
        case "constant":
            return 0 * normal - 3.7
        case _:
            raise AssertionError(kind)


KINDS = [
    "normal", "far from zero", "one side", "outliers", "two values",
    "one differs", "few zeros", "zeros", "constant",
]  # fmt: skip


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 64, 128])
def test_codes_survive_packing(bits, group):
    spec = QuantSpec(bits, group)
    codes = mx.random.randint(0, 2**bits, (group, 5), key=mx.random.key(bits))
    words = pack_columns(codes, bits)
    assert words.dtype == mx.uint32
    assert mx.array_equal(unpacked(words, spec), codes.T.astype(mx.float32))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    bits=st.sampled_from(BITS),
    group=st.sampled_from([32, 64, 128]),
    dtype=st.sampled_from(DTYPES),
    magnitude=st.sampled_from([1e-30, 1e-6, 0.02, 1.0, 1e4, 1e30]),
    rows=st.integers(1, 5),
    weighted=st.sampled_from(["no", "alike for all rows", "by row", "mostly zero", "zero"]),
    seed=st.integers(0, 1 << 20),
)
def test_never_worse_than_nearest_in_any_group(
    kind, bits, group, dtype, magnitude, rows, weighted, seed
):
    spec = QuantSpec(bits, group)
    values = (magnitude * sample(kind, (rows, 2 * group), seed)).astype(dtype)
    shape = (1 if weighted == "alike for all rows" else rows, 2 * group)
    weights = mx.exp(2 * mx.random.normal(shape, key=mx.random.key(seed + 1)))
    if weighted == "mostly zero":
        weights = mx.where(weights > 8, weights, 0)
    weights = {"no": None, "zero": mx.zeros(shape)}.get(weighted, weights)
    found, plain = search_affine(values, spec, weights), nearest(values, spec)
    for ours, theirs in zip(found, plain, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    finite = mx.isfinite(values).reshape(-1, group).all(axis=-1)
    if not finite.all():
        # Half floats know no 1e30: then nothing is changed in that group.
        for ours, theirs in zip(found, plain, strict=True):
            a, b = (part.reshape(finite.size, -1) for part in (ours, theirs))
            same = (a == b) | ((a != a) & (b != b))  # NaN is equal to nothing
            assert (same.all(axis=-1) | finite).all()
        return
    after, before = error(values, found, spec, weights), error(values, plain, spec, weights)
    # Sums of different order agree to a few parts in a million. Where mx.quantize itself gives NaN
    # (half-float scales that overflow) there is nothing to be worse than.
    assert ((after <= before * (1 + 1e-5) + 1e-12) | mx.isnan(before)).all()


@pytest.mark.parametrize(
    ("spec", "least"),
    [
        (QuantSpec(2, 64), 0.32),
        (QuantSpec(3, 64), 0.24),
        (QuantSpec(4, 32), 0.25),
        (QuantSpec(4, 64), 0.195),
        (QuantSpec(4, 128), 0.16),
        (QuantSpec(5, 64), 0.18),
        (QuantSpec(6, 64), 0.18),
        (QuantSpec(8, 64), 0.4),
    ],
)
def test_saves_what_was_measured_on_gaussian_weights(spec, least):
    values = mx.random.normal((256, 1024), key=mx.random.key(3)).astype(mx.bfloat16)
    after = error(values, search_affine(values, spec), spec).sum()
    before = error(values, nearest(values, spec), spec).sum()
    assert after < (1 - least) * before


def test_weights_move_the_error_to_where_it_costs_least():
    spec = QuantSpec(4, 64)
    values = mx.random.normal((128, 512), key=mx.random.key(4)).astype(mx.bfloat16)
    weights = mx.exp(1.5 * mx.random.normal((1, 512), key=mx.random.key(5)))
    without, under = search_affine(values, spec), search_affine(values, spec, weights)
    before = error(values, nearest(values, spec), spec, weights).sum()
    assert error(values, under, spec, weights).sum() < 0.6 * before
    assert error(values, without, spec, weights).sum() > 0.7 * before
    # Only what the weights are to each other matters.
    louder = search_affine(values, spec, 1000 * weights)
    assert error(values, louder, spec, weights).sum() < 0.6 * before


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spec", [QuantSpec(4, 64), QuantSpec(3, 32), QuantSpec(5, 128)])
def test_bytes_do_not_depend_on_the_rows_around(spec, weighted, monkeypatch):
    values = sample("outliers", (37, 128), 6).astype(mx.bfloat16)
    weights = mx.exp(mx.random.normal(values.shape, key=mx.random.key(7))) if weighted else None
    whole = search_affine(values, spec, weights)
    monkeypatch.setattr(search, "_BLOCK", 5 * 128)
    in_blocks = search_affine(values, spec, weights)
    assert all(mx.array_equal(a, b) for a, b in zip(whole, in_blocks, strict=True))
    for start, stop in ((0, 1), (3, 5), (5, 36), (36, 37)):
        own = None if weights is None else weights[start:stop]
        part = search_affine(values[start:stop], spec, own)
        assert all(mx.array_equal(a[start:stop], b) for a, b in zip(whole, part, strict=True))


def test_a_small_example_comes_out_the_same_every_time():
    values = (mx.sin(mx.arange(64) * 1.7) + 2 * (mx.arange(64) == 5)).astype(mx.bfloat16)[None]
    words, scales, biases = search_affine(values, QuantSpec(4, 64))
    # mx.quantize has a scale of 0.254 here.
    assert (scales.item(), biases.item()) == (0.244140625, -0.96875)
    assert " ".join(f"{word:08x}" for word in words[0].tolist()) == (
        "11f60384 50483067 83067128 77128504 38405821 05821760 11760384 50483067"
    )
