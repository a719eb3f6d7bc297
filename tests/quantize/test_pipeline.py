from __future__ import annotations

import functools
import json
import os
import shutil
import signal
from collections import namedtuple
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.quantspec import QuantSpec, parse_quantization
from mlxqwen.checkpoint.reading import read_rows
from mlxqwen.errors import CheckpointError, OutputError
from mlxqwen.model.config import ModelConfig
from quantize import make_plan, pipeline, quantise
from quantize.guidance import Guidance
from quantize.recipes import choose_recipe


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    tensors = Directory.open(folder).tensors
    return {name: bytes(read_rows(info, 0, info.rows)) for name, info in tensors.items()}


def test_published_folder_is_complete(make, tmp_path):
    source, output = make(moe=True, shards=2), tmp_path / "out"
    copied = {
        "tokenizer.json": b"\x00not json\xff",
        "tokenizer_config.json": b"{}\r\n",
        "chat_template.jinja": "{{ 'é' }}\r\n".encode(),
        "merges.txt": b"a b",
        "LICENSE": b"Apache",
    }
    for name, data in copied.items():
        (source / name).write_bytes(data)
    (source / "secret.txt").write_bytes(b"not ours to copy")
    result = quantise(source, output)

    assert result.path == output
    assert sorted(p.name for p in output.iterdir()) == sorted(
        [
            *copied,
            "README.md",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "mlxqwen.json",
        ]
    )
    for name, data in copied.items():
        assert (output / name).read_bytes() == data
    config = json.loads((output / "config.json").read_text())
    original = json.loads((source / "config.json").read_text())
    block = config.pop("quantization")
    assert block == config.pop("quantization_config")
    assert config == original
    assert block == {
        "group_size": 64,
        "bits": 4,
        "mode": "affine",
        "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8, "mode": "affine"},
        "model.layers.1.mlp.gate": {"group_size": 64, "bits": 8, "mode": "affine"},
    }
    parsed = parse_quantization({"quantization": block})
    assert parsed is not None
    assert parsed.of("model.layers.1.mlp.gate") == QuantSpec(8, 64)
    size = (output / "model.safetensors").stat().st_size
    assert result.nbytes == size == make_plan(Directory.open(source), pipeline.FAST).output_bytes
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == result.parameters
    assert set(index["weight_map"]) == set(Directory.open(output).tensors)


def test_chunk_size_and_sharding_do_not_change_a_byte(make, tmp_path, monkeypatch):
    source = make(moe=True, shards=3)
    quantise(source, tmp_path / "whole")
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 3000)
    small = functools.partial(make_plan, max_shard_bytes=30_000)
    monkeypatch.setattr(pipeline, "make_plan", small)
    result = quantise(source, tmp_path / "pieces")
    assert result.shards > 3
    assert len(Directory.open(tmp_path / "pieces").shards) == result.shards
    assert content(tmp_path / "pieces") == content(tmp_path / "whole")


def test_progress_counts_up_to_the_totals(make, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 10_000)
    reports = []
    quantise(make(moe=True), tmp_path / "out", progress=reports.append)
    assert reports[0].stage == "plan"
    assert reports[-1].stage == "publish"
    assert (reports[-1].shards_done, reports[-1].shards_total) == (1, 1)
    assert {r.stage for r in reports[1:-1]} == {"quantise"}
    for before, after in pairwise(reports):
        assert after.tensors_done >= before.tensors_done
        assert after.bytes_read >= before.bytes_read
    last = reports[-1]
    assert last.tensors_done == last.tensors_total > 0
    assert last.bytes_read == last.bytes_read_total > 0
    assert last.bytes_written == last.bytes_written_total > 0


