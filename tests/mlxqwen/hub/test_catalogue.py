from __future__ import annotations

import dataclasses

import pytest

from mlxqwen.generate.options import Sampling
from mlxqwen.hub.catalogue import MODELS, KnownModel, all_aliases, find


def test_no_name_means_two_models() -> None:
    names = [name.lower() for model in MODELS for name in model.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.alias)
def test_every_name_finds_its_model(model: KnownModel) -> None:
    for name in model.names:
        assert find(name) is model
        assert find(name.upper()) is model


def test_an_unknown_name_is_unknown() -> None:
    assert find("llama-3-8b") is None
    assert find("") is None


@pytest.mark.parametrize(
    ("alias", "parameters"),
    [
        ("qwen3-0.6b", 751_632_384),
        ("qwen3-1.7b", 2_031_739_904),
        ("qwen3-4b", 4_022_468_096),
        ("qwen3-coder-30b", 30_532_122_624),
        ("qwen3-next-80b", 81_324_862_720),
        ("qwq-32b", 32_763_876_352),
    ],
)
def test_totals_that_published_listings_confirm(alias: str, parameters: int) -> None:
    model = find(alias)
    assert model is not None
    assert model.verified
    assert model.parameters == parameters


def moe_weights(layers: int, hidden: int, inner: int, experts: int) -> int:
    """Weights of all routed experts: gate, up and down of every expert in every layer."""
    return layers * experts * 3 * hidden * inner


@pytest.mark.parametrize(
    ("alias", "layers", "hidden", "inner", "experts", "chosen"),
    [
        ("qwen3-30b-a3b", 48, 2048, 768, 128, 8),
        ("qwen3-235b-a22b", 94, 4096, 1536, 128, 8),
        ("qwen3-coder-480b", 62, 6144, 2560, 160, 8),
    ],
)
def test_active_weights_are_all_but_the_idle_experts(
    alias: str, layers: int, hidden: int, inner: int, experts: int, chosen: int
) -> None:
    model = find(alias)
    assert model is not None
    assert model.parameters is not None
    idle = moe_weights(layers, hidden, inner, experts - chosen)
    assert model.active == model.parameters - idle


def test_a_tied_head_counts_once_among_the_active() -> None:
    """0.6B and 1.7B store the head although it equals the embeddings (151,936 rows)."""
    for alias, hidden in (("qwen3-0.6b", 1024), ("qwen3-1.7b", 2048)):
        model = find(alias)
        assert model is not None
        assert model.parameters is not None
        assert model.active == model.parameters - 151_936 * hidden


def test_active_never_exceeds_the_total_and_unknown_stays_unknown() -> None:
    for model in MODELS:
        assert (model.parameters is None) == (model.active is None), model.alias
        if model.parameters is not None and model.active is not None:
            assert model.active <= model.parameters
            assert model.context is not None
        else:
            assert not model.verified


def test_sampling_of_the_switching_models_is_their_published_one() -> None:
    for model in MODELS:
        if model.thinking == "switch":
            assert model.sampling == Sampling(temperature=0.6, top_p=0.95, top_k=20)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS[0].alias = "other"  # type: ignore[misc]


def test_the_eight_first_models_have_both_kinds_of_conversion() -> None:
    first = [model for model in MODELS if model.thinking == "switch"]
    assert len(first) == 8
    for model in first:
        end = model.hub_id.removeprefix("Qwen/")
        assert model.mlx_ids == (f"mlx-community/{end}-4bit", f"Qwen/{end}-MLX-4bit")
        assert model.alias in all_aliases()
