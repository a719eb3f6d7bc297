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
from mlxqwen.errors import UnsupportedModel
from mlxqwen.model.config import ModelConfig
from quantize import FAST, choose_recipe, make_plan, quantise

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
    plan = make_plan(Directory.open(make()), choose_recipe(None, "fast", mode="mxfp8"))
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


def test_a_plan_keeps_its_recipe_and_tells_its_layout(make):
    directory = Directory.open(make(moe=True))
    four, again, three = (
        make_plan(directory, choose_recipe(None, "fast", bits=bits)) for bits in (4, 4, 3)
    )
    assert four.recipe == choose_recipe(None, "fast")
    assert four.digest() == again.digest() != three.digest()
    assert make_plan(directory, FAST, max_shard_bytes=40_000).digest() != four.digest()


def test_the_table_counts_tensors_by_kind_and_spec(make):
    plan = make_plan(Directory.open(make(moe=True)), FAST)
    rows = {(row.kind, row.spec): row for row in plan.table()}
    queries = rows["self_attn.q_proj", QuantSpec(4, 64)]
    assert (queries.count, queries.shape) == (2, (128, 128))
    # Four bits and a sixteenth of a word for scale and bias: 4.5 bits a weight.
    assert queries.nbytes == 2 * 128 * 128 * 9 // 16
    assert rows["mlp.gate", QuantSpec(8, 64)].shape == (4, 128)
    assert rows["mlp.switch_mlp.down_proj", QuantSpec(4, 64)].shape == (4, 128, 64)
    assert rows["embed_tokens", QuantSpec(4, 64)].count == 1
    assert rows["input_layernorm", None].count == 2
    assert sum(row.nbytes for row in plan.table()) == plan.tensor_bytes


def test_what_a_source_has_in_few_bits_stays_so_where_the_recipe_says(tmp_path, make):
    quantise(make(moe=True, extra={}), tmp_path / "four")
    directory = Directory.open(tmp_path / "four")
    config = ModelConfig.parse(directory.config)
    with pytest.raises(UnsupportedModel, match="already quantised for MLX"):
        make_plan(directory, choose_recipe(config))
    lower = make_plan(directory, choose_recipe(config, bits=3))
    specs = {row.kind: row.spec for row in lower.table()}
    assert specs["mlp.switch_mlp.up_proj"] == QuantSpec(3, 64)
    assert specs["self_attn.q_proj"] == specs["embed_tokens"] == QuantSpec(4, 64)
    assert specs["mlp.gate"] == QuantSpec(8, 64)
    assert "rounded a second time" in lower.notices[0]


@pytest.mark.parametrize("bits", [4, 8])
def test_an_mlx_model_is_never_written_larger(tmp_path, make, bits):
    quantise(make(), tmp_path / "four")
    with pytest.raises(UnsupportedModel, match="already quantised for MLX"):
        make_plan(Directory.open(tmp_path / "four"), choose_recipe(None, "fast", bits=bits))


def test_planning_does_not_import_mlx():
    program = (
        "import sys, quantize, quantize.plan, quantize.card; quantize.choose_recipe(None, 'fast');"
        "assert not {m for m in sys.modules if m.split('.')[0] in ('mlx', 'numpy', 'mlx_lm')}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
