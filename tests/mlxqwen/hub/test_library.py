from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxqwen.errors import CheckpointError, ModelNotFound
from mlxqwen.hub import library
from mlxqwen.hub.library import default_model, local_models, resolve
from mlxqwen.hub.places import hub_cache, models_folder

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def guide(machine: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built-in model: the real one is package data."""
    folder = make_model(
        machine / "package" / "guide", model_type="qwen3_moe", quantization={"bits": 4}
    )
    monkeypatch.setattr(library, "guide_folder", lambda: folder)
    return folder


def listed() -> dict[str, str]:
    return {model.name: model.source for model in local_models()}


def test_our_folder_follows_the_environment(machine: Path) -> None:
    assert models_folder() == machine / "ours" / "models"


def test_the_hub_cache_follows_the_hubs_own_variables(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_cache() == machine / "hub"
    monkeypatch.delenv("HF_HUB_CACHE")
    assert hub_cache() == machine / "home" / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "cache"))
    assert hub_cache() == machine / "cache" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(machine / "hf"))
    assert hub_cache() == machine / "hf" / "hub"


def test_an_empty_machine_has_the_guide(guide: Path) -> None:
    assert listed() == {"guide": "builtin"}
    assert resolve("guide") == guide
    assert default_model().path == guide


def test_every_place_is_listed(machine: Path, make_model: Make, cached: Make) -> None:
    make_model(models_folder() / "Qwen3-4B-4bit")
    cached("Qwen/Qwen3-0.6B")
    make_model(machine / "home" / ".lmstudio" / "models" / "lmstudio-community" / "Qwen3-8B")
    make_model(machine / "home" / ".cache" / "lm-studio" / "models" / "someone" / "QwQ-32B-4bit")
    assert listed() == {
        "guide": "builtin",
        "Qwen3-4B-4bit": "ours",
        "Qwen/Qwen3-0.6B": "hub cache",
        "lmstudio-community/Qwen3-8B": "LM Studio",
        "someone/QwQ-32B-4bit": "LM Studio",
    }


def test_what_is_said_of_a_model(make_model: Make) -> None:
    path = make_model(
        models_folder() / "mine",
        size=1000,
        shards=3,
        quantization={"bits": 4, "group_size": 64},
    )
    os.utime(path / "config.json", (1_700_000_000, 1_700_000_000))
    (model,) = (model for model in local_models() if model.name == "mine")
    assert (model.path, model.bytes, model.bits) == (path, 3000, 4.0)
    assert (model.model_type, model.modified) == ("qwen3", 1_700_000_000)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        ({"torch_dtype": "bfloat16"}, 16.0),
        ({"torch_dtype": None, "dtype": "float32"}, None),
        ({"torch_dtype": "float32"}, 32.0),
        ({"quantization_config": {"quant_method": "fp8"}}, 8.0),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, 4.0),
        ({"torch_dtype": "strange"}, None),
    ],
)
def test_bits_come_from_the_configuration(
    make_model: Make, config: dict[str, object], bits: float | None
) -> None:
    make_model(models_folder() / "mine", **config)
    (model,) = (model for model in local_models() if model.name == "mine")
    assert model.bits == bits


def test_a_folder_without_all_its_weights_is_not_listed(make_model: Make) -> None:
    path = make_model(models_folder() / "half", shards=3)
    (path / "model-00002-of-00003.safetensors").unlink()
    (make_model(models_folder() / "empty") / "model.safetensors").unlink()
    make_model(models_folder() / "running.partial")
    (make_model(models_folder() / "garbled") / "config.json").write_text("{not json")
    (make_model(models_folder() / "list") / "config.json").write_text("[]")
    (models_folder() / "file").write_text("no folder")
    assert listed() == {"guide": "builtin"}


def test_a_download_that_has_not_ended_is_not_listed_and_says_so(cached: Make) -> None:
    snapshot = cached("Qwen/Qwen3-4B", shards=3)
    (snapshot / "model-00003-of-00003.safetensors").unlink()
    assert listed() == {"guide": "builtin"}
    for name in ("Qwen/Qwen3-4B", "qwen3-4b"):
        with pytest.raises(ModelNotFound) as caught:
            resolve(name)
        assert "model-00003-of-00003.safetensors" in caught.value.what
        assert "`mlxqwen pull Qwen/Qwen3-4B`" in caught.value.hint


def test_the_hub_revision_is_the_one_main_names(cached: Make) -> None:
    cached("Qwen/Qwen3-4B", revision="b" * 40)
    wanted = cached("Qwen/Qwen3-4B", revision="a" * 40)
    cached("Qwen/Qwen3-4B", revision="c" * 40, main=False)
    assert resolve("Qwen/Qwen3-4B") == wanted


def test_without_main_the_newest_revision_serves(cached: Make) -> None:
    old = cached("Qwen/Qwen3-4B", revision="b" * 40, main=False)
    new = cached("Qwen/Qwen3-4B", revision="a" * 40, main=False)
    os.utime(old, (1_000, 1_000))
    os.utime(new, (2_000, 2_000))
    assert resolve("Qwen/Qwen3-4B") == new


def test_a_reference_that_leads_elsewhere_is_not_followed(machine: Path, cached: Make) -> None:
    snapshot = cached("Qwen/Qwen3-4B")
    reference = machine / "hub" / "models--Qwen--Qwen3-4B" / "refs" / "main"
    reference.write_text("")
    assert resolve("Qwen/Qwen3-4B") == snapshot
    reference.write_text("gone")
    assert resolve("Qwen/Qwen3-4B") == snapshot


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-4B", "qwen/qwen3-4b", "Qwen3-4B", "qwen3-4b", "QWEN3-4B"]
)
def test_names_of_one_cached_model(cached: Make, name: str) -> None:
    snapshot = cached("Qwen/Qwen3-4B")
    assert resolve(name) == snapshot


def test_an_alias_prefers_the_conversion(cached: Make, make_model: Make) -> None:
    original = cached("Qwen/Qwen3-4B")
    assert resolve("qwen3-4b") == original
    mine = make_model(models_folder() / "Qwen3-4B-4bit")
    assert resolve("qwen3-4b") == mine
    converted = cached("mlx-community/Qwen3-4B-4bit")
    assert resolve("qwen3-4b") == converted
    assert resolve("Qwen/Qwen3-4B") == original
    assert resolve("Qwen3-4B-4bit") == mine


def test_an_alias_does_not_stand_for_another_model_of_the_same_size(cached: Make) -> None:
    cached("Qwen/Qwen3-4B-Instruct-2507")
    with pytest.raises(ModelNotFound):
        resolve("qwen3-4b")


def test_the_end_of_a_name_serves_only_where_it_is_plain(machine: Path, make_model: Make) -> None:
    studio = machine / "home" / ".lmstudio" / "models"
    one = make_model(studio / "anna" / "tuned-4bit")
    assert resolve("tuned-4bit") == one
    make_model(studio / "bruno" / "tuned-4bit")
    with pytest.raises(ModelNotFound):
        resolve("tuned-4bit")


def test_a_path_wins_over_every_name(
    machine: Path, make_model: Make, cached: Make, guide: Path
) -> None:
    cached("Qwen/Qwen3-4B")
    make_model(machine / "work" / "Qwen" / "Qwen3-4B")
    assert resolve("Qwen/Qwen3-4B").resolve() == machine / "work" / "Qwen" / "Qwen3-4B"
    (machine / "work" / "guide").mkdir()
    assert resolve("guide") == guide
    make_model(machine / "home" / "here")
    assert resolve("~/here") == machine / "home" / "here"


def test_an_empty_folder_of_the_same_name_hides_nothing(machine: Path, cached: Make) -> None:
    snapshot = cached("Qwen/Qwen3-4B")
    (machine / "work" / "Qwen" / "Qwen3-4B").mkdir(parents=True)
    assert resolve("Qwen/Qwen3-4B") == snapshot


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./absent", "There is no folder ./absent"),
        ("empty", "has no config.json"),
        ("model.safetensors", "is a file"),
        (".", "has no config.json"),
        ("~nobody-of-this-name/model", "There is no folder"),
    ],
)
def test_a_path_that_is_no_model_is_named(machine: Path, name: str, says: str) -> None:
    (machine / "work" / "empty").mkdir()
    (machine / "work" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        resolve(name)
    assert says in caught.value.what
    assert name in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", "someone/unheard-of"])
def test_an_absent_model_names_the_way_to_get_it(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(name)
    assert name in caught.value.what
    assert f"`mlxqwen pull {name}`" in caught.value.hint
    assert "mlxqwen models" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "near"), [("qwen3-30b-a3", "qwen3-30b-a3b"), ("giude", "guide"), ("minne", "Mine")]
)
def test_a_mistyped_name_brings_the_nearest(make_model: Make, name: str, near: str) -> None:
    make_model(models_folder() / "Mine")
    with pytest.raises(ModelNotFound, match="No model is called") as caught:
        resolve(name)
    assert near in caught.value.hint
    assert "mlxqwen models" in caught.value.hint


def test_nothing_near_is_not_guessed() -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve("zzzzzzzz")
    assert "Did you mean" not in caught.value.hint
    for name in ("", "x" * 5000, "a\0b"):
        with pytest.raises(ModelNotFound):
            resolve(name)


def test_the_default_is_the_newest_that_runs_and_fits(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dated(name: str, when: int, **config: object) -> Path:
        path = make_model(models_folder() / name, **config)
        os.utime(path / "config.json", (when, when))
        return path

    monkeypatch.setattr(library, "memory_budget", lambda: 1000)
    old = dated("old", 1_000)
    new = dated("new", 2_000)
    dated("too-large", 3_000, size=900)
    dated("other-architecture", 4_000, model_type="bert")
    assert default_model().path == new
    (new / "model.safetensors").unlink()
    assert default_model().path == old
    (old / "config.json").unlink()
    assert default_model().name == "guide"


def test_a_missing_guide_says_install_again(guide: Path) -> None:
    (guide / "config.json").unlink()
    for ask in (lambda: resolve("guide"), default_model):
        with pytest.raises(ModelNotFound, match="Install mlxqwen again"):
            ask()


def test_an_index_is_believed_over_stray_files(make_model: Make) -> None:
    path = make_model(models_folder() / "mine", shards=2, size=10)
    (path / "model-extra.safetensors").write_bytes(b"\0" * 500)
    (model,) = (model for model in local_models() if model.name == "mine")
    assert model.bytes == 20
    assert json.loads((path / "model.safetensors.index.json").read_text())["weight_map"]
