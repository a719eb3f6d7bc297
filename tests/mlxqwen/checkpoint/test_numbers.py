"""Foreign number formats at random shapes: whole or by rows, the numbers that were packed.

The packers are those of tests/golden, in NumPy and written apart from the reader.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.checkpoint.numbers import origin_arrays, packed_rows, part_rows
from mlxqwen.checkpoint.origins import (
    Awq,
    BlockFp8,
    Gptq,
    Origin,
    Packed,
    Plain,
    Storage,
    Transposed,
    View,
)
from mlxqwen.checkpoint.safetensors import read_header
from mlxqwen.checkpoint.stored import FileReader, LazyShards
from mlxqwen.model.quantspec import QuantSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))

from formats import Stored, awq, block_fp8, gptq, pack_nibbles, store, write_safetensors

SOME = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def matrix(seed: int, out: int, width: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal((out, width)).astype(np.float32)


class Files:
    """One file of stored tensors, and both ways to read it."""

    def __init__(self, folder: Path, stored: dict[str, Stored]) -> None:
        path = folder / "model.safetensors"
        write_safetensors(path, stored)
        self.views = {name: View(info) for name, info in read_header(path).tensors.items()}
        self.lazy, self.reader = LazyShards.open((path,)), FileReader()

    def check(self, part: Storage, exact: np.ndarray, start: int, stop: int) -> None:
        """Whole through lazy arrays and rows through the reader are both exactly ``exact``."""
        whole = part_rows(part, self.lazy, 0, exact.shape[0]).astype(mx.float32)
        assert np.array_equal(np.array(whole), exact)
        rows = part_rows(part, self.reader, start, stop).astype(mx.float32)
        assert np.array_equal(np.array(rows), exact[start:stop])

    def check_packed(self, part: Gptq | Awq, exact: np.ndarray, start: int, stop: int) -> None:
        """MLX's form of it means the same: at most the last bit of a float32 differs."""
        spec = part.spec
        assert spec is not None
        for stored, a, b in ((self.lazy, 0, len(exact)), (self.reader, start, stop)):
            weight, scales, biases = packed_rows(part, stored, a, b)
            found = mx.dequantize(
                weight, scales, biases, group_size=spec.group_size, bits=spec.bits
            )
            np.testing.assert_allclose(np.array(found), exact[a:b], rtol=0, atol=2e-6)


def cut(draw: st.DataObject, rows: int) -> tuple[int, int]:
    start = draw.draw(st.integers(0, rows - 1))
    return start, draw.draw(st.integers(start + 1, rows))


@SOME
@given(st.data(), SEEDS, st.integers(1, 300), st.integers(1, 300))
def test_block_fp8(data: st.DataObject, seed: int, out: int, width: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stored, exact = block_fp8(matrix(seed, out, width))
        files = Files(Path(folder), stored)
        views = files.views
        part = BlockFp8(views["weight"], views["weight_scale_inv"], (128, 128))
        files.check(part, exact, *cut(data, out))
        # Rows out of the middle, as a joined tensor's second half, keep the tensor's own blocks.
        start, stop = cut(data, out)
        half = BlockFp8(View(views["weight"].info, None, (start, stop)), part.scale, part.block)
        files.check(half, exact[start:stop], *cut(data, stop - start))


@SOME
@given(st.data(), SEEDS, st.integers(1, 12), st.integers(1, 4), st.sampled_from([16, 32, 64]))
@pytest.mark.parametrize("symmetric", [False, True])
def test_gptq_in_sequence(
    symmetric: bool, data: st.DataObject, seed: int, words: int, groups: int, group: int
) -> None:
    out, width = 8 * words, groups * group
    with tempfile.TemporaryDirectory() as folder:
        stored, exact = gptq(matrix(seed, out, width), group, symmetric=symmetric)
        files = Files(Path(folder), stored)
        v = files.views
        part = Gptq(v["qweight"], v["qzeros"], v["scales"], None, 4, group, 1)
        assert part.shape == (out, width)
        files.check(part, exact, *cut(data, out))
        if group == 16:
            assert part.spec is None
        else:
            files.check_packed(part, exact, *cut(data, out))


@SOME
@given(st.data(), SEEDS, st.integers(1, 12), st.integers(1, 6))
def test_gptq_in_another_order(data: st.DataObject, seed: int, words: int, groups: int) -> None:
    out, width = 8 * words, groups * 32
    order = np.random.RandomState(seed).permutation(width)
    with tempfile.TemporaryDirectory() as folder:
        stored, exact = gptq(matrix(seed, out, width), 32, symmetric=False, act_order=order)
        files = Files(Path(folder), stored)
        v = files.views
        part = Gptq(v["qweight"], v["qzeros"], v["scales"], v["g_idx"], 4, 32, 1)
        assert part.spec is None
        files.check(part, exact, *cut(data, out))


@SOME
@given(st.data(), SEEDS, st.integers(1, 8), st.integers(1, 4), st.sampled_from([0, 1]))
def test_gptq_in_eight_bits(
    data: st.DataObject, seed: int, words: int, groups: int, offset: int
) -> None:
    out, width = 4 * words, groups * 32
    state = np.random.RandomState(seed)
    codes = state.randint(0, 256, (out, width))
    zeros = state.randint(0, 256, (groups, out))  # 0 - 1 is stored as 255 and comes back as 0
    scales = state.uniform(0.5, 1, (groups, out)).astype(np.float16)
    columns = np.ascontiguousarray(pack_nibbles(codes, 8).T).view(np.int32)
    stored_zeros = pack_nibbles((zeros - offset) % 256, 8).view(np.int32)
    stored = {
        "qweight": Stored("I32", columns),
        "qzeros": Stored("I32", stored_zeros),
        "scales": Stored("F16", scales),
    }
    group_of = np.arange(width) // 32
    exact = (codes - zeros[group_of].T) * scales.astype(np.float32)[group_of].T
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), stored)
        v = files.views
        part = Gptq(v["qweight"], v["qzeros"], v["scales"], None, 8, 32, offset)
        files.check(part, exact.astype(np.float32), *cut(data, out))
        weight, scale, bias = packed_rows(part, files.lazy, 0, out)
        found = mx.dequantize(weight, scale, bias, group_size=32, bits=8)
        np.testing.assert_allclose(np.array(found), exact, rtol=0, atol=1e-4)


