"""Training computes what the model computes, faster."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxqwen.builtin import arithmetic
from mlxqwen.builtin.export import hf_config, initial_parameters
from mlxqwen.builtin.objective import as_stored, forward, loss, mixture
from mlxqwen.builtin.optimizer import AdamW, Schedule
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model
from mlxqwen.model.moe import DenseMoE
from mlxqwen.model.params import Params


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    sizes = {"hidden_size": 64, "vocab_size": 128, "num_hidden_layers": 2, "head_dim": 16}
    return ModelConfig.parse({**hf_config(), **sizes, "moe_intermediate_size": 64})


@pytest.fixture(scope="module")
def parameters(config: ModelConfig) -> dict[str, mx.array]:
    return initial_parameters(config, seed=3)


def close(ours: mx.array, theirs: mx.array, tolerance: float) -> bool:
    return bool(mx.linalg.norm(ours - theirs) <= tolerance * mx.linalg.norm(theirs))


def test_hidden_states_equal_the_models(
    config: ModelConfig, parameters: dict[str, mx.array]
) -> None:
    tokens = mx.random.randint(0, 128, (2, 12), key=mx.random.key(0))
    hidden, _ = forward(Model.build(config, Params(parameters), experts="dense"), tokens)
    expected = Model.build(config, Params(parameters)).hidden(tokens)
    assert close(hidden, expected, 1e-3)


@pytest.mark.parametrize("normalised", [True, False])
def test_mixture_equals_the_layer(normalised: bool) -> None:
    raw = {**hf_config(), "hidden_size": 64, "norm_topk_prob": normalised}
    config = ModelConfig.parse(raw)
    model = Model.build(config, Params(initial_parameters(config, 1)), experts="dense")
    layer = model.layers[0].mlp
    assert isinstance(layer, DenseMoE)
    x = mx.random.normal((2, 9, 64), key=mx.random.key(1))
    out, balance = mixture(layer, x)
    assert close(out, layer(x), 1e-3)
    assert 0.9 < balance.item() < 8.0


def test_loss_counts_only_the_positions_it_is_given(
    config: ModelConfig, parameters: dict[str, mx.array]
) -> None:
    tokens = mx.random.randint(0, 128, (2, 9), key=mx.random.key(2))
    counted = mx.array([0, 5, 8, 15])
    logits = Model.build(config, Params(parameters))(tokens[:, :-1]).reshape(16, -1)
    surprise = mx.logsumexp(logits, axis=-1) - mx.take_along_axis(
        logits, tokens[:, 1:].reshape(-1, 1), axis=-1
    ).squeeze(-1)
    expected = surprise[counted].mean().item()
    assert loss(config, parameters, tokens, counted).text.item() == pytest.approx(
        expected, rel=1e-3
    )


def test_swiglu_and_its_gradient() -> None:
    gate, up, weight = (
        4 * mx.random.normal((16, 64), key=key) for key in mx.random.split(mx.random.key(5), 3)
    )

    def ours(gate: mx.array, up: mx.array) -> mx.array:
        return (arithmetic.swiglu(gate, up) * weight).sum()

    def plain(gate: mx.array, up: mx.array) -> mx.array:
        return (gate * mx.sigmoid(gate) * up * weight).sum()

    for one, other in zip(
        mx.grad(ours, (0, 1))(gate, up), mx.grad(plain, (0, 1))(gate, up), strict=True
    ):
        assert close(one, other, 1e-3)


def test_logsumexp_and_its_gradient() -> None:
    x = 20 * mx.random.normal((8, 128), key=mx.random.key(6))
    assert close(arithmetic.logsumexp(x), mx.logsumexp(x, axis=-1), 1e-5)
    ours = mx.grad(lambda x: (arithmetic.logsumexp(x) * x[:, 0]).sum())(x)
    plain = mx.grad(lambda x: (mx.logsumexp(x, axis=-1) * x[:, 0]).sum())(x)
    assert close(ours, plain, 1e-3)


def test_rounding_keeps_gradients_and_leaves_routers_and_norms(
    config: ModelConfig, parameters: dict[str, mx.array]
) -> None:
    stored = as_stored(parameters)
    for name, value in parameters.items():
        same = bool(mx.array_equal(stored[name], value))
        assert same == (value.ndim < 2 or name.endswith("mlp.gate.weight"))
    name = "model.layers.0.self_attn.q_proj.weight"
    gradient = mx.grad(lambda p: as_stored(p)[name].sum())(parameters)[name]
    assert bool(mx.array_equal(gradient, mx.ones_like(gradient)))


def test_training_lowers_the_loss(config: ModelConfig) -> None:
    parameters = initial_parameters(config, seed=0)
    tokens = mx.random.randint(0, 128, (4, 17), key=mx.random.key(7))
    counted = mx.arange(64)
    optimizer, schedule = AdamW(parameters), Schedule(peak=3e-3, warmup=5, steps=30)

    def text(parameters: dict[str, mx.array]) -> mx.array:
        return loss(config, parameters, tokens, counted).text

    losses: list[float] = []
    for step in range(30):
        value, gradients = mx.value_and_grad(text)(parameters)
        optimizer.update(parameters, gradients, schedule(step))
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]


def test_schedule_rises_then_falls() -> None:
    schedule = Schedule(peak=1.0, warmup=10, steps=110, rest=0.1)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(9) == pytest.approx(1.0)
    assert schedule(60) == pytest.approx(0.55)
    assert schedule(110) == pytest.approx(0.1)
    assert schedule(999) == pytest.approx(0.1)
