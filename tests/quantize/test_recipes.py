"""What each recipe chooses for released models, from their configurations alone."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.errors import UsageError
from mlxqwen.hub.catalogue import MODELS, KnownModel
from mlxqwen.hub.configurations import configuration
from mlxqwen.model.config import ModelConfig
from quantize.recipes import FAST, Recipe, Rule, choose_recipe

PLANNED = [model for model in MODELS if model.configuration is not None]


def config_of(model: KnownModel) -> ModelConfig:
    declared = configuration(model)
    assert declared is not None
    return ModelConfig.parse(declared)


def matrices(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {
        name.removesuffix(".weight"): shape
        for name, shape in expected_tensors(config)
        if len(shape) > 1 and shape[-1] > 1
    }


def bits_per_weight(config: ModelConfig, recipe: Recipe) -> float:
    bits = numbers = 0
    for module, shape in matrices(config).items():
        spec = recipe.spec(module, shape[-1])
        count = prod(shape)
        bits += count * (16 if spec is None else spec.bits + 32 / spec.group_size)
        numbers += count
    return bits / numbers


def tiny(**changes: object) -> ModelConfig:
    base = {
        "model_type": "qwen3",
        "vocab_size": 2048,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    }
    return ModelConfig.parse({**base, **changes})


def test_fast_is_one_spec_and_routers_in_eight_bits():
    assert choose_recipe(None, "fast") == FAST
    assert choose_recipe(None, "fast", bits=8).default == QuantSpec(8, 64)
    assert choose_recipe(None, "fast", group_size=32).default == QuantSpec(4, 32)
    assert choose_recipe(None, "fast", mode="nvfp4").default == QuantSpec(4, 16, "nvfp4")
    three = choose_recipe(None, "fast", bits=3)
    assert three.spec("model.layers.0.mlp.gate", 128) == QuantSpec(8, 64)
    assert FAST.spec("model.layers.0.mlp.gate", 192) == QuantSpec(8, 64)
    assert FAST.spec("model.layers.0.mlp.gate_proj", 192) == QuantSpec(4, 64)
    assert FAST.spec("model.layers.0.mlp.gate_proj", 96) is None
    # The default's group divides 96, the router's own does not.
    narrow = choose_recipe(None, "fast", group_size=32)
    assert narrow.spec("model.layers.0.mlp.gate", 96) is None


@pytest.mark.parametrize(
    "choice",
    [{"bits": 7}, {"bits": 0}, {"group_size": 16}, {"mode": "q4_k"}, {"bits": 8, "mode": "mxfp4"}],
)
@pytest.mark.parametrize("name", ["fast", "balanced", "best"])
def test_impossible_choices_are_usage_errors(choice, name):
    with pytest.raises(UsageError) as caught:
        choose_recipe(tiny(), name, **choice)
    assert caught.value.hint


@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
def test_modes_without_biases_are_fast(mode):
    assert choose_recipe(tiny(), mode=mode) == choose_recipe(None, "fast", mode=mode)


@pytest.mark.parametrize("name", ["balanced", "best"])
@pytest.mark.parametrize("model", PLANNED, ids=lambda model: model.alias)
def test_every_released_model_comes_close_to_its_bits(model, name):
    config = config_of(model)
    recipe = choose_recipe(config, name)
    # 4.5 is what fast takes.
    assert 4.5 < bits_per_weight(config, recipe) < 5.2
    for module, shape in matrices(config).items():
        spec = recipe.spec(module, shape[-1])
        assert spec is not None
        assert spec.bits >= 4
        if module.endswith(".mlp.gate"):
            assert spec.bits == 8


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("model", PLANNED, ids=lambda model: model.alias)
def test_asked_for_bits_are_those_of_the_bulk(model, bits):
    config = config_of(model)
    recipe = choose_recipe(config, bits=bits)
    sizes: dict[int, int] = {}
    for module, shape in matrices(config).items():
        spec = recipe.spec(module, shape[-1])
        assert spec is not None
        sizes[spec.bits] = sizes.get(spec.bits, 0) + prod(shape)
    assert min(sizes) == bits
    assert sizes[bits] > 0.5 * sum(sizes.values())


def test_a_mixture_keeps_all_but_its_experts_higher():
    few = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2}
    few |= {"moe_intermediate_size": 192, "decoder_sparse_step": 1, "mlp_only_layers": []}
    recipe = choose_recipe(tiny(**few))
    layer = "model.layers.3."
    assert recipe.spec(layer + "mlp.switch_mlp.down_proj", 192) == QuantSpec(4, 64)
    assert recipe.spec(layer + "mlp.gate", 256) == QuantSpec(8, 64)
    assert recipe.spec(layer + "self_attn.o_proj", 256) == QuantSpec(6, 64)
    assert recipe.spec("model.embed_tokens", 256) == QuantSpec(6, 64)
    # The more experts share the tokens, the more all else counts.
    many = choose_recipe(tiny(**(few | {"num_experts": 64})))
    for module in ("self_attn.o_proj", "linear_attn.in_proj_qkvz", "mlp.shared_expert.up_proj"):
        assert many.spec(layer + module, 256) == QuantSpec(8, 64)
    assert many.spec("lm_head", 256) == QuantSpec(8, 64)
    assert many.spec(layer + "mlp.switch_mlp.up_proj", 256) == QuantSpec(4, 64)


def test_a_dense_model_keeps_higher_what_costs_few_bytes():
    recipe = choose_recipe(tiny())
    chosen = {m: recipe.spec(m, s[-1]).bits for m, s in matrices(tiny()).items()}
    assert chosen["model.embed_tokens"] == 6
    assert chosen["model.layers.1.self_attn.v_proj"] == chosen["model.layers.1.self_attn.k_proj"]
    assert chosen["model.layers.1.self_attn.v_proj"] == 6
    assert chosen["model.layers.1.self_attn.q_proj"] == 4
    downs = [chosen[f"model.layers.{n}.mlp.down_proj"] for n in range(8)]
    assert downs == [5, 4, 4, 5, 4, 4, 5, 5]


def test_a_head_counts_by_its_size_against_a_layer():
    def bits(**changes):
        config = tiny(tie_word_embeddings=False, **changes)
        recipe = choose_recipe(config)
        return [recipe.spec(m, 256).bits for m in ("lm_head", "model.embed_tokens")]

    assert bits() == [6, 5]
    assert bits(vocab_size=4096) == [5, 5]
    assert bits(vocab_size=40960) == [5, 4]


def test_a_group_shrinks_where_it_does_not_divide_a_width():
    balanced = choose_recipe(tiny())
    assert balanced.spec("model.layers.0.mlp.up_proj", 96) == QuantSpec(4, 32)
    assert balanced.spec("model.layers.0.mlp.up_proj", 48) is None
    wide = choose_recipe(tiny(), group_size=128)
    assert wide.spec("model.layers.0.mlp.up_proj", 192) == QuantSpec(4, 64)
    # A shape that mlx_lm.convert leaves in 16 bits stays so in its likeness.
    assert FAST.spec("model.layers.0.mlp.up_proj", 96) is None


def test_explicit_choices_win_over_rules():
    module = "model.layers.0.self_attn.v_proj"
    recipe = replace(choose_recipe(tiny()), modules={module: QuantSpec(3, 32), "lm_head": None})
    assert recipe.spec(module, 256) == QuantSpec(3, 32)
    assert recipe.spec("lm_head", 256) is None
    assert recipe.spec("model.layers.1.self_attn.v_proj", 256) == QuantSpec(6, 64)


def test_digests_tell_all_recipes_apart():
    balanced = choose_recipe(tiny())
    others = [
        choose_recipe(tiny(), "best"),
        choose_recipe(None, "fast"),
        choose_recipe(tiny(), bits=3),
        choose_recipe(tiny(num_hidden_layers=24)),
        replace(balanced, modules={"lm_head": None}),
        replace(balanced, rounding="nearest"),
        replace(balanced, keeps_packed=False),
        replace(balanced, rules=(*balanced.rules, Rule(("x",), QuantSpec(3, 64)))),
    ]
    assert len({recipe.digest() for recipe in [balanced, *others]}) == 1 + len(others)
    assert choose_recipe(tiny()).digest() == balanced.digest()


def test_recipes_describe_themselves():
    assert FAST.describe() == (
        "fast: affine 4-bit in groups of 64, some matrices 8-bit, rounded to nearest"
    )
    assert choose_recipe(tiny(), "best").describe() == (
        "best: affine 4-bit in groups of 64, some matrices 5, 6 and 8-bit, searched scales, "
        "weighted by calibration text, refined layer by layer"
    )
