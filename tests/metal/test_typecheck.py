"""The address-space check sees what Metal's compiler would refuse, and passes our kernels."""

from __future__ import annotations

import mlx.core as mx
import pytest
from emulator import MetalError
from typecheck import TypeChecker, clang

from mlxqwen.model.kernels import add_rms_norm, router
from mlxqwen.model.kernels.make import built_by

pytestmark = pytest.mark.skipif(clang() is None, reason="no clang of version 17 or later here")

_I = "uint i = thread_position_in_grid.x;\n"
_HELPER = "template <class T> T first(const device T* p) { return p[0]; }\n"


def check(body: str, size: int = 64, header: str = "") -> None:
    kernel = TypeChecker()(
        name="case", input_names=["x"], output_names=["y"], source=body, header=header
    )
    kernel(
        inputs=[mx.zeros(size)],
        grid=(size, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(size,)],
        output_dtypes=[mx.float32],
        template=[("T", mx.float32)],
    )


SOUND = {
    "pointers": f"{_I}const device float* p = x + 1; device T* q = y; q[i] = p[i];",
    "threadgroup": f"{_I}threadgroup float s[4]; threadgroup float* p = s; p[0] = x[i]; y[i] = *p;",
    "vectors": f"{_I}const float4 v = *(const device float4*)(x + 4 * i); y[i] = dot(v, v) + v.x;",
    "helper": f"{_I}y[i] = first(x);",
    "half": f"{_I}half h = half(x[i]); bfloat b = bfloat(float(h)); y[i] = simd_sum(b);",
}
WRONG = {
    "pointer without a space": f"{_I}const float* p = x; y[i] = p[0];",
    "threadgroup memory for device": f"{_I}threadgroup float s[4]; y[i] = first(s);",
    "write through const": f"{_I}x[i] = 0.0f; y[i] = 0.0f;",
    "space cast away": f"{_I}device float* p = y; thread float* q = p; q[i] = x[i];",
    "half pointer for float": f"{_I}const device half* p = x; y[i] = p[i];",
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_types_pass(name: str) -> None:
    check(SOUND[name], header=_HELPER)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_types_are_refused(name: str) -> None:
    with pytest.raises(MetalError, match="kernel_source:2"):
        check(WRONG[name], header=_HELPER)


def test_an_input_of_fewer_than_eight_elements_is_in_another_space() -> None:
    check(SOUND["helper"], size=8, header=_HELPER)
    with pytest.raises(MetalError, match="kernel_source:2"):
        check(SOUND["helper"], size=7, header=_HELPER)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("width", [8, 1001, 5120])
def test_add_rms_norm(width: int, dtype: mx.Dtype) -> None:
    x = mx.zeros((1, width), dtype)
    with built_by(TypeChecker()):
        add_rms_norm.add_rms_norm(x, x, mx.zeros(width), 1e-6)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("experts", [4, 128])
def test_router(experts: int, dtype: mx.Dtype) -> None:
    with built_by(TypeChecker()):
        router.router(mx.zeros((1, experts), dtype), 2, True)
