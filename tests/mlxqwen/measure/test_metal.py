from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.measure.bench import count_side, metal_plan
from mlxqwen.measure.metal import plan_launches
from mlxqwen.measure.random_model import random_model
from mlxqwen.measure.standins import metal_standins
from mlxqwen.measure.trace import trace

Configs = dict[str, dict[str, Any]]
# Operations per layer that mlx-lm 0.32 launches for one token: counted by hand from its source for
# the first two, and as primitives that are no views for the third.
PEER = {"qwen3": 19, "qwen3_moe": 30, "qwen3_next": 43}


def launched(function: Callable[..., Sequence[mx.array]], *arrays: mx.array) -> dict[str, int]:
    mx.eval(arrays)
    with metal_standins() as standins:
        return plan_launches(trace(standins, function, *arrays)).table()


def zeros(*shape: int) -> mx.array:
    return mx.zeros(shape, mx.bfloat16)


def test_views_launch_nothing() -> None:
    def views(x: mx.array) -> list[mx.array]:
        y = mx.expand_dims(x[:, 1:3], 0).squeeze(0).swapaxes(0, 1)
        return [mx.broadcast_to(y[None], (3, *y.shape)), *mx.split(x, 2, axis=1), x.reshape(-1)]

    assert launched(views, zeros(4, 6)) == {}


def test_a_reshape_of_what_lies_otherwise_is_a_copy() -> None:
    assert launched(lambda x: [x.T.reshape(-1)], zeros(4, 6)) == {"copy": 1}
    assert launched(lambda x: [x.T.reshape(6, 2, 2)], zeros(4, 6)) == {}


def test_elementwise_operations_launch_once_each_and_once_together_when_compiled() -> None:
    def gelu(x: mx.array) -> list[mx.array]:
        return [x * mx.sigmoid(x) + 1]

    assert launched(gelu, zeros(4, 6)) == {"Add": 1, "Multiply": 1, "Sigmoid": 1}
    with metal_standins() as standins:
        plan = plan_launches(trace(standins, mx.compile(gelu), zeros(4, 6)))
    assert plan.table() == {"compiled": 1}
    assert plan.launches[0].of == "Sigmoid·Multiply·Add"


def test_the_parts_of_a_concatenation_are_copied_one_by_one() -> None:
    x, y = zeros(1, 4), zeros(2, 4)
    assert launched(lambda x, y: [mx.concatenate([x, y, x])], x, y) == {"concatenate": 3}


def test_an_update_is_one_launch_and_a_dynamic_one_two() -> None:
    def static(cache: mx.array, x: mx.array) -> list[mx.array]:
        cache[:, 3:4] = x
        return [cache]

    def dynamic(cache: mx.array, x: mx.array, start: mx.array) -> list[mx.array]:
        return [mx.slice_update(cache, x, start, (1,))]

    cache, x, start = zeros(2, 8, 4), zeros(2, 1, 4), mx.array([3])
    assert launched(static, cache, x) == {"SliceUpdate": 1}
    assert launched(dynamic, cache, x, start) == {"DynamicSliceUpdate": 1, "dynamic offset": 1}


def test_a_buffer_that_others_read_is_copied_before_an_update() -> None:
    def updated(cache: mx.array, x: mx.array) -> list[mx.array]:
        before = cache.sum(axis=-1)
        cache[:, 3:4] = x
        return [before, cache]

    table = launched(updated, zeros(2, 8, 4), zeros(2, 1, 4))
    assert table == {"Reduce": 1, "SliceUpdate": 1, "copy": 1}


@pytest.mark.parametrize(("keys", "passes"), [(512, 1), (1024, 2), (8192, 2)])
def test_attention_over_many_keys_takes_two_passes(keys: int, passes: int) -> None:
    def attend(q: mx.array, k: mx.array) -> list[mx.array]:
        return [mx.fast.scaled_dot_product_attention(q, k, k, scale=1.0)]

    table = launched(attend, zeros(1, 4, 1, 128), zeros(1, 2, keys, 128))
    assert table == {"ScaledDotProductAttention": passes}


def test_heads_that_no_fused_kernel_takes_are_several_launches() -> None:
    def attend(q: mx.array, k: mx.array) -> list[mx.array]:
        return [mx.fast.scaled_dot_product_attention(q, k, k, scale=1.0)]

    table = launched(attend, zeros(1, 4, 1, 48), zeros(1, 4, 512, 48))
    assert table["Matmul"] == 2
    assert "ScaledDotProductAttention" not in table