def test_existing_output_is_refused_before_any_work(make, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        quantise(make(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_need_is_told_with_numbers_before_any_work(make, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 40_000))
    with pytest.raises(OutputError, match=r"has 0\.00 GB free, but the output needs 0\.00 GB"):
        quantise(make(), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_source_that_shrinks_in_mid_work_can_be_mended(make, tmp_path):
    source = make()
    whole = (source / "model.safetensors").read_bytes()
    times = (source / "model.safetensors").stat()

    def cut(report) -> None:
        if report.stage == "plan":
            os.truncate(source / "model.safetensors", 200_000)

    with pytest.raises(CheckpointError, match="truncated"):
        quantise(source, tmp_path / "out", progress=cut)
    assert not (tmp_path / "out").exists()
    (source / "model.safetensors").write_bytes(whole)
    os.utime(source / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    quantise(source, tmp_path / "out")
    quantise(source, tmp_path / "fresh")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize("stage", ["plan", "quantise", "publish"])
def test_ctrl_c_leaves_what_the_same_call_continues(make, tmp_path, stage):
    source, output = make(moe=True), tmp_path / "out"

    def interrupt(report) -> None:
        if report.stage == stage:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        quantise(source, output, progress=interrupt)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.partial", "source"]
    quantise(source, output)
    quantise(source, tmp_path / "fresh")
    assert snapshot(output) == snapshot(tmp_path / "fresh")
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf"), -float("nan")])
def test_numbers_that_are_not_finite_are_refused_by_name(make, tmp_path, value):
    source = make()
    tensors = dict(mx.load(str(source / "model.safetensors")))
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][100, 17] = value
    mx.save_safetensors(str(source / "model.safetensors"), tensors)
    with pytest.raises(CheckpointError, match=f"{name} has numbers that are infinite"):
        quantise(source, tmp_path / "out")


def test_numbers_too_large_for_the_declared_dtype_are_refused(make, tmp_path):
    source = make(dtype=mx.float32, torch_dtype="float16")
    tensors = dict(mx.load(str(source / "model.safetensors")))
    tensors["model.norm.weight"][5] = 1e6
    mx.save_safetensors(str(source / "model.safetensors"), tensors)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight .* too large for F16"):
        quantise(source, tmp_path / "out")


def test_batches_cut_the_work_and_change_no_byte(make, tmp_path, monkeypatch):
    source = make(moe=True, shards=3)
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 20_000)
    quantise(source, tmp_path / "whole")
    monkeypatch.setattr(pipeline, "BATCH_BYTES", 50_000)
    quantise(source, tmp_path / "cut")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_guidance_reaches_the_rounding(make, tmp_path):
    source = make()
    module = "model.layers.0.mlp.up_proj"
    rows, groups = 192, 2
    scales, biases = mx.full((rows, groups), 0.5), mx.full((rows, groups), -4.0)
    learned = Guidance(identity="learned", affine={module: (scales, biases)})
    quantise(source, tmp_path / "out", guidance=learned)
    quantise(source, tmp_path / "plain")
    out, plain = content(tmp_path / "out"), content(tmp_path / "plain")
    changed = {name for name in out if out[name] != plain[name]}
    assert {f"{module}.scales", f"{module}.biases"} <= changed
    assert changed <= {f"{module}.{part}" for part in ("weight", "scales", "biases")}
    stored = mx.load(str(tmp_path / "out" / "model.safetensors"))
    assert mx.array_equal(stored[f"{module}.scales"], scales.astype(mx.bfloat16))


def with_weight(source, name, change) -> None:
    (shard,) = source.glob("*.safetensors")
    arrays = mx.load(str(shard))
    mx.eval(arrays)
    shard.unlink()
    mx.save_safetensors(str(shard), {**arrays, name: change(arrays[name])})


QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize("recipe", ["fast", "balanced"])
def test_huge_weights_have_an_error_that_json_can_hold(make, tmp_path, recipe):
    source = make()
    with_weight(source, QUERY, lambda weight: weight * mx.array(1e25, weight.dtype))
    config = ModelConfig.parse(json.loads((source / "config.json").read_text()))
    quantise(source, tmp_path / "out", recipe=choose_recipe(config, recipe))
    found = json.loads((tmp_path / "out" / "mlxqwen.json").read_text())
    assert 0 < found["tensors"]["model.layers.0.self_attn.q_proj"]["relative_mse"] < 0.05


def test_weights_whose_scale_is_infinite_are_refused(make, tmp_path):
    source = make()
    signs = mx.array([3e38, -3e38])
    with_weight(
        source, QUERY, lambda w: mx.tile(signs, (w.shape[0], w.shape[1] // 2)).astype(w.dtype)
    )
    with pytest.raises(CheckpointError, match=r"q_proj.*scale exceeds BF16"):
        quantise(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_settings_that_are_no_text_reach_the_end(make, tmp_path):
    source = make(note="half \ud800 and \x1b[31m")
    odd = source.with_name(os.fsdecode(b"odd\xff`\n# name"))
    source.rename(odd)
    quantise(odd, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "# odd\N{REPLACEMENT CHARACTER}" in card
    assert "\n# name" not in card
    assert card.count("`") % 2 == 0
    settings = (tmp_path / "out" / "config.json").read_text("utf-8")
    assert json.loads(settings)["note"] == "half \ud800 and \x1b[31m"
