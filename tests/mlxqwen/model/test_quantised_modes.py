"""Packed weights: every mode against the same model on dequantised weights, and beside mlx-lm.

The unquantised model is held to transformers by test_golden.py, so it is the reference here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from cases import CASES, qwen3, qwen3_moe
from checkpoints import Case, prompts, write_folder
from formats import Stored
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model as load_mlx_lm
from weights import Config, Weights, make_weights

from mlxqwen.checkpoint.load import load_model
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.model.quantspec import COMBINATIONS

MODES = [
    (mode, bits, group)
    for mode, pairs in COMBINATIONS.items()
    for bits, group in sorted(pairs)
    if mode != "affine" or group == 64 or bits == 4
]
DTYPES = {mx.uint32: "U32", mx.uint8: "U8", mx.float32: "F32"}
# 128 wide everywhere, so that every group size divides every matrix.
SHAPE = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 128, "num_hidden_layers": 2}
CONFIGS = {
    "dense": qwen3(**SHAPE, tie_word_embeddings=True),
    "moe": qwen3_moe(**SHAPE, moe_intermediate_size=128),
}


def stacked(weights: Weights) -> Weights:
    """Per-expert tensors -> mlx-lm's `switch_mlp` names."""
    out: dict[str, list[np.ndarray]] = {}
    for name, w in weights.items():
        head, expert, tail = name.partition(".experts.")
        key = f"{head}.switch_mlp.{tail.partition('.')[2]}" if expert else name
        out.setdefault(key, []).append(w)
    return {n: np.stack(ws) if ".switch_mlp." in n else ws[0] for n, ws in out.items()}


def quantised_pair(
    config: Config, mode: str, bits: int, group: int
) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """The stored tensors of one checkpoint, packed by MLX, and the same dequantised by MLX."""
    packed: dict[str, Stored] = {}
    plain: dict[str, Stored] = {}
    for name, w in stacked(make_weights(config, seed=1)).items():
        if w.ndim == 1:
            packed[name] = plain[name] = Stored("F32", w)
            continue
        parts = mx.quantize(mx.array(w), group_size=group, bits=bits, mode=mode)
        exact = mx.dequantize(*parts, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        plain[name] = Stored("F32", np.array(exact))
        module = name.removesuffix("weight")
        for part, array in zip(("weight", "scales", "biases"), parts, strict=False):
            packed[module + part] = Stored(DTYPES[array.dtype], np.array(array))
    return packed, plain


def relative(a: np.ndarray, b: np.ndarray) -> float:
    assert np.isfinite(a).all()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("kind", list(CONFIGS))
@pytest.mark.parametrize(("mode", "bits", "group"), MODES, ids=lambda value: str(value))
def test_mode(kind: str, mode: str, bits: int, group: int, tmp_path: Path) -> None:
    config = CONFIGS[kind]
    packed, plain = quantised_pair(config, mode, bits, group)
    block = {"group_size": group, "bits": bits, "mode": mode}
    write_folder(tmp_path / "packed", config | {"quantization": block}, packed)
    write_folder(tmp_path / "plain", config, plain)
    rows = mx.array([[(7 * i + 3 * j) % 159 for i in range(9)] for j in range(2)])
    logits = [np.array(load_model(tmp_path / f)[0](rows)) for f in ("packed", "plain")]
    assert logits[0].shape == (2, 9, 160)
    assert relative(*logits) < 1e-4


PARITY = [case for case in CASES if case.layout == "mlx_affine"]


@pytest.mark.parametrize("case", PARITY, ids=lambda case: case.name)
def test_parity_with_mlx_lm(case: Case, folder_of: Callable[..., Path]) -> None:
    """The same folder in both: logits of one pass, of a step from the cache, and greedy tokens."""
    folder = folder_of(case, wide=True)
    ours, _ = load_model(folder)
    theirs, _ = load_mlx_lm(folder)
    prompt, _ = prompts(case)
    tokens = mx.array([prompt])
    assert relative(np.array(ours(tokens)), np.array(theirs(tokens))) < 1e-4
    cache = make_prompt_cache(theirs)
    logits, expected = theirs(tokens, cache), []
    for _ in range(16):
        expected.append(int(logits[0, -1].argmax().item()))
        logits = theirs(mx.array([[expected[-1]]]), cache)
    assert list(generate_tokens(ours, prompt, max_tokens=16)) == expected