@SOME
@given(st.data(), SEEDS, st.integers(1, 12), st.integers(1, 4), st.sampled_from([16, 32, 64, 128]))
def test_awq(data: st.DataObject, seed: int, words: int, groups: int, group: int) -> None:
    out, width = 8 * words, groups * group
    with tempfile.TemporaryDirectory() as folder:
        stored, exact = awq(matrix(seed, out, width), group)
        files = Files(Path(folder), stored)
        v = files.views
        part = Awq(v["qweight"], v["qzeros"], v["scales"], group)
        assert part.shape == (out, width)
        files.check(part, exact, *cut(data, out))
        if group == 16:
            assert part.spec is None
        else:
            files.check_packed(part, exact, *cut(data, out))


@SOME
@given(st.data(), SEEDS, st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_experts_joined_either_way(
    dtype: str, data: st.DataObject, seed: int, experts: int, inner: int, hidden: int
) -> None:
    tensor = np.random.RandomState(seed).standard_normal((experts, 2 * inner, hidden))
    raw, exact = store(tensor.astype(np.float32), dtype)
    turned = Stored(dtype, np.ascontiguousarray(raw.array.swapaxes(1, 2)))
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), {"plain": raw, "turned": turned})
        for start in (0, inner):
            rows = (start, start + inner)
            plain = tuple(
                Plain(View(files.views["plain"].info, e, rows), (inner, hidden))
                for e in range(experts)
            )
            other = tuple(
                Transposed(View(files.views["turned"].info, e), *rows) for e in range(experts)
            )
            for expert in range(experts):
                half = exact[expert, start : start + inner]
                for part in (plain[expert], other[expert]):
                    files.check(part, half, *cut(data, inner))
            for parts in (plain, other):
                origin = Origin("x.weight", (experts, inner, hidden), parts)
                whole = origin_arrays(origin, files.lazy)["x.weight"].astype(mx.float32)
                assert np.array_equal(np.array(whole), exact[:, start : start + inner])


MODES: list[tuple[str, int, int]] = [
    ("affine", 3, 64),
    ("affine", 4, 32),
    ("affine", 8, 128),
    ("mxfp4", 4, 32),
    ("mxfp8", 8, 32),
    ("nvfp4", 4, 16),
]


@pytest.mark.parametrize(("mode", "bits", "group"), MODES)
def test_mlx_modes_by_rows(mode: Any, bits: int, group: int, tmp_path: Path) -> None:
    weight = mx.random.normal((2, 5, 256), key=mx.random.key(1))
    packed = mx.quantize(weight, group_size=group, bits=bits, mode=mode)
    names = ("weight", "scales", "biases")
    mx.save_safetensors(str(tmp_path / "model.safetensors"), dict(zip(names, packed, strict=False)))
    tensors = read_header(tmp_path / "model.safetensors").tensors
    views = [View(tensors[n]) if n in tensors else None for n in names]
    assert views[0] is not None
    assert views[1] is not None
    part = Packed(views[0], views[1], views[2], QuantSpec(bits, group, mode))
    assert part.shape == (2, 5, 256)
    expected = mx.dequantize(*packed, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
    found = part_rows(part, FileReader(), 3, 9)
    assert mx.array_equal(found, expected.reshape(10, 256)[3:9])


def test_a_zero_centred_norm_is_formed_in_float32(tmp_path: Path) -> None:
    weight = mx.array([0.0301, -0.0007, 0.5], mx.bfloat16)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), {"norm.weight": weight})
    path = tmp_path / "model.safetensors"
    view = View(read_header(path).tensors["norm.weight"])
    origin = Origin("norm.weight", (3,), (Plain(view, (3,)),), plus_one=True)
    found = origin_arrays(origin, LazyShards.open((path,)))["norm.weight"]
    assert found.dtype == mx.float32
    assert mx.array_equal(found, weight.astype(mx.float32) + 1)
    assert not mx.array_equal(found, (weight + 1).astype(mx.float32))


def test_every_float8_code(tmp_path: Path) -> None:
    codes = np.arange(256, dtype=np.uint8).reshape(2, 128)
    scale, _ = store(np.array([[0.25]], np.float32), "F32")
    stored = {"weight": Stored("F8_E4M3", codes), "scale": scale}
    files = Files(tmp_path, stored)
    part = BlockFp8(files.views["weight"], files.views["scale"], (128, 128))
    found = np.array(part_rows(part, files.reader, 0, 2)).reshape(-1)
    for code, value in enumerate(found):
        exponent, fraction = (code >> 3) & 15, code & 7
        sign = -1 if code >> 7 else 1
        if (exponent, fraction) == (15, 7):
            assert np.isnan(value)
        elif exponent:
            assert value == sign * (1 + fraction / 8) * 2.0 ** (exponent - 7) / 4
        else:
            assert value == sign * fraction / 8 * 2.0**-6 / 4
