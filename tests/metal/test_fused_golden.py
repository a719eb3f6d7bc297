"""Greedy tokens of transformers through every kernel, executed here by the emulator."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from cases import CASES, CASES_NEXT
from checkpoints import write

from mlxqwen.checkpoint.load import load_model
from mlxqwen.model.cache import make_cache
from mlxqwen.model.fused import FusedModel
from mlxqwen.model.step import Step

REFERENCES = Path(__file__).parents[1] / "golden" / "references"
NAMES = ["mlx_4bit_tied", "mlx_4bit_qwen2", "mlx_4bit_moe", "next_mlx_4bit"]
TOKENS = 24


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "name", ["mlx_4bit_tied", "mlx_4bit_qwen2", "mlx_4bit_moe", "next_mlx_4bit"]
)
def test_greedy_tokens(name: str, tmp_path: Path) -> None:
    case = next(case for case in (*CASES, *CASES_NEXT) if case.name == name)
    # In float32 files, so that a Mac computes in float32 as well.
    write(case, tmp_path / name, wide=True)
    model, _ = load_model(tmp_path / name)
    with np.load(REFERENCES / f"{name}.npz") as file:
        prompt, expected = file["long"].tolist(), file["greedy"].tolist()[:TOKENS]
    fused, cache = FusedModel.of(model), make_cache(model)
    tokens = [int(mx.argmax(model(mx.array([prompt]), cache)[0, -1]).item())]
    while len(tokens) < TOKENS:
        cache.reserve(1, 1)
        step = Step.over(1, cache.offset, None)
        hidden = fused.run(mx.array([tokens[-1:]]), cache.layers, step)
        cache.advance(1)
        tokens.append(int(mx.argmax(model.logits(hidden)[0, -1]).item()))
    assert tokens == expected
