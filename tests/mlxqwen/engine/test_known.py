"""Plans for released models that are not here: exact where published totals say what is right."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

from mlxqwen import Engine, plan
from mlxqwen.engine.known import memory_sizes, quantised_bytes, released_tensors
from mlxqwen.errors import ModelNotFound, UsageError
from mlxqwen.hub.catalogue import MODELS, KnownModel, find
from mlxqwen.hub.configurations import configuration
from mlxqwen.model.config import ModelConfig

PLANNED = [model for model in MODELS if model.configuration is not None]


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is on this machine."""
    for variable in ("MLXQWEN_HOME", "HF_HUB_CACHE", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))


def known(alias: str) -> KnownModel:
    model = find(alias)
    assert model is not None
    return model


def config_of(alias: str) -> ModelConfig:
    declared = configuration(known(alias))
    assert declared is not None
    return ModelConfig.parse(declared)


def tensors(alias: str) -> list[tuple[str, tuple[int, ...]]]:
    """Every tensor of the published files, experts one by one."""
    single: list[tuple[str, tuple[int, ...]]] = []
    for name, shape in released_tensors(known(alias), config_of(alias)):
        before, experts, after = name.partition(".switch_mlp.")
        if experts:
            names = [f"{before}.experts.{n}.{after}" for n in range(shape[0])]
            single += [(one, shape[1:]) for one in names]
        else:
            single.append((name, shape))
    return single


@pytest.mark.parametrize(
    ("alias", "parameters"),
    [
        ("qwen3-0.6b", 751_632_384),
        ("qwen3-1.7b", 2_031_739_904),
        ("qwen3-4b", 4_022_468_096),
        ("qwq-32b", 32_763_876_352),
        ("qwen3-coder-30b", 30_532_122_624),
        ("qwen3-next-80b", 81_324_862_720),
    ],
)
def test_published_totals_are_met_to_the_byte(alias: str, parameters: int) -> None:
    planned = plan(alias, context=32_768)
    assert planned.source == "verified"
    assert planned.stored == 2 * parameters == known(alias).tensor_bytes


@pytest.mark.parametrize(
    ("alias", "count"), [("qwq-32b", 771), ("qwen3-coder-30b", 18_867), ("qwen3-next-80b", 75_944)]
)
def test_published_listings_have_as_many_tensors(alias: str, count: int) -> None:
    names = [name for name, _ in tensors(alias)]
    assert len(names) == len(set(names)) == count


def test_the_one_file_of_the_smallest_model_has_its_published_size() -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in sorted(tensors("qwen3-0.6b")):
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    written = json.dumps(header, separators=(",", ":"))
    assert 8 + -(-len(written) // 8) * 8 + end == 1_503_300_328 == known("qwen3-0.6b").file_bytes


def test_a_published_4_bit_conversion_is_met_to_the_byte() -> None:
    for planned in (
        plan("qwen3-14b", context=2048, bits=4),
        plan("Qwen/Qwen3-14B-MLX-4bit", context=2048),
    ):
        assert planned.source == "verified"
        assert planned.stored == 8_307_783_680
    assert plan("qwen3-14b", context=2048, bits=5).source == "derived"
    assert plan("qwen3-14b", context=2048).source == "derived"


@pytest.mark.parametrize("model", PLANNED, ids=lambda model: model.alias)
def test_every_known_configuration_gives_the_total_of_the_table(model: KnownModel) -> None:
    total = sum(prod(shape) for _, shape in tensors(model.alias))
    assert total == model.parameters
    declared = config_of(model.alias)
    assert declared.model_type == model.model_type
    assert declared.max_position_embeddings == model.context
    planned = plan(model.hub_id, context=4096)
    assert planned.source == ("verified" if model.verified else "derived")
    assert planned.stored == model.tensor_bytes
    assert planned.notices[0].startswith(f"{model.hub_id} is not on this machine")


def test_what_is_stored_and_never_loaded_is_not_in_memory() -> None:
    width = 2
    tied = sum(memory_sizes(config_of("qwen3-1.7b"), width, None).values())
    assert tied == 3_441_149_952  # of the published MLX conversion, which stores no head
    following = config_of("qwen3-next-80b")
    names = memory_sizes(following, width, None)
    assert not any(name.startswith("mtp.") for name in names)


def test_hybrids_remember_most_layers_at_constant_size() -> None:
    short, long = (plan("qwen3-next-80b", context=n).cache for n in (4096, 8192))
    config = config_of("qwen3-next-80b")
    width = plan("qwen3-next-80b", context=4096).weights // 79_674_391_296  # bytes of a number
    per_token = 12 * 2 * config.num_key_value_heads * config.head_dim * width
    assert long - short == 4096 * per_token
    assert short > 4096 * per_token  # and the states


def test_the_context_decides_and_is_chosen_where_it_is_not_given() -> None:
    assert plan("qwen3-30b-a3b", context=32_768).context == 32_768
    assert plan("qwen3-4b", budget=10**12).context == 40_960
    roomy, tight = plan("qwen3-4b", budget=10**12), plan("qwen3-4b", budget=20 * 10**9)
    assert tight.fits
    assert tight.context < roomy.context
    stretched = plan("qwen3-4b", context=131_072)
    assert "YaRN is on with factor 4" in str(stretched)


def test_fewer_bits_need_less_and_routers_keep_eight() -> None:
    totals = [plan("qwen3-30b-a3b", context=2048, bits=bits).weights for bits in (2, 3, 4, 6, 8)]
    assert totals == sorted(set(totals))
    config = config_of("qwen3-30b-a3b")
    sizes = memory_sizes(config, 2, 4)
    assert sizes["model.layers.0.mlp.gate.weight"] == 128 * 2048 * 8.5 / 8
    assert sizes["model.layers.0.mlp.switch_mlp.up_proj.weight"] == 128 * 768 * 2048 * 4.5 / 8
    with pytest.raises(UsageError, match="7 bits"):
        plan("qwen3-4b", bits=7)


def test_what_is_not_known_is_not_guessed() -> None:
    for alias in ("tongyi-deepresearch-30b", "qwen3-next-80b-thinking", "qwen2.5-omni-7b"):
        assert known(alias).parameters is None
        with pytest.raises(ModelNotFound, match="not on this machine"):
            plan(alias)
    with pytest.raises(ModelNotFound):
        plan("nobody/knows-this")


def test_of_a_model_on_this_machine_the_headers_decide(tiny: Path) -> None:
    planned = plan(tiny, context=512)
    assert planned.source == "headers"
    assert planned.notices == ()
    config = ModelConfig.parse(json.loads((tiny / "config.json").read_text()))
    assert planned.weights == sum(memory_sizes(config, 4, None).values())  # float32 files
    fewer = plan(tiny, context=512, bits=4)
    assert fewer.source == "derived"
    assert fewer.stored == quantised_bytes(config, 4) < planned.stored
    assert fewer.cache == planned.cache


def test_knowing_a_model_does_not_load_it() -> None:
    with pytest.raises(ModelNotFound, match="mlxqwen pull"):
        Engine.load("qwen3-4b")
