"""A checkpoint on the hub, shard by shard, with the real client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import read_layout
from mlxqwen.errors import CheckpointError, HubError, ModelNotFound, OutputError
from mlxqwen.hub import remote
from mlxqwen.hub.client import Patience
from mlxqwen.hub.supply import HubSupply, source_id
from mlxqwen.model.config import ModelConfig

NAME = "Qwen/Qwen3-0.6B"
QUICK = Patience(attempts=3, first=0.001, longest=0.002, silence=2.0)


@pytest.fixture
def files(hub_double: Any) -> dict[str, bytes]:
    commit = hub_double.publish_checkpoint(NAME, shards=3)
    return hub_double.commits[NAME][commit]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.partial" / "source"


def shards_of(files: dict[str, bytes]) -> list[str]:
    return sorted(name for name in files if name.endswith(".safetensors"))


def test_headers_come_without_shards(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    supply = HubSupply.open("qwen3-0.6b", discard=folder, patience=QUICK)
    assert supply.name == NAME
    assert supply.revision == hub_double.refs[NAME, "main"]
    assert supply.discards
    assert [shard.name for shard in supply.directory.shards] == shards_of(files)
    assert not any(shard.exists() for shard in supply.directory.shards)
    assert sum(supply.nbytes.values()) == sum(len(files[name]) for name in shards_of(files))
    assert list(supply.nbytes) == list(supply.directory.shards)
    # Complete by name and shape, though not a number is here.
    config = ModelConfig.parse(supply.directory.config)
    assert read_layout(supply.directory, config).origins
    assert len(hub_double.lines(r"GET /content/.*model.*safetensors$")) == 3
    here = {path.name for path in supply.directory.path.iterdir()}
    assert {"config.json", "tokenizer.json", "README.md", "LICENSE"} <= here
    assert not here & {"modeling_qwen.py", "pytorch_model.bin"}


def test_shards_come_one_by_one_and_equal_the_folder(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    for shard in supply.directory.shards:
        assert supply.fetched(shard) == 0
        supply.fetch(shard)
        assert supply.fetched(shard) == len(files[shard.name])
        assert shard.read_bytes() == files[shard.name]
    assert supply.nbytes == {}
    here = Directory.open(supply.directory.path)
    assert here.tensors == supply.directory.tensors
    assert here.shards == supply.directory.shards
    assert here.formats == supply.directory.formats


def test_release_frees_our_copies_and_nothing_else(files: dict[str, bytes], folder: Path) -> None:
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    first, second, _ = supply.directory.shards
    supply.fetch(first)
    supply.fetch(second)
    supply.release(first)
    assert not first.exists()
    assert second.exists()
    supply.release(first)
    cached = HubSupply.open(NAME, patience=QUICK)
    shard = cached.directory.shards[0]
    cached.fetch(shard)
    cached.release(shard)
    assert shard.is_file()
    assert not cached.discards


def test_a_shard_in_the_cache_is_used_from_there_and_stays(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    cached = HubSupply.open(NAME, patience=QUICK)
    kept = cached.directory.shards[1]
    cached.fetch(kept)
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    assert supply.directory.shards[1] == kept
    assert kept not in supply.nbytes
    assert len(supply.nbytes) == 2
    hub_double.asked.clear()
    supply.fetch(kept)
    supply.release(kept)
    assert hub_double.asked == []
    assert kept.is_file()
    assert {info.path for info in supply.directory.tensors.values()} == set(supply.directory.shards)


def test_what_another_program_cached_is_checked(files: dict[str, bytes], folder: Path) -> None:
    cached = HubSupply.open(NAME, patience=QUICK)
    shard = cached.directory.shards[0]
    cached.fetch(shard)
    blob = shard.resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(HubError, match="its hash differs") as told:
        HubSupply.open(NAME, discard=folder, patience=QUICK).fetch(shard)
    assert "models rm" in told.value.hint
    assert blob.exists()  # not ours to remove


def test_a_resume_needs_no_shard_that_was_freed(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    first = HubSupply.open(NAME, discard=folder, patience=QUICK)
    for shard in first.directory.shards:
        first.fetch(shard)
        first.release(shard)
    hub_double.asked.clear()
    again = HubSupply.open(NAME, discard=folder, patience=QUICK)
    assert hub_double.asked == []
    assert again.directory == first.directory
    assert again.identity == first.identity


def test_a_resume_keeps_its_commit_when_the_branch_moves_on(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    first = HubSupply.open(NAME, discard=folder, patience=QUICK)
    hub_double.publish_checkpoint(NAME, shards=2, seed=1)
    again = HubSupply.open(NAME, discard=folder, patience=QUICK)
    assert again.revision == first.revision
    shard = again.directory.shards[2]
    again.fetch(shard)
    assert shard.read_bytes() == files[shard.name]
    elsewhere = HubSupply.open(NAME, patience=QUICK)
    assert elsewhere.revision != first.revision
    assert elsewhere.identity != first.identity


def test_another_revision_is_another_source(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    old = hub_double.refs[NAME, "main"]
    first = HubSupply.open(NAME, discard=folder, patience=QUICK)
    first.fetch(first.directory.shards[0])
    hub_double.publish(NAME, files | {"config.json": files["config.json"] + b" "}, branch="v2")
    second = HubSupply.open(NAME, revision="v2", discard=folder, patience=QUICK)
    assert second.identity != first.identity
    # Same names and sizes, yet what came of one commit is never taken for the other.
    assert len(second.nbytes) == 3
    assert HubSupply.open(NAME, revision=old, patience=QUICK).identity == first.identity


def test_what_was_learned_can_be_kept_without_discarding(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    first = HubSupply.open(NAME, keep=folder, patience=QUICK)
    assert [path.name for path in folder.iterdir()] == ["hub.json"]
    hub_double.publish_checkpoint(NAME, seed=1)
    assert HubSupply.open(NAME, keep=folder, patience=QUICK).revision == first.revision


@pytest.mark.parametrize("notes", [b"", b"[]", b"{", b'{"format": 99}'])
def test_unreadable_notes_are_learned_anew(
    files: dict[str, bytes], folder: Path, notes: bytes
) -> None:
    folder.mkdir(parents=True)
    (folder / "hub.json").write_bytes(notes)
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    assert json.loads((folder / "hub.json").read_bytes())["commit"] == supply.revision


def test_a_long_header_takes_a_second_request(
    hub_double: Any, files: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = HubSupply.open(NAME, discard=folder / "a", patience=QUICK).directory
    hub_double.asked.clear()
    monkeypatch.setattr(remote, "FIRST_BYTES", 100)
    split = HubSupply.open(NAME, discard=folder / "b", patience=QUICK).directory
    assert {n: i.start for n, i in split.tensors.items()} == {
        n: i.start for n, i in whole.tensors.items()
    }
    ranges = [
        asked.range for asked in hub_double.asked if asked.line.endswith("-00003.safetensors")
    ]
    assert ranges.count("bytes=0-99") == 6  # each shard once, at the hub and where it leads
    assert len(ranges) == 12


def test_a_broken_connection_goes_on(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    shard = supply.directory.shards[0]
    hub_double.fail(f"GET /content/.*{shard.name}", cut=20_000, times=2)
    hub_double.fail("GET /Qwen/.*/resolve", status=503, times=1)
    supply.fetch(shard)
    assert shard.read_bytes() == files[shard.name]


def test_a_wrong_hash_names_the_shard(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    shard = supply.directory.shards[1]
    hub_double.fail(f"GET .*{shard.name}", swap=bytes(len(files[shard.name])), times=None)
    with pytest.raises(HubError, match=f"{shard.name} is not what the hub announced"):
        supply.fetch(shard)
    assert not shard.exists()
    hub_double.faults.clear()
    supply.fetch(shard)
    assert shard.read_bytes() == files[shard.name]


def test_offline_a_resume_with_all_here_still_works(
    files: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply = HubSupply.open(NAME, discard=folder, patience=QUICK)
    supply.fetch(supply.directory.shards[0])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = HubSupply.open(NAME, discard=folder, patience=QUICK)
    again.fetch(again.directory.shards[0])
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        again.fetch(again.directory.shards[1])
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        HubSupply.open(NAME, patience=QUICK)


def test_an_incomplete_repository_is_refused_before_any_shard(
    hub_double: Any, files: dict[str, bytes], folder: Path
) -> None:
    del files[shards_of(files)[1]]
    with pytest.raises(CheckpointError, match=r"00002-of-00003\.safetensors is missing"):
        HubSupply.open(NAME, discard=folder, patience=QUICK)
    assert list(folder.glob("*/*.safetensors")) == []


@pytest.mark.parametrize("size", [3, 200])
def test_a_shard_that_is_none_is_refused(
    hub_double: Any, files: dict[str, bytes], folder: Path, size: int
) -> None:
    files[shards_of(files)[0]] = b"\xff" * size
    with pytest.raises(CheckpointError, match="model-00001"):
        HubSupply.open(NAME, discard=folder, patience=QUICK)


def test_a_repository_without_safetensors_is_refused(hub_double: Any, folder: Path) -> None:
    hub_double.publish(NAME, {"config.json": b"{}", "pytorch_model.bin": b"0"})
    with pytest.raises(HubError, match="no safetensors weights"):
        HubSupply.open(NAME, discard=folder, patience=QUICK)


def test_a_folder_that_cannot_be_written_is_told(
    hub_double: Any, files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        HubSupply.open(NAME, discard=tmp_path / "file" / "in", patience=QUICK)


def test_names_of_sources() -> None:
    assert source_id("qwen3-30b-a3b") == "Qwen/Qwen3-30B-A3B"
    assert source_id("someone/something") == "someone/something"
    for name in ("qwen3-0.7", "a/b/c", ""):
        with pytest.raises(ModelNotFound):
            source_id(name)
