from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.safetensors import TensorInfo
from mlxqwen.errors import UsageError
from mlxqwen.model.config import ModelConfig
from quantize import FAST, choose_recipe, make_plan

# The shapes of Qwen/Qwen3-14B.
QWEN3_14B = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def on_paper(config) -> Directory:
    """A checkpoint of that configuration of which only headers exist."""
    infos, at = {}, 0
    for name, shape in expected_tensors(ModelConfig.parse(config)):
        infos[name] = TensorInfo(
            name, "BF16", shape, Path("model.safetensors"), at, 2 * prod(shape)
        )
        at += 2 * prod(shape)
    return Directory(Path(), dict(config), {}, infos, ())


def test_bytes_equal_those_of_a_published_conversion():
    plan = make_plan(on_paper(QWEN3_14B), FAST)
    # metadata.total_size in the index of a 4-bit MLX conversion of this model on the hub.
    assert plan.tensor_bytes == 8_307_783_680
    assert plan.parameters == 14_768_307_200
    assert plan.bits_per_weight == pytest.approx(4.5003, abs=1e-4)
    assert [s.name for s in plan.shards] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert all(s.nbytes <= (5 << 30) + 1_000_000 for s in plan.shards)
    assert plan.output_bytes == sum(s.nbytes for s in plan.shards)


def test_router_gets_its_own_spec_and_every_departure_is_listed(make):
    plan = make_plan(Directory.open(make(moe=True, moe_intermediate_size=96)), FAST)
    assert plan.quantization.default == QuantSpec(4, 64)
    assert plan.quantization.overrides == {
        "model.layers.0.mlp.gate": QuantSpec(8, 64),
        "model.layers.0.mlp.switch_mlp.down_proj": None,
        "model.layers.1.mlp.gate": QuantSpec(8, 64),
        "model.layers.1.mlp.switch_mlp.down_proj": None,
    }
    outputs = {t[0]: t[1:] for t in plan.shards[0].tensors}
    assert outputs["model.layers.0.mlp.gate.weight"] == ("U32", (4, 32))
    assert outputs["model.layers.0.mlp.gate.scales"] == ("BF16", (4, 2))
    assert outputs["model.layers.0.mlp.switch_mlp.up_proj.weight"] == ("U32", (4, 96, 16))
    assert outputs["model.layers.0.mlp.switch_mlp.down_proj.weight"] == ("BF16", (4, 128, 96))
    assert "model.layers.0.mlp.switch_mlp.down_proj.scales" not in outputs


def test_mx_modes_have_byte_scales_and_no_biases(make):
    plan = make_plan(Directory.open(make()), choose_recipe(mode="mxfp8"))
    outputs = {t[0]: t[1:] for t in plan.shards[0].tensors}
    assert outputs["lm_head.weight"] == ("U32", (512, 32))
    assert outputs["lm_head.scales"] == ("U8", (512, 4))
    assert "lm_head.biases" not in outputs


@pytest.mark.parametrize("chunk", [1, 1000, 10_000, 1 << 20])
def test_jobs_cover_every_source_row_once_within_the_chunk(make, chunk):
    plan = make_plan(Directory.open(make(moe=True, shards=3)), FAST)
    jobs = list(plan.jobs(chunk))
    rows: dict[str, int] = {}
    for job in jobs:
        source = job.piece.part.views[0].info
        assert job.start == rows.get(source.name, 0)
        assert job.start < job.stop
        assert job.row == job.piece.row + job.start
        assert job.nbytes <= max(chunk, source.row_bytes)
        rows[source.name] = job.stop
    sources = {j.piece.part.views[0].info.name: j.piece for j in jobs}
    assert rows == {name: piece.rows for name, piece in sources.items()}
    assert len(sources) == plan.source_tensors
    assert sum(job.nbytes for job in jobs) == plan.source_bytes
    places = [(*j.piece.place, j.start) for j in jobs]
    assert places == sorted(places)


def test_shards_keep_a_matrix_with_its_scales(make):
    plan = make_plan(Directory.open(make()), FAST, max_shard_bytes=40_000)
    assert len(plan.shards) > 2
    for shard in plan.shards:
        names = {t[0] for t in shard.tensors}
        modules = {n.removesuffix(".scales") for n in names if n.endswith(".scales")}
        assert all(f"{m}.weight" in names and f"{m}.biases" in names for m in modules)
        assert len(shard.steps) == 1 or sum(s.nbytes for s in shard.steps) <= 40_000
    assert len(plan.weight_map) == sum(len(s.tensors) for s in plan.shards)


def test_recipe_choices():
    assert choose_recipe() == FAST
    assert choose_recipe(bits=8).default == QuantSpec(8, 64)
    assert choose_recipe(group_size=32).default == QuantSpec(4, 32)
    assert choose_recipe(mode="nvfp4").default == QuantSpec(4, 16, "nvfp4")
    assert choose_recipe(bits=3).spec("model.layers.0.mlp.gate", 128) == QuantSpec(8, 64)
    assert FAST.spec("model.layers.0.mlp.gate", 192) == QuantSpec(8, 64)
    assert FAST.spec("model.layers.0.mlp.gate_proj", 192) == QuantSpec(4, 64)
    assert FAST.spec("model.layers.0.mlp.gate_proj", 96) is None
    # The default's group divides 96, the router's own does not.
    assert choose_recipe(group_size=32).spec("model.layers.0.mlp.gate", 96) is None


@pytest.mark.parametrize(
    "choice",
    [{"bits": 7}, {"bits": 0}, {"group_size": 16}, {"mode": "q4_k"}, {"bits": 8, "mode": "mxfp4"}],
)
def test_impossible_choices_are_usage_errors(choice):
    with pytest.raises(UsageError) as caught:
        choose_recipe(**choice)
    assert caught.value.hint


def test_planning_does_not_import_mlx():
    program = (
        "import sys, quantize, quantize.plan, quantize.card; quantize.choose_recipe();"
        "assert not {m for m in sys.modules if m.split('.')[0] in ('mlx', 'numpy', 'mlx_lm')}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
