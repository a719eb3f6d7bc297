"""Models go only from the places of models, and only what was named."""

from __future__ import annotations

import contextlib
import fcntl
import time
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.errors import HubError, ModelNotFound, OutputError, UsageError
from mlxqwen.hub.client import Patience
from mlxqwen.hub.download import pull
from mlxqwen.hub.library import local_models
from mlxqwen.hub.removal import Removal, find_removal, remove
from mlxqwen.hub.unfinished import MARKER, unfinished

NAME = "mlx-community/Qwen3-0.6B-4bit"


def names() -> list[str]:
    return [model.name for model in local_models()]


def test_our_own_goes_and_its_neighbour_stays(machine: Path, make_model: Any) -> None:
    mine = make_model(machine / "ours" / "models" / "mine", size=1000)
    make_model(machine / "ours" / "models" / "other")
    removal = find_removal("MINE")
    assert (removal.name, removal.path, removal.place) == ("mine", mine, "ours")
    assert removal.bytes == 1000 + (mine / "config.json").stat().st_size
    remove(removal)
    assert names() == ["guide", "other"]


def test_the_cache_loses_the_whole_repository(
    machine: Path, cached: Any, hub_double: Any, tmp_path: Path
) -> None:
    cached("org/kept")
    hub_double.publish_checkpoint(NAME)
    old = pull(NAME)
    hub_double.publish_checkpoint(NAME, seed=1)
    new = pull(NAME)
    removal = find_removal("qwen3-0.6b")
    assert removal.path == old.parent.parent == new.parent.parent
    assert removal.bytes > sum(file.stat().st_size for file in new.glob("*.safetensors"))
    remove(removal)
    assert not removal.path.exists()
    assert names() == ["guide", "org/kept"]


def test_lm_studio(machine: Path, make_model: Any) -> None:
    root = machine / "home" / ".lmstudio" / "models"
    make_model(root / "publisher" / "model")
    make_model(root / "publisher" / "second")
    remove(find_removal("publisher/model"))
    assert [path.name for path in (root / "publisher").iterdir()] == ["second"]


def test_the_built_in_model_stays(machine: Path) -> None:
    with pytest.raises(UsageError, match="built-in model stays"):
        find_removal("guide")


@pytest.mark.parametrize("form", ["/absolute", "./here", "../up", "~/home", "mine", "."])
def test_a_users_folder_stays(machine: Path, make_model: Any, form: str) -> None:
    folder = make_model(machine / "work" / "mine")
    name = str(folder) if form == "/absolute" else form
    with pytest.raises((UsageError, ModelNotFound)):
        find_removal(name)
    assert folder.exists()


def test_links_are_not_followed(machine: Path, make_model: Any) -> None:
    outside = make_model(machine / "elsewhere" / "precious")
    models = machine / "ours" / "models"
    inside = make_model(models / "inside")
    (models / "linked").symlink_to(outside)
    (models / "publisher").symlink_to(outside.parent)
    (inside / "more").symlink_to(outside)
    for name in ("linked", "publisher/precious"):
        with pytest.raises(UsageError, match="by a link"):
            find_removal(name)
    remove(find_removal("inside"))
    assert not inside.exists()
    assert (outside / "config.json").is_file()


def test_what_became_a_link_meanwhile_stays(machine: Path, make_model: Any) -> None:
    outside = make_model(machine / "elsewhere")
    mine = make_model(machine / "ours" / "models" / "mine")
    removal = find_removal("mine")
    mine.rename(machine / "gone")
    mine.symlink_to(outside)
    with pytest.raises(UsageError, match="by a link"):
        remove(removal)
    assert (outside / "config.json").is_file()


def test_a_folder_that_holds_all_models_is_no_model(machine: Path) -> None:
    for path in (machine / "ours" / "models", machine / "ours" / "models" / ".." / "x"):
        with pytest.raises(UsageError):
            remove(Removal("all", path, "ours", 0))


def test_a_broken_off_quantisation(machine: Path) -> None:
    part = machine / "ours" / "models" / "mine-4bit.partial"
    part.mkdir(parents=True)
    (part / MARKER).touch()
    (part / "model.safetensors").write_bytes(b"0" * 700)
    (machine / "ours" / "models" / "foreign.partial").mkdir()
    (found,) = unfinished()
    assert (found.name, found.path, found.kind) == ("mine-4bit", part, "quantisation")
    assert found.bytes == 700
    removal = find_removal("mine-4bit")
    assert removal.unfinished
    with (part / MARKER).open("r+b") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="being written"):
            remove(removal)
    assert part.exists()
    remove(removal)
    assert not part.exists()


def test_the_marker_is_the_one_that_quantisation_writes() -> None:
    from quantize import partial

    assert partial.MARKER == MARKER


def test_a_broken_off_download(machine: Path, hub_double: Any) -> None:
    hub_double.publish_checkpoint(NAME)
    hub_double.fail("GET /content/.*00002-of", status=500, times=None)
    with pytest.raises(HubError):
        pull(NAME, patience=Patience(attempts=1))
    (found,) = unfinished()
    assert (found.name, found.kind) == (NAME, "download")
    assert found.bytes > 0
    # The pull ends with its first failure; the files beside it let go a moment later.
    deadline = time.monotonic() + 20
    while unfinished():
        assert time.monotonic() < deadline
        with contextlib.suppress(OutputError, ModelNotFound):
            remove(find_removal(NAME))
        time.sleep(0.05)
    assert not found.path.exists()


def test_a_whole_download_is_not_unfinished(machine: Path, hub_double: Any) -> None:
    hub_double.publish_checkpoint(NAME)
    pull(NAME)
    assert unfinished() == []


def test_a_name_that_is_not_here(machine: Path) -> None:
    with pytest.raises(ModelNotFound, match="not on this machine"):
        find_removal("qwen3-4b")
    with pytest.raises(ModelNotFound, match="No model is called"):
        find_removal("nothing-like-it")
