"""Routing and experts: the gathered path equals the dense reference, whatever the batch."""

import mlx.core as mx
import pytest

from mlxqwen.model.config import MoEConfig
from mlxqwen.model.linear import Linear, QuantizedLinear
from mlxqwen.model.moe import DenseMoE, QuantizedStackedLinear, SparseMoE, StackedLinear, route
from mlxqwen.model.quantspec import QuantSpec


def moe(experts: int, chosen: int, *, normalised: bool = True) -> MoEConfig:
    return MoEConfig(experts, chosen, 32, normalised, 1, frozenset())


@pytest.mark.parametrize("normalised", [True, False])
def test_route_against_a_full_sort(normalised: bool) -> None:
    logits = mx.random.normal((3, 5, 16), key=mx.random.key(0))
    experts, weights = route(logits, moe(16, 4, normalised=normalised))
    probabilities = mx.softmax(logits, axis=-1)
    expected = mx.sort(probabilities, axis=-1)[..., -4:]
    if normalised:
        expected = expected / expected.sum(axis=-1, keepdims=True)
    assert mx.allclose(mx.sort(weights, axis=-1), expected, atol=1e-6)
    order = mx.argsort(-probabilities, axis=-1)[..., :4]
    assert mx.array_equal(mx.sort(experts, axis=-1), mx.sort(order, axis=-1))


@pytest.mark.parametrize("rows", [1, 3, 31, 32, 33, 200])
@pytest.mark.parametrize(("experts", "chosen"), [(8, 2), (128, 8), (4, 4)])
def test_gathered_equals_dense(rows: int, experts: int, chosen: int) -> None:
    keys = iter(mx.random.split(mx.random.key(rows), 4))
    gate = Linear(mx.random.normal((experts, 64), key=next(keys)), None)
    gate_up = mx.random.normal((experts, 64, 64), key=next(keys)) / 8
    down = mx.random.normal((experts, 64, 32), key=next(keys)) / 6
    x = mx.random.normal((1, rows, 64), key=next(keys))
    config = moe(experts, chosen)
    dense = DenseMoE(gate, gate_up, down, config)(x)
    sparse = SparseMoE(gate, StackedLinear(gate_up), StackedLinear(down), None, config)(x)
    assert mx.abs(sparse - dense).max().item() < 2e-5


def test_quantised_experts_equal_their_dequantised_selves() -> None:
    spec = QuantSpec(4, 32)
    weight = mx.random.normal((8, 64, 64))
    packed, scales, biases = mx.quantize(weight, group_size=32, bits=4)
    layer = QuantizedStackedLinear(packed, scales, biases, spec)
    plain = StackedLinear(mx.dequantize(packed, scales, biases, group_size=32, bits=4))
    x = mx.random.normal((5, 1, 1, 64))
    chosen = mx.array([[0, 7], [3, 3], [1, 2], [6, 5], [4, 0]])
    difference = layer(x, chosen, ordered=False) - plain(x, chosen, ordered=False)
    assert mx.abs(difference).max().item() < 1e-4


def test_quantised_router_is_a_projection_like_any_other() -> None:
    weight = mx.random.normal((8, 64))
    packed, scales, biases = mx.quantize(weight, group_size=64, bits=8)
    gate = QuantizedLinear(packed, scales, biases, None, QuantSpec(8, 64))
    x = mx.random.normal((1, 3, 64))
    assert mx.abs(gate(x) - x @ weight.T).max().item() < 0.2