def test_a_quantised_product_copies_what_does_not_lie_as_a_matrix() -> None:
    weight, scales, biases = mx.quantize(mx.zeros((64, 128)), group_size=64, bits=4)

    def product(x: mx.array) -> list[mx.array]:
        return [mx.quantized_matmul(x, weight, scales, biases, group_size=64, bits=4)]

    def half(x: mx.array) -> list[mx.array]:
        return product(mx.split(x, 2, axis=-1)[1])

    mx.eval(weight, scales, biases)
    assert launched(product, mx.zeros((1, 1, 128))) == {"QuantizedMatmul": 1}
    assert launched(half, mx.zeros((1, 1, 256))) == {"QuantizedMatmul": 1, "copy": 1}


def test_a_norm_in_another_dtype_converts_first() -> None:
    def norm(x: mx.array, weight: mx.array) -> list[mx.array]:
        return [mx.fast.rms_norm(x, weight, 1e-6)]

    assert launched(norm, zeros(1, 64), zeros(64)) == {"RMSNorm": 1}
    assert launched(norm, zeros(1, 64), mx.zeros(64)) == {"AsType": 1, "RMSNorm": 1}


def test_a_custom_kernel_is_one_launch_under_its_name() -> None:
    def run(x: mx.array, init: float | None) -> list[mx.array]:
        kernel = mx.fast.metal_kernel("mine", ["x"], ["y"], "y[0] = x[0];")
        return kernel(
            inputs=[x],
            output_shapes=[x.shape],
            output_dtypes=[x.dtype],
            grid=(1, 1, 1),
            threadgroup=(1, 1, 1),
            init_value=init,
        )

    assert launched(lambda x: run(x, None), zeros(4, 6)) == {"mine": 1}
    assert launched(lambda x: run(x, 0.0), zeros(4, 6)) == {"fill": 1, "mine": 1}
    assert launched(lambda x: run(x.T, None), zeros(4, 6)) == {"copy": 1, "mine": 1}


@pytest.mark.parametrize(("length", "launches"), [(2048, 1), (2049, 4), (151_936, 16)])
def test_long_rows_sort_in_blocks(length: int, launches: int) -> None:
    assert launched(lambda x: [mx.argsort(x)], zeros(1, length)) == {"ArgSort": launches}


def test_everything_is_put_back() -> None:
    before = (mx.compile, mx.fast.rms_norm, mx.async_eval, mx.metal.is_available())
    with metal_standins():
        assert mx.metal.is_available()
    assert (mx.compile, mx.fast.rms_norm, mx.async_eval, mx.metal.is_available()) == before


@pytest.fixture
def folder_of(tiny_configs: Configs, tmp_path: Path) -> Callable[[str], Any]:
    def made(kind: str) -> Any:
        source = tmp_path / "config.json"
        source.write_text(json.dumps(tiny_configs[kind]))
        return random_model(source)

    return made


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe", "qwen3_next"])
def test_mlx_lm_takes_as_many_operations_as_are_known(
    folder_of: Callable[[str], Any], kind: str
) -> None:
    """The calibration: what is counted for a peer whose operations were counted otherwise."""
    with folder_of(kind) as folder:
        counted = count_side("mlx-lm", folder, 512)
    assert counted["operations_per_layer"] == PEER[kind]
    # The rest are copies: of an activation for each of two stacked projections, for instance.
    assert counted["kernels_per_layer"] >= PEER[kind]
    assert sum(counted["launches"].values()) == counted["kernels_per_token"] == len(counted["list"])


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe", "qwen3_next"])
def test_our_step_is_counted_in_the_dtype_of_the_files(
    folder_of: Callable[[str], Any], kind: str
) -> None:
    with folder_of(kind) as folder:
        plan = metal_plan(str(folder))
    record = plan.to_json()
    assert record["context"] == 512
    layers = 4 if kind == "qwen3_next" else 2
    outside = record["kernels_per_token"] - layers * record["kernels_per_layer"]
    assert 3 <= outside <= 20
    assert record["metal_build_ms_per_token"] > 0
    products = [line for line in record["list"] if line.startswith("QuantizedMatmul")]
    assert products
    assert all("bfloat16" in line and "float32" not in line for line in products)
