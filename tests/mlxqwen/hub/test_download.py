"""Whole models into the hub's cache, with the real client."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlxqwen.engine.memory import plan_directory
from mlxqwen.errors import HubError, ModelNotFound, OutputError
from mlxqwen.hub.client import Patience, Stopped
from mlxqwen.hub.download import Fetched, headers_of, hub_id, pull, survey
from mlxqwen.hub.library import resolve

NAME = "mlx-community/Qwen3-0.6B-4bit"
QUICK = Patience(attempts=3, first=0.001, longest=0.002, silence=2.0)
WANTED = [
    "LICENSE",
    "README.md",
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture
def files(machine: Path, hub_double: Any) -> dict[str, bytes]:
    commit = hub_double.publish_checkpoint(NAME)
    return hub_double.commits[NAME][commit]


def test_a_model_is_fetched_once_and_found_by_every_name(
    hub_double: Any, files: dict[str, bytes]
) -> None:
    folder = pull("qwen3-0.6b")
    assert sorted(file.name for file in folder.iterdir()) == WANTED
    for name in WANTED:
        assert (folder / name).read_bytes() == files[name]
    assert resolve("qwen3-0.6b") == resolve(NAME) == folder
    hub_double.asked.clear()
    assert pull(NAME) == folder
    assert hub_double.lines() == [f"GET /api/models/{NAME}"]


def test_what_is_here_is_not_fetched_again(hub_double: Any, files: dict[str, bytes]) -> None:
    folder = pull(NAME)
    (folder / WANTED[5]).resolve().unlink()
    with pytest.raises(ModelNotFound, match=r"model-00002-of-00002\.safetensors is missing"):
        resolve(NAME)
    hub_double.asked.clear()
    pull(NAME)
    assert len(hub_double.lines("/content/")) == 1
    assert resolve(NAME) == folder


def test_a_new_commit_shares_what_did_not_change(hub_double: Any, files: dict[str, bytes]) -> None:
    old = pull(NAME)
    hub_double.publish(NAME, files | {"config.json": files["config.json"] + b"\n"})
    found = survey(NAME)
    assert found.to_fetch == len(files["config.json"]) + 1
    new = pull(NAME, found=found)
    assert new != old
    assert resolve(NAME) == new
    assert (new / WANTED[4]).resolve() == (old / WANTED[4]).resolve()


def test_a_survey_says_what_there_is_to_fetch(
    hub_double: Any, files: dict[str, bytes], tmp_path: Path
) -> None:
    total = sum(len(files[name]) for name in WANTED)
    found = survey(NAME)
    assert (found.total, found.here, found.to_fetch) == (total, 0, total)
    assert found.has_room
    assert found.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert not (tmp_path / "hub").exists()
    pull(NAME, found=found)
    assert survey(NAME).to_fetch == 0


def test_memory_is_planned_from_headers_alone(
    hub_double: Any, files: dict[str, bytes], tmp_path: Path
) -> None:
    found = survey(NAME)
    planned = plan_directory(headers_of(found), NAME, context=512, budget=10**9)
    assert not (tmp_path / "hub").exists()
    here = pull(NAME, found=found)
    from mlxqwen.checkpoint.directory import Directory

    assert planned == plan_directory(Directory.open(here), NAME, context=512, budget=10**9)
    assert planned.fits


def test_a_disk_without_room_is_refused_before_any_file(
    hub_double: Any, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000))
    with pytest.raises(OutputError, match="only 1,000 left") as told:
        pull(NAME)
    assert "HF_HOME" in told.value.hint
    assert not (tmp_path / "hub").exists()


def test_progress_counts_what_was_here_before(hub_double: Any, files: dict[str, bytes]) -> None:
    folder = pull(NAME)
    blob = (folder / WANTED[5]).resolve()
    blob.unlink()
    (folder / WANTED[5]).unlink()
    hub_double.fail("GET /content/", slow=0.15)
    seen: list[Fetched] = []
    pull(NAME, progress=seen.append)
    total = sum(len(files[name]) for name in WANTED)
    assert seen[0].done == total - len(files[WANTED[5]])
    assert (seen[0].files, seen[0].of) == (8, 9)
    assert seen[-1] == Fetched(total, total, 9, 9)
    assert [fetched.done for fetched in seen] == sorted(fetched.done for fetched in seen)


def test_stopping_keeps_what_is_here_and_says_so(hub_double: Any, files: dict[str, bytes]) -> None:
    hub_double.fail("GET /content/.*00002-of", slow=0.1, times=None)
    stop = threading.Event()

    def progress(fetched: Fetched) -> None:
        if fetched.files == 8:
            stop.set()

    with pytest.raises(Stopped, match="was stopped") as told:
        pull(NAME, progress=progress, stop=stop)
    assert "kept" in told.value.hint
    with pytest.raises(ModelNotFound, match="only partly downloaded"):
        resolve(NAME)
    hub_double.faults.clear()
    hub_double.asked.clear()
    pull(NAME)
    assert len(hub_double.lines("/content/")) <= 1


def test_one_file_that_fails_ends_the_rest_and_leaves_the_callers_event_alone(
    hub_double: Any, files: dict[str, bytes]
) -> None:
    hub_double.fail("GET .*00001-of", status=404, times=None)
    hub_double.fail("GET /content/.*00002-of", slow=0.05, times=None)
    stop = threading.Event()
    with pytest.raises(HubError, match="status 404"):
        pull(NAME, patience=QUICK, stop=stop)
    assert not stop.is_set()


def test_an_interrupted_update_leaves_the_model_usable(
    hub_double: Any, files: dict[str, bytes]
) -> None:
    folder = pull(NAME)
    hub_double.publish_checkpoint(NAME, seed=1)
    hub_double.fail("GET /content/.*00002-of", status=500, times=None)
    with pytest.raises(HubError, match="status 500"):
        pull(NAME, patience=QUICK)
    assert resolve(NAME) == folder


def test_a_revision_is_fetched_as_asked(hub_double: Any, files: dict[str, bytes]) -> None:
    main = hub_double.refs[NAME, "main"]
    hub_double.publish(NAME, files | {"README.md": b"other"}, branch="v2")
    folder = pull(NAME, revision="v2")
    assert folder.name == hub_double.refs[NAME, "v2"]
    assert pull(NAME, revision=main).name == main
    with pytest.raises(HubError, match="no such revision"):
        pull(NAME, revision="v3")


def test_a_repository_that_cannot_be_complete_is_told(
    hub_double: Any, files: dict[str, bytes]
) -> None:
    del files[WANTED[5]]
    with pytest.raises(HubError, match="its index names files"):
        pull(NAME)


def test_a_repository_without_safetensors_is_refused(machine: Path, hub_double: Any) -> None:
    hub_double.publish(NAME, {"config.json": b"{}", "pytorch_model.bin": b"0"})
    with pytest.raises(HubError, match="no safetensors weights"):
        pull(NAME)


def test_offline_mode_is_told(
    hub_double: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        pull(NAME)


def test_what_an_alias_fetches() -> None:
    assert hub_id("qwen3-0.6b") == NAME
    assert hub_id("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert hub_id("qwen3-coder-480b") == "Qwen/Qwen3-Coder-480B-A35B-Instruct"
    assert hub_id("someone/something") == "someone/something"


def test_a_name_that_means_nothing_is_not_asked_for() -> None:
    with pytest.raises(ModelNotFound, match="No model is called"):
        hub_id("qwen3-0.7")


@pytest.mark.parametrize("name", ["a b/c", "-x/y", "a/..b--c"])
def test_a_name_that_the_hub_cannot_have_is_told(hub_double: Any, name: str) -> None:
    with pytest.raises(ModelNotFound, match="is no name on the hub"):
        survey(name)
    assert hub_double.asked == []
