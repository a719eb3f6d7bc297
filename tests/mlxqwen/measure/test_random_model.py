from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.load import load
from mlxqwen.errors import UsageError
from mlxqwen.measure.random_model import random_model

Configs = dict[str, dict[str, Any]]
TOKENS = mx.array([[5, 1, 7, 2, 290, 11]])


def written(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe", "qwen3_next"])
def test_both_sides_load_it_and_compute_alike(
    tiny_configs: Configs, tmp_path: Path, kind: str
) -> None:
    import mlx_lm

    source = written(tmp_path, tiny_configs[kind] | {"torch_dtype": "float32"})
    with random_model(source) as folder:
        ours = load(folder)[0](TOKENS)
        theirs = mlx_lm.load(str(folder))[0](TOKENS)
        mx.eval(ours, theirs)
    assert mx.abs(ours - theirs).max().item() < 1e-3 * mx.abs(ours).max().item()
    # Values of a size that says something: neither vanished nor exploded nor all alike.
    assert 0.05 < mx.std(ours).item() < 20


def test_it_is_quantised_as_mlx_lm_does_and_removed(tiny_configs: Configs, tmp_path: Path) -> None:
    source = written(tmp_path, tiny_configs["qwen3_moe"])
    with random_model(source, 1) as folder:
        config = json.loads((folder / "config.json").read_text())
        tensors = mx.load(str(folder / "model.safetensors"))
        assert sum("q_proj.weight" in name for name in tensors) == 1
    assert not folder.exists()
    assert config["num_hidden_layers"] == 1
    block = config["quantization"]
    assert (block["bits"], block["group_size"]) == (4, 64)
    assert block["model.layers.0.mlp.gate"]["bits"] == 8
    packed = tensors["model.layers.0.mlp.switch_mlp.down_proj.weight"]
    assert packed.shape == (8, 128, 64 * 4 // 32)
    assert packed.dtype == mx.uint32
    assert tensors["model.layers.0.mlp.gate.scales"].dtype == mx.bfloat16
    # Experts that are all the same would be read from a cache, not from memory.
    assert not mx.array_equal(packed[0], packed[1]).item()


def test_widths_that_no_group_divides_stay_unquantised(
    tiny_configs: Configs, tmp_path: Path
) -> None:
    source = written(tmp_path, tiny_configs["qwen3"] | {"intermediate_size": 100})
    with random_model(source, 1) as folder:
        assert mx.isfinite(load(folder)[0](TOKENS)).all().item()


@pytest.mark.parametrize("layers", [0, 3, -1])
def test_layers_that_the_model_does_not_have(
    tiny_configs: Configs, tmp_path: Path, layers: int
) -> None:
    source = written(tmp_path, tiny_configs["qwen3"])
    with pytest.raises(UsageError, match="1 to 2"), random_model(source, layers):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    source = tmp_path / "config.json"
    source.write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"), random_model(source):
        pass


def test_a_multimodal_configuration_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path, {"model_type": "qwen3_5", "text_config": {}})
    with pytest.raises(UsageError, match="multimodal"), random_model(source):
        pass
