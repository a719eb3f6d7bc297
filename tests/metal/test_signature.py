"""The emulator's function signature is the one that the installed MLX generates."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import mlx.core as mx
import pytest
from signature import ATTRIBUTES, Signature, Template

CASES: dict[str, tuple[dict[str, mx.array], dict[str, mx.Dtype], str, Template]] = {
    "template, scalar, shapes": (
        {
            "x": mx.zeros((4, 8)),
            "small": mx.zeros((2, 2), dtype=mx.bfloat16),
            "s": mx.array(1, mx.uint32),
        },
        {"y": mx.bfloat16, "z": mx.float16},
        "uint i = thread_position_in_grid.x; // x_shape x_strides x_ndim small_shape s_shape\n"
        "uint l = thread_index_in_simdgroup; uint3 n = dispatch_threads_per_threadgroup;",
        [("T", mx.float32), ("N", -4), ("FLAG", True), ("H", mx.bfloat16)],
    ),
    "every attribute": (
        {"x": mx.zeros((9,), dtype=mx.int8)},
        {"y": mx.float32},
        "// " + " ".join(ATTRIBUTES),
        [],
    ),
    "every type": (
        {
            f"in{index}": mx.zeros((2, 4 + index), dtype=dtype)
            for index, dtype in enumerate(
                (mx.bool_, mx.uint8, mx.uint16, mx.uint32, mx.uint64, mx.int16, mx.int32, mx.int64)
            )
        },
        {"y": mx.int8},
        "y[thread_position_in_grid.x] = 0; // in3_strides",
        [("K", 7)],
    ),
    "seven and eight elements": (
        {"a": mx.zeros((7,)), "b": mx.zeros((8,)), "c": mx.array(2.5, mx.float16)},
        {"y": mx.uint32},
        "y[thread_index_in_threadgroup] = 0; // a_ndim b_ndim c_ndim",
        [],
    ),
}


def printed(build: Callable[..., mx.array], arrays: list[mx.array]) -> str:
    """What MLX writes to the standard output, below Python's, while it traces a verbose kernel."""
    with tempfile.TemporaryFile() as caught, tempfile.NamedTemporaryFile() as graph:
        before = os.dup(1)
        os.dup2(caught.fileno(), 1)
        try:
            mx.export_function(graph.name, build, *arrays)
        finally:
            os.dup2(before, 1)
            os.close(before)
        caught.seek(0)
        return caught.read().decode()


@pytest.mark.parametrize("case", CASES)
def test_signature_is_what_mlx_emits(case: str) -> None:
    inputs, outputs, source, template = CASES[case]
    kernel = mx.fast.metal_kernel("probe", list(inputs), list(outputs), source)

    def build(*arrays: mx.array) -> mx.array:
        return kernel(
            inputs=list(arrays),
            template=list(template),
            grid=(8, 1, 1),
            threadgroup=(8, 1, 1),
            output_shapes=[(8,)] * len(outputs),
            output_dtypes=list(outputs.values()),
            verbose=True,
        )

    emitted = printed(build, list(inputs.values()))
    ours = Signature.of("probe", list(inputs.items()), list(outputs.items()), source, template)
    assert f"\n{ours.text()}{source}\n}}\n" in emitted
    assert ours.arguments == "" or f"decltype({ours.name}{ours.arguments})" in emitted
