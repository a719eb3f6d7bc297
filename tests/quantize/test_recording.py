"""Recorded inputs against an independent computation, and recording against not recording."""

from __future__ import annotations

import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.checkpoint.expected import expected_tensors
from quantize.layerwise import Layerwise
from quantize.recording import Input, recorded

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from cases import CASES, CASES_NEXT
from checkpoints import Case, write

NAMES = ["qwen2_untied", "next_interval4", "next_interval2", "qwen3_5_dense", "qwen3_5_moe"]
NAMES += ["mlx_4bit_moe", "awq_moe", "moe_packed"]


def captured(layer, index, x, step):
    """The layer's output, and the input of each matrix by module."""
    inputs: dict[str, Input] = {}

    def sink(entry: Input) -> None:
        inputs.update(dict.fromkeys(entry.modules, entry))

    return recorded(layer, index, sink)(x, None, step), inputs


def matrices(source: Layerwise, index: int) -> dict[str, int]:
    """Every matrix of a layer and its width, from what the configuration calls for."""
    return {
        name.removesuffix(".weight"): shape[-1]
        for name, shape in expected_tensors(source.config)
        if name.startswith(f"model.layers.{index}.") and len(shape) > 1 and "conv1d" not in name
    }


@pytest.mark.parametrize(
    "case", [c for c in CASES + CASES_NEXT if c.name in NAMES], ids=lambda case: case.name
)
def test_every_matrix_is_recorded_and_the_layer_computes_the_same(
    case: Case, tmp_path: Path
) -> None:
    write(case, tmp_path)
    source = Layerwise.open(tmp_path)
    # 48 rows: with two experts each above what is sorted; the single row is below.
    for shape in ((2, 24), (1, 1)):
        x = mx.random.normal((*shape, source.config.hidden_size), key=mx.random.key(1))
        step = source.step(shape[1])
        for index in range(source.config.num_hidden_layers):
            layer = source.layer(index)
            y, inputs = captured(layer, index, x, step)
            assert mx.array_equal(y, layer(x, None, step))
            assert {m: i.rows.shape[1] for m, i in inputs.items()} == matrices(source, index)
            x = y


@pytest.mark.parametrize("length", [5, 64])
def test_rows_of_experts_have_their_expert_and_weight(tmp_path: Path, length: int) -> None:
    write(next(case for case in CASES if case.name == "moe_2of8"), tmp_path)
    source = Layerwise.open(tmp_path)
    layer, path = source.layer(0), "model.layers.0.mlp"
    x = mx.random.normal((1, length, source.config.hidden_size), key=mx.random.key(2))
    _, inputs = captured(layer, 0, x, source.step(length))

    tokens = np.array(inputs[f"{path}.gate"].rows)
    arrays = {n: np.array(a.astype(mx.float32)) for n, a in source.tensors(0).arrays.items()}
    logits = tokens @ arrays[f"{path}.gate.weight"].T
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    rows: list[tuple[int, float, np.ndarray, np.ndarray]] = []
    for token, chance in zip(tokens, chances, strict=True):
        best = np.argsort(-chance)[:2]
        for expert in best:
            gate, up = (
                arrays[f"{path}.switch_mlp.{name}.weight"][expert] @ token
                for name in ("gate_proj", "up_proj")
            )
            hidden = gate / (1 + np.exp(-gate)) * up
            rows.append((int(expert), chance[expert] / chance[best].sum(), token, hidden))

    for name, place in (("gate_proj", 2), ("up_proj", 2), ("down_proj", 3)):
        entry = inputs[f"{path}.switch_mlp.{name}"]
        assert entry.experts is not None
        assert entry.weights is not None
        found = sorted(
            zip(entry.experts.tolist(), entry.weights.tolist(), np.array(entry.rows), strict=True),
            key=lambda row: row[:2],
        )
        expected = sorted(rows, key=lambda row: row[:2])
        for (expert, weight, row), wanted in zip(found, expected, strict=True):
            assert expert == wanted[0]
            assert weight == pytest.approx(wanted[1], rel=1e-4)
            np.testing.assert_allclose(row, wanted[place], rtol=1e-4, atol=1e-5)
