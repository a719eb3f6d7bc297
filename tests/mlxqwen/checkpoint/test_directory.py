from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.safetensors import SafetensorsWriter
from mlxqwen.errors import CheckpointError


def shard(path: Path, *names: str) -> None:
    with SafetensorsWriter(path, [(n, "U8", (4,)) for n in names], {}) as writer:
        for name in names:
            writer.write(name, b"1234")


def index(folder: Path, weight_map: object) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


def refused(folder: Path, *told: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Directory.open(folder)
    for part in told:
        assert part in caught.value.what
    assert caught.value.hint


def test_shards_without_an_index(folder):
    shard(folder / "model-00001-of-00002.safetensors", "a", "b")
    shard(folder / "model-00002-of-00002.safetensors", "c")
    shard(folder / "adapter.safetensors", "z")
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    directory = Directory.open(folder)
    assert set(directory.tensors) == {"a", "b", "c"}
    assert [p.name for p in directory.shards] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert directory.config == {"model_type": "qwen3"}
    assert directory.generation_config == {"eos_token_id": [1, 2]}


def test_index_decides_which_files_count_and_unlisted_tensors_are_kept(folder):
    shard(folder / "one.safetensors", "a", "extra")
    shard(folder / "model.safetensors", "stray")
    index(folder, {"a": "one.safetensors"})
    directory = Directory.open(folder)
    assert set(directory.tensors) == {"a", "extra"}
    assert directory.shards == (folder / "one.safetensors",)
    assert directory.generation_config == {}


def test_links_into_a_blob_store_are_followed(folder, tmp_path_factory):
    blobs = tmp_path_factory.mktemp("blobs")
    shard(blobs / "abcdef", "a")
    (folder / "model.safetensors").symlink_to(blobs / "abcdef")
    assert set(Directory.open(folder).tensors) == {"a"}


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "c:x.safetensors",
        "",
        "..",
        "config.json",
        7,
        None,
    ],
)
def test_index_may_only_name_files_of_its_folder(folder, name):
    shard(folder.parent / "x.safetensors", "a")
    index(folder, {"a": name})
    refused(folder, "model.safetensors.index.json", "not a file name in its folder")


def test_missing_shard_of_an_index(folder):
    shard(folder / "one.safetensors", "a")
    index(folder, {"a": "one.safetensors", "b": "two.safetensors", "c": "three.safetensors"})
    refused(folder, "three.safetensors (and 1 more) is missing")


def test_missing_shard_without_an_index(folder):
    shard(folder / "model-00001-of-00003.safetensors", "a")
    shard(folder / "model-00003-of-00003.safetensors", "c")
    refused(folder, "model-00002-of-00003.safetensors is missing")


def test_index_and_headers_disagree(folder):
    shard(folder / "one.safetensors", "a")
    shard(folder / "two.safetensors", "b")
    index(folder, {"a": "two.safetensors", "b": "two.safetensors", "x": "one.safetensors"})
    refused(folder, "places a in two.safetensors, but it lies in one.safetensors")
    index(folder, {"a": "one.safetensors", "b": "two.safetensors", "x": "one.safetensors"})
    refused(folder, "places x in one.safetensors, but no shard holds it")


def test_tensor_in_two_shards(folder):
    shard(folder / "model-1.safetensors", "a")
    shard(folder / "model-2.safetensors", "a")
    refused(folder, "a lies in both model-1.safetensors and model-2.safetensors")


@pytest.mark.parametrize(
    ("text", "told"), [("{", "not valid JSON"), ("[]", "JSON object"), ("\udcff", "not valid JSON")]
)
def test_broken_config(folder, text, told):
    shard(folder / "model.safetensors", "a")
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(folder, "config.json", told)


@pytest.mark.parametrize("weight_map", [{}, [], "x", None])
def test_index_without_weight_map(folder, weight_map):
    index(folder, weight_map)
    refused(folder, "has no weight_map")


def test_missing_things_are_named(folder, tmp_path):
    refused(folder, "has no model*.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        Directory.open(folder)
    assert "pytorch_model.bin" in caught.value.hint
    (folder / "config.json").unlink()
    refused(folder, "config.json does not exist")
    refused(tmp_path / "absent", "absent is not a folder")
    (folder / "config.json").mkdir()
    refused(folder, "config.json cannot be read")
