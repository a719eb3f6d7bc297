from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.measure.random_model import random_model
from mlxqwen.measure.traffic import bandwidth, bytes_per_token
from mlxqwen.model.config import ModelConfig

Configs = dict[str, dict[str, Any]]


def read(
    configs: Configs,
    kind: str,
    folder: Path,
    context: int = 0,
    width: int | None = None,
    **changed: Any,
) -> int:
    source = folder / "config.json"
    source.write_text(json.dumps(configs[kind] | changed))
    with random_model(source) as path:
        directory = Directory.open(path)
        return bytes_per_token(directory, ModelConfig.parse(directory.config), context, width=width)


def packed(weights: int) -> float:
    """Bytes of 4-bit weights with a bfloat16 scale and bias for every 64."""
    return weights * (0.5 + 4 / 64)


def test_a_dense_model_reads_every_weight_and_one_row_of_embeddings(
    tiny_configs: Configs, tmp_path: Path
) -> None:
    attention = 128 * 64 * (4 + 2 + 2) + 4 * 64 * 128
    layer = packed(attention + 3 * 128 * 192) + 2 * (2 * 128 + 2 * 64)
    expected = 2 * layer + packed(128) + packed(300 * 128) + 2 * 128
    assert read(tiny_configs, "qwen3", tmp_path) == expected


def test_a_tied_head_is_read_whole(tiny_configs: Configs, tmp_path: Path) -> None:
    untied = read(tiny_configs, "qwen3", tmp_path)
    assert read(tiny_configs, "qwen3", tmp_path, tie_word_embeddings=True) == untied


def test_only_the_chosen_experts_are_read(tiny_configs: Configs, tmp_path: Path) -> None:
    two = read(tiny_configs, "qwen3_moe", tmp_path, num_experts_per_tok=2)
    three = read(tiny_configs, "qwen3_moe", tmp_path, num_experts_per_tok=3)
    assert three - two == 2 * packed(3 * 128 * 64)


def test_keys_and_values_grow_with_the_context(tiny_configs: Configs, tmp_path: Path) -> None:
    none, some = (read(tiny_configs, "qwen3", tmp_path, n) for n in (0, 100))
    assert some - none == 100 * 2 * (2 * 2 * 64) * 2


def test_a_recurrent_state_is_read_and_written_at_any_context(
    tiny_configs: Configs, tmp_path: Path
) -> None:
    none, some = (read(tiny_configs, "qwen3_next", tmp_path, n) for n in (0, 100))
    # One layer of four attends.
    assert some - none == 100 * (2 * 2 * 64) * 2
    wider = read(tiny_configs, "qwen3_next", tmp_path, linear_num_value_heads=8)
    state = 4 * 128 * 128 * 4
    assert wider - none > 3 * 2 * state


def test_computing_in_float32_reads_wider_scales_and_caches(
    tiny_configs: Configs, tmp_path: Path
) -> None:
    narrow = read(tiny_configs, "qwen3", tmp_path, 100)
    assert read(tiny_configs, "qwen3", tmp_path, 100, width=4) > narrow


@pytest.mark.parametrize(
    ("chip", "cores", "expected"),
    [
        ("Apple M3 Ultra", 80, 819e9),
        ("Apple M4 Max", 40, 546e9),
        ("Apple M4 Max", 32, 410e9),
        # Sold with two memories: unknown without the number of cores.
        ("Apple M4 Max", None, None),
        ("AMD EPYC", None, None),
    ],
)
def test_bandwidths(chip: str, cores: int | None, expected: float | None) -> None:
    assert bandwidth(chip, cores) == expected
