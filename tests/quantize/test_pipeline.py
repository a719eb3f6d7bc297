from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from itertools import pairwise
from pathlib import Path

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.quantspec import QuantSpec, parse_quantization
from mlxqwen.checkpoint.reading import read_rows
from mlxqwen.errors import CheckpointError, OutputError
from quantize import make_plan, pipeline, quantise


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
    with pytest.raises(OutputError, match=r"has 0\.00 GB free, but the output needs"):
        quantise(make(), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("after", [0, 1, 5, 20])
def test_full_disk_in_mid_work_leaves_nothing(make, tmp_path, monkeypatch, after):
    real, calls = os.pwrite, iter(range(10**9))

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, at)

    monkeypatch.setattr("mlxqwen.checkpoint.safetensors.os.pwrite", pwrite)
    with pytest.raises(OutputError, match="No space left on device"):
        quantise(make(moe=True), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_source_that_shrinks_in_mid_work_leaves_nothing(make, tmp_path):
    source = make()

    def cut(report) -> None:
        if report.stage == "plan":
            os.truncate(source / "model.safetensors", 200_000)

    with pytest.raises(CheckpointError, match="truncated"):
        quantise(source, tmp_path / "out", progress=cut)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("stage", ["plan", "quantise", "publish"])
def test_ctrl_c_leaves_nothing(make, tmp_path, stage):
    def interrupt(report) -> None:
        if report.stage == stage:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        quantise(make(moe=True), tmp_path / "out", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_killed_run_publishes_nothing_and_the_next_one_succeeds(make, tmp_path):
    source, output = make(moe=True), tmp_path / "out"
    program = (
        "import os, signal, sys, pathlib, quantize\n"
        "def kill(report):\n"
        "    if report.tensors_done > 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "quantize.quantise(*map(pathlib.Path, sys.argv[1:]), progress=kill)\n"
    )
    child = subprocess.run([sys.executable, "-c", program, str(source), str(output)])
    assert child.returncode == -signal.SIGKILL
    assert not output.exists()
    assert (tmp_path / "out.partial").exists()
    quantise(source, output)
    quantise(source, tmp_path / "fresh")
    assert content(output) == content(tmp_path / "fresh")
    assert not (tmp_path / "out.partial").exists()
