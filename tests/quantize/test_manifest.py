from __future__ import annotations

import hashlib
import json

import mlx.core as mx
import pytest

from mlxqwen.errors import CheckpointError
from quantize import choose_recipe, quantise
from quantize.manifest import FileHash, Manifest, Source, TensorError, read_manifest

MANIFEST = Manifest(
    source=Source("Qwen/Qwen3-0.6B", "abc", "1f"),
    recipe={"name": "balanced", "description": "è", "digest": "2", "guidance": ""},
    versions={"mlxqwen": "0.1.0", "mlx": "0.32.4"},
    device="metal",
    pin="3",
    bits_per_weight=4.5,
    files={"model.safetensors": FileHash(12, "0" * 64)},
    tensors={"lm_head": TensorError(4, 64, "affine", 1e-3, 0.99, 0.5, 0.0, 640)},
    notes={"tokens": 5},
)


def test_what_is_written_is_read_again(tmp_path):
    (tmp_path / "mlxqwen.json").write_bytes(MANIFEST.to_bytes())
    assert read_manifest(tmp_path) == MANIFEST


def test_none_is_no_fault(tmp_path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), 2, r"format 2; this mlxqwen reads 1\. Update mlxqwen"),
        (("format",), None, "format None"),
        (("source",), [], "no valid source"),
        (("source", "name"), 7, "no valid name"),
        (("device",), None, "no valid device"),
        (("bits_per_weight",), "4", "no valid bits_per_weight"),
        (("bits_per_weight",), True, "no valid bits_per_weight"),
        (("versions", "mlx"), 32, "no valid mlx"),
        (("files", "model.safetensors"), "0", r"no valid model\.safetensors"),
        (("files", "model.safetensors", "nbytes"), -1, "no valid nbytes"),
        (("files", "model.safetensors", "nbytes"), True, "no valid nbytes"),
        (("files", "model.safetensors", "sha256"), "0", "no valid sha256"),
        (("tensors", "lm_head", "bits"), 4.5, "no valid bits"),
        (("tensors", "lm_head", "cosine"), float("nan"), "no valid cosine"),
        (("notes",), "", "no valid notes"),
    ],
)
def test_what_is_damaged_is_named(tmp_path, path, value, words):
    whole = json.loads(MANIFEST.to_bytes())
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "mlxqwen.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match=words):
        read_manifest(tmp_path)


def test_a_file_that_is_no_json_object_is_told(tmp_path):
    for text in ("", "[]", "{"):
        (tmp_path / "mlxqwen.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"mlxqwen\.json"):
            read_manifest(tmp_path)


@pytest.mark.parametrize("mode", ["affine", "mxfp4", "mxfp8", "nvfp4"])
def test_the_manifest_tells_the_truth(make, tmp_path, mode):
    source = make(moe=True, shards=2)
    recipe = choose_recipe(None, "fast", mode=mode)
    quantise(source, tmp_path / "out", recipe=recipe)
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"mlxqwen.json"}
    assert set(manifest.files) == names
    for name, entry in manifest.files.items():
        data = (tmp_path / "out" / name).read_bytes()
        assert entry == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest.source.name == "source"
    assert str(tmp_path) not in (tmp_path / "out" / "mlxqwen.json").read_text()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    stored = mx.load(str(tmp_path / "out" / "model.safetensors"))
    quantised = {name.removesuffix(".scales") for name in stored if name.endswith(".scales")}
    assert set(manifest.tensors) == quantised
    router = manifest.tensors["model.layers.0.mlp.gate"]
    assert (router.bits, router.group_size, router.mode) == (8, 64, "affine")
    assert manifest.tensors["lm_head"].mode == mode
    assert manifest.recipe["name"] == "fast"
    assert manifest.pin
    assert config["quantization"]["mode"] == mode

    # Against all rows of the head, computed here.
    original = {}
    for shard in source.glob("*.safetensors"):
        original.update(mx.load(str(shard)))
    before = original["lm_head.weight"].astype(mx.float32)
    packed = [
        stored[f"lm_head.{k}"] for k in ("weight", "scales", "biases") if f"lm_head.{k}" in stored
    ]
    block = {"group_size": recipe.default.group_size, "bits": recipe.default.bits, "mode": mode}
    after = mx.dequantize(*packed, **block).astype(mx.float32)
    expected = (mx.square(before - after).sum() / mx.square(before).sum()).item()
    told = manifest.tensors["lm_head"]
    assert told.relative_mse == pytest.approx(expected, rel=0.2)
    assert told.cosine == pytest.approx(1 - expected / 2, abs=1e-3)
    assert told.sampled * 16 == before.size
