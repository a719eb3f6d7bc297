"""What verify says of whole models, and of every way in which one can be broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.errors import CheckpointError
from quantize.manifest import MANIFEST_NAME
from quantize.partial import MARKER
from quantize.pipeline import quantise
from quantize.progress import Progress
from quantize.verify import Verification, verify

Make = Callable[..., Path]
Add = Callable[[Path], None]


@pytest.fixture
def model(make: Make, add_tokenizer: Add, tmp_path: Path) -> Callable[..., Path]:
    """Makes a published model."""

    def build(**fields: Any) -> Path:
        source = make(**fields)
        add_tokenizer(source)
        quantise(source, tmp_path / "model")
        return tmp_path / "model"

    return build


def said(found: Verification) -> str:
    assert not found.ok
    for problem in found.problems:
        assert problem.what.endswith(".")
        assert problem.hint.endswith(".")
    return "\n".join(str(problem) for problem in found.problems)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def forget_manifest(folder: Path) -> Path:
    (folder / MANIFEST_NAME).unlink()
    return folder


@pytest.mark.parametrize("fields", [{}, {"moe": True}, {"tie_word_embeddings": True}])
def test_a_published_model_is_whole(model: Callable[..., Path], fields: dict[str, Any]) -> None:
    folder = model(**fields)
    reports: list[Progress] = []
    found = verify(folder, reports.append)
    assert found.ok
    assert found.problems == ()
    assert found.manifest
    assert found.layers == 2
    names = {file.name for file in folder.iterdir()} - {MANIFEST_NAME}
    assert found.files == len(names)
    assert found.nbytes == sum((folder / name).stat().st_size for name in names)
    assert found.bits is not None
    assert 4.5 < found.bits < 5
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1].total
    assert json.loads(json.dumps(found.to_json()))["ok"] is True


def test_a_source_without_manifest_is_tried_and_says_so(make: Make, add_tokenizer: Add) -> None:
    source = make(shards=3, moe=True)
    add_tokenizer(source)
    found = verify(source)
    assert found.ok
    assert not found.manifest
    assert found.files == 0
    assert found.layers == 2
    assert "would not be noticed" in found.notes[0]


def test_one_flipped_bit_is_found_and_its_file_named(model: Callable[..., Path]) -> None:
    folder = model()
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    found = verify(folder)
    assert f"{path} is damaged" in said(found)
    assert len(found.problems) == 1
    assert isinstance(found.error(), CheckpointError)
    assert str(path) in str(found.error())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("manifest", [True, False])
def test_a_missing_file_is_named(model: Callable[..., Path], name: str, manifest: bool) -> None:
    folder = model() if manifest else forget_manifest(model())
    (folder / name).unlink()
    text = said(verify(folder))
    # The tokenizer has no other file than the one of that name.
    assert name in text


@pytest.mark.parametrize("manifest", [True, False])
def test_a_truncated_file_is_named(model: Callable[..., Path], manifest: bool) -> None:
    folder = model() if manifest else forget_manifest(model())
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert str(path) in said(verify(folder))


@pytest.mark.parametrize("manifest", [True, False])
def test_weights_that_mlx_lm_would_load_as_well(model: Callable[..., Path], manifest: bool) -> None:
    folder = model() if manifest else forget_manifest(model())
    shutil.copy(folder / "model.safetensors", folder / "model-old.safetensors")
    (folder / "notes.txt").write_text("mine")
    found = verify(folder)
    assert "model-old.safetensors does not belong" in said(found)
    assert len(found.problems) == 1


def test_a_damaged_manifest_is_a_problem(model: Callable[..., Path]) -> None:
    folder = model()
    (folder / MANIFEST_NAME).write_text('{"format": 1}')
    assert MANIFEST_NAME in said(verify(folder))


def test_a_manifest_reads_nothing_outside_its_folder(model: Callable[..., Path]) -> None:
    folder = model()
    entry = {"nbytes": 3, "sha256": "0" * 64}
    for name in ("../secret", "/etc/hostname", "a/b"):
        edit(folder / MANIFEST_NAME, lambda m, n=name: m["files"].update({n: entry}))
    text = said(verify(folder))
    assert text.count("no file of the folder") == 3
    assert "damaged" not in text


def test_an_unfinished_model_says_how_to_go_on(tmp_path: Path) -> None:
    partial = tmp_path / "model.partial"
    (partial / "output").mkdir(parents=True)
    (partial / MARKER).touch()
    for path in (partial, partial / "output", tmp_path / "model"):
        found = verify(path)
        assert f"{tmp_path / 'model'} is not finished" in said(found)
        assert "again" in found.problems[0].hint
        assert len(found.problems) == 1


def test_a_finished_model_beside_remains_is_whole(
    model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = model()
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / MARKER).touch()
    assert verify(folder).ok


def test_no_folder(tmp_path: Path) -> None:
    assert "is not a folder" in said(verify(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    assert "config.json does not exist" in said(verify(tmp_path / "empty"))


def test_numbers_that_are_not_finite_are_found_without_a_manifest(
    make: Make, add_tokenizer: Add
) -> None:
    # In an expert that a short text need not meet.
    values = mx.zeros((64, 128), mx.bfloat16)
    values[3, 5] = float("inf")
    bad = {"model.layers.1.mlp.experts.3.up_proj.weight": values}
    source = make(moe=True, extra=bad)
    add_tokenizer(source)
    assert "numbers in its layer 1 are not finite" in said(verify(source))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["quantization"].update(note="mine"), "note"),
        (lambda c: c["quantization"].update({"lm_head": {"bits": 8, "group_size": None}}), "None"),
        (lambda c: c["quantization"].update({"lm_head": {"bits": 8}}), "missing"),
        (lambda c: c["quantization"].update({"lm_head": {"bits": 8, "group_size": 64}}), "lm_head"),
        (lambda c: c["quantization"].update({"lm_head": False}), "lm_head"),
        (lambda c: c.update(quantization_config={"bits": 8, "group_size": 64}), "differ"),
        (lambda c: [c.pop("quantization"), c.pop("quantization_config")], "packed"),
        (lambda c: c.update(eos_token_id=512), "512"),
        (lambda c: c.update(num_hidden_layers=3), "lacks"),
    ],
)
def test_a_configuration_that_contradicts_the_weights(
    model: Callable[..., Path], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    folder = forget_manifest(model())
    edit(folder / "config.json", change)
    assert words in said(verify(folder))


def test_a_matrix_that_is_silently_unquantised(model: Callable[..., Path]) -> None:
    folder = model(moe=True, moe_intermediate_size=96, dtype=mx.float32, torch_dtype="float32")
    assert verify(folder).ok

    def forget(config: dict[str, Any]) -> None:
        for key in ("quantization", "quantization_config"):
            block = config[key]
            config[key] = {k: v for k, v in block.items() if v is not False}

    edit(folder / "config.json", forget)
    text = said(verify(folder))
    assert "does not say" in text
    assert "down_proj" in text
    forget_manifest(folder)
    found = verify(folder)
    assert found.ok
    assert any("does not say" in note for note in found.notes)


def test_a_tokenizer_of_another_model(model: Callable[..., Path]) -> None:
    folder = forget_manifest(model(vocab_size=256))
    found = verify(folder)
    assert "the model only 256" in said(found)
    assert found.layers == 2


def test_a_tokenizer_that_changes_text(model: Callable[..., Path]) -> None:
    folder = forget_manifest(model())

    def shout(fields: dict[str, Any]) -> None:
        fields["normalizer"] = {"type": "Lowercase"}

    edit(folder / "tokenizer.json", shout)
    assert "does not give back" in said(verify(folder))


def test_files_of_the_hubs_cache_are_held_against_their_names(
    make: Make, add_tokenizer: Add, tmp_path: Path
) -> None:
    from hashlib import sha256

    source = make()
    add_tokenizer(source)
    blobs, snapshot = tmp_path / "m" / "blobs", tmp_path / "m" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in source.iterdir():
        data = file.read_bytes()
        # Small files are named by git's hash, which is shorter.
        digest = sha256(data).hexdigest()
        blob = blobs / (digest if file.suffix == ".safetensors" else digest[:40])
        blob.write_bytes(data)
        (snapshot / file.name).symlink_to(blob)
    found = verify(snapshot)
    assert found.ok
    assert found.files == 1
    weights = (snapshot / "model.safetensors").resolve()
    data = bytearray(weights.read_bytes())
    data[-7] ^= 4
    weights.write_bytes(data)
    assert "model.safetensors is damaged" in said(verify(snapshot))
    weights.unlink()
    assert "model.safetensors" in said(verify(snapshot))


def test_links_in_a_circle_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").symlink_to("other.safetensors")
    (tmp_path / "other.safetensors").symlink_to("model.safetensors")
    assert "model" in said(verify(tmp_path))
