"""The emulator's own tests: it must see each fault, and must not see faults in sound kernels."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from broken import BROKEN
from emulator import Emulator, MetalError
from rewrite import UnreadableDeclaration, host, require_inline, rewrite

_I = "uint i = thread_position_in_grid.x;\n"


def launch(
    emulator: Emulator,
    body: str,
    *arrays: mx.array,
    size: int | None = None,
    dtype: mx.Dtype | None = None,
    grid: tuple[int, int, int] | None = None,
    group: tuple[int, int, int] = (64, 1, 1),
    header: str = "",
) -> mx.array:
    """Runs ``body`` with inputs x, a, b, … and output y."""
    names = ["x", "a", "b", "c"][: len(arrays)]
    kernel = emulator(
        name="case", input_names=names, output_names=["y"], source=body, header=header
    )
    count = arrays[0].size if size is None else size
    dtype = arrays[0].dtype if dtype is None else dtype
    return kernel(
        inputs=arrays,
        grid=grid or (count, 1, 1),
        threadgroup=group,
        output_shapes=[(count,)],
        output_dtypes=[dtype],
        template=[("T", dtype)],
    )[0]


def values(size: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.array(np.random.default_rng(size).normal(size=size).astype(np.float32)).astype(dtype)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_kernel_raises(emulator: Emulator, fault: str) -> None:
    case = BROKEN[fault]
    small = Emulator(seeds=emulator.seeds, steps=1_000_000, seconds=1)
    with pytest.raises(MetalError) as caught:
        launch(small, case.body, values(64), size=64, grid=(case.grid, 1, 1), header=case.header)
    assert case.kind in caught.value.kind
    assert case.says in str(caught.value)


def test_a_message_names_line_thread_and_threadgroup(emulator: Emulator) -> None:
    body = f"{_I}\ny[i] = x[i < 70 ? i : i + 100];"
    with pytest.raises(MetalError, match=r"'case'.*kernel_source:3, thread \(\d+, 0, 0\) of") as at:
        launch(emulator, body, values(128))
    assert "of threadgroup (1, 0, 0)" in str(at.value)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
def test_each_operation_rounds_as_mlx_does(emulator: Emulator, dtype: mx.Dtype) -> None:
    x, a = values(1000, dtype), values(1001, dtype)[:1000]
    got = launch(emulator, f"{_I}y[i] = (x[i] * a[i] + T(3)) / (a[i] - x[i]);", x, a)
    assert mx.array_equal(got, (x * a + 3) / (a - x))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_every_float32_exponent_rounds_as_mlx_does(emulator: Emulator, dtype: mx.Dtype) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    x = mx.array(bits).view(mx.float32)
    got = launch(emulator, f"{_I}y[i] = static_cast<T>(x[i]);", x, dtype=dtype)
    assert mx.array_equal(got, x.astype(dtype), equal_nan=True)
    back = launch(emulator, f"{_I}y[i] = static_cast<float>(x[i]);", got, dtype=mx.float32)
    assert mx.array_equal(back, got.astype(mx.float32), equal_nan=True)


def test_a_reduction_through_threadgroup_memory(emulator: Emulator) -> None:
    body = f"""{_I}
    threadgroup float part[2];
    float v = simd_sum(x[i]);
    if (thread_index_in_simdgroup == 0) {{ part[simdgroup_index_in_threadgroup] = v; }}
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index_in_threadgroup == 0) {{
        y[threadgroup_position_in_grid.x] = part[0] + part[1];
    }}"""
    x = values(640)
    got = launch(emulator, body, x, size=10, grid=(640, 1, 1))
    assert mx.allclose(got, x.reshape(10, 64).sum(axis=1), atol=1e-5)


def test_a_tree_in_threadgroup_memory(emulator: Emulator) -> None:
    body = f"""{_I}
    threadgroup float part[32 * 2];
    uint t = thread_index_in_threadgroup;
    part[t] = x[i];
    for (uint half_way = 32; half_way > 0; half_way /= 2) {{
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (t < half_way) {{ part[t] = max(part[t], part[t + half_way]); }}
    }}
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[i] = part[0];"""
    x = values(128)
    expected = mx.repeat(x.reshape(2, 64).max(axis=1), 64)
    assert mx.array_equal(launch(emulator, body, x), expected)


SIMD = {
    "simd_max(x[i])": lambda v: np.full(32, v.max()),
    "simd_min(x[i])": lambda v: np.full(32, v.min()),
    "simd_sum(x[i])": lambda v: np.full(32, v.sum()),
    "simd_broadcast(x[i], 3)": lambda v: np.full(32, v[3]),
    "simd_shuffle(x[i], ushort((i + 5) % 32))": lambda v: np.roll(v, -5),
    "simd_shuffle_xor(x[i], 6)": lambda v: v[np.arange(32) ^ 6],
    "simd_shuffle_up(x[i], 2)": lambda v: np.concatenate([v[:2], v[:-2]]),
    "simd_shuffle_down(x[i], 2)": lambda v: np.concatenate([v[2:], v[-2:]]),
    "simd_prefix_inclusive_sum(x[i])": lambda v: np.cumsum(v),
    "simd_prefix_exclusive_sum(x[i])": lambda v: np.cumsum(v) - v,
    "T(simd_any(x[i] > 5) ? 1 : simd_all(x[i] > -9) ? 2 : 3)": lambda v: np.full(
        32, 1 if (v > 5).any() else 2 if (v > -9).all() else 3
    ),
    "T(popcount(uint(simd_ballot(x[i] > 0))))": lambda v: np.full(32, (v > 0).sum()),
}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.int32], ids=str)
def test_simd_functions(emulator: Emulator, dtype: mx.Dtype) -> None:
    whole = np.random.default_rng(5).integers(-8, 9, 96).astype(np.float32)
    lines = "".join(f"y[{n} * 96 + i] = {text};\n" for n, text in enumerate(SIMD))
    x = mx.array(whole).astype(dtype)
    got = launch(emulator, _I + lines, x, size=96 * len(SIMD), grid=(96, 1, 1), group=(96, 1, 1))
    for row, (text, expected) in zip(got.reshape(-1, 3, 32), SIMD.items(), strict=True):
        for group in range(3):
            want = expected(whole.reshape(3, 32)[group])
            assert np.array_equal(np.array(row[group].astype(mx.float32)), want), text


def test_threadgroups_at_the_edge_are_smaller(emulator: Emulator) -> None:
    body = """uint3 p = thread_position_in_grid, n = threads_per_grid;
    uint3 s = threads_per_threadgroup;
    y[p.x + n.x * (p.y + n.y * p.z)] = x[0] + float(s.x + 10 * s.y + 100 * s.z)
        + 1000 * float(simd_sum(1)) + 1e6f * float(thread_index_in_threadgroup);"""
    got = launch(
        emulator, body, mx.zeros(1), size=5 * 7 * 2, grid=(5, 7, 2), group=(3, 4, 8)
    )  # z is clipped to 2
    got = np.array(got).reshape(2, 7, 5)
    assert got[0, 0, 0] == 3 + 40 + 200 + 24_000
    assert got[1, 6, 4] == 2 + 30 + 200 + 12_000 + 11e6


def test_tiny_inputs_scalars_and_tables(emulator: Emulator) -> None:
    body = f"{_I}y[i] = x[i % x_shape[0]] * a + table[i % 3] + b[x_strides[0]] + float(x_ndim);"
    header = "constant float table[3] = {1.0f, 2.0f, 3.0f};\n"
    x, a, b = mx.array([2.0, 4.0]), mx.array(10.0), mx.array([[5.0, 6.0]])
    got = launch(emulator, body, x, a, b, size=6, header=header)
    assert got.tolist() == [20 + 1 + 7, 40 + 2 + 7, 20 + 3 + 7, 40 + 1 + 7, 20 + 2 + 7, 40 + 3 + 7]


def test_vectors_and_bits(emulator: Emulator) -> None:
    body = f"""{_I}
    const float4 v = ((const device float4*)x)[i], w = ((const device float4*)a)[i];
    const uint bits = as_type<uint>(v.z);
    y[i] = dot(v * w + 1.0f, w) + float((bits >> 9) & 0xffu) + fma(v.x, w.y, 2.0f);"""
    x, a = values(400), values(404)[:400]
    got = launch(emulator, body, x, a, size=100)
    v, w = x.reshape(100, 4), a.reshape(100, 4)
    bits = (v[:, 2].view(mx.uint32) >> 9) & 0xFF
    assert mx.allclose(got, ((v * w + 1) * w).sum(axis=1) + bits + v[:, 0] * w[:, 1] + 2, atol=1e-4)


def test_mathematics(emulator: Emulator) -> None:
    body = f"""{_I}
    const float v = metal::fabs(x[i]) + 0.5f;
    y[i] = metal::exp(-v) + metal::log(v) + metal::precise::rsqrt(v) + metal::fast::tanh(v)
        + clamp(x[i], -1.0f, 1.0f) + metal::max(x[i], 0.0f) + (isnan(x[i]) ? 1.0f : 0.0f);"""
    x = values(64)
    v = mx.abs(x) + 0.5
    expected = mx.exp(-v) + mx.log(v) + mx.rsqrt(v) + mx.tanh(v) + mx.clip(x, -1, 1)
    assert mx.allclose(launch(emulator, body, x), expected + mx.maximum(x, 0), atol=1e-5)


def test_an_initial_value_may_be_read_and_left(emulator: Emulator) -> None:
    kernel = emulator(
        name="fill", input_names=["x"], output_names=["y"], source=f"{_I}y[2 * i] += x[i];"
    )
    (got,) = kernel(
        inputs=[mx.array([1.0, 2.0])],
        grid=(2, 1, 1),
        threadgroup=(2, 1, 1),
        output_shapes=[(4,)],
        output_dtypes=[mx.float32],
        init_value=5,
    )
    assert got.tolist() == [6, 5, 7, 5]


def test_an_uninitialised_local_shows_in_the_result(emulator: Emulator) -> None:
    got = launch(emulator, f"{_I}float v[2]; v[i / 64] = x[i]; y[i] = v[1 - i / 64];", values(64))
    plausible = (mx.abs(got) > 1e-30) & (mx.abs(got) < 1e30)
    assert not mx.any(plausible)


def test_seeds_change_the_order_of_threads(emulator: Emulator) -> None:
    """Which thread is reported for a race depends on the seed."""
    body = f"{_I}y[i] = x[i];\nif (i > 60) {{ y[0] = x[i]; }}"
    seen = set()
    for seed in range(1, 9):
        with pytest.raises(MetalError) as caught:
            launch(Emulator(seeds=(seed,)), body, values(64))
        seen.add(str(caught.value))
    assert len(seen) > 1


@pytest.mark.parametrize(
    "text",
    ["threadgroup float a[2] = {0};", "threadgroup a[f[0]];", "threadgroup auto;"],
)
def test_an_unreadable_threadgroup_declaration_is_refused(text: str) -> None:
    with pytest.raises(UnreadableDeclaration, match="kernel_source:2"):
        rewrite(f"int i;\n{text}\n", host)


def test_a_helper_that_may_become_a_real_call_is_refused() -> None:
    sound = "constant float t[2] = {1, 2};\ntemplate <class T>\ninline T f(T v) { return v; }\n"
    require_inline(sound)
    with pytest.raises(UnreadableDeclaration, match="float g"):
        require_inline(sound + "struct s { int a; };\nfloat g(float v) { return v; }\n")


def test_threadgroup_declarations_are_found() -> None:
    text = (
        "threadgroup float a[32 * 2], b; threadgroup T c[N][M + 1];\n"
        "threadgroup vec<T, 4> d; // threadgroup float no[2];\n"
        "const threadgroup float* p = a; f((threadgroup T*)c); threadgroup_barrier(x);\n"
    )
    found: list[tuple[int, str, str, str]] = []

    def declare(*parts: object) -> str:
        found.append(parts)  # type: ignore[arg-type]
        return ""

    left = rewrite(text, declare)
    assert found == [
        (0, "float", "a", "[32 * 2]"),
        (1, "float", "b", ""),
        (2, "T", "c", "[N][M + 1]"),
        (3, "vec<T, 4>", "d", ""),
    ]
    assert left.count("threadgroup") == 3
    assert left.count("\n") == text.count("\n")
