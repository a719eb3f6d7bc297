"""What we write is what mlx_lm.convert writes, tensor for tensor, and mlx-lm loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.checkpoint import load
from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.reading import read_rows
from quantize import choose_recipe, quantise

# transformers and its friends warn about themselves on import.
pytestmark = [pytest.mark.filterwarnings("default")]


def tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    infos = Directory.open(folder).tensors
    return {n: (i.dtype, i.shape, bytes(read_rows(i, 0, i.rows))) for n, i in infos.items()}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dense": ({"shards": 3}, {}),
    "tied": ({"tie_word_embeddings": True, "extra": {"lm_head.weight": mx.zeros((512, 128))}}, {}),
    "moe": ({"moe": True, "shards": 2}, {}),
    "moe with dense layers": (
        {"moe": True, "num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
        {},
    ),
    "stacked": ({"moe": True, "stacked": True}, {}),
    "float16": ({"dtype": mx.float16, "torch_dtype": "float16"}, {}),
    "float32": ({"moe": True, "dtype": mx.float32, "torch_dtype": "float32"}, {}),
    "float32 declared as bfloat16": ({"dtype": mx.float32}, {}),
    "nothing declared": ({"torch_dtype": None}, {}),
    "qwen2": ({"model_type": "qwen2", "head_dim": None}, {}),
    "3-bit, group 32": ({"moe": True}, {"bits": 3, "group_size": 32}),
    "8-bit, group 128": (
        {"moe": True, "moe_intermediate_size": 128},
        {"bits": 8, "group_size": 128},
    ),
    "mxfp4": ({"moe": True}, {"mode": "mxfp4"}),
    "nvfp4": ({}, {"mode": "nvfp4"}),
    "mxfp8": ({}, {"mode": "mxfp8"}),
    # float32: MLX's CPU backend multiplies unquantised experts in nothing else.
    "width no group divides": (
        {
            "moe": True,
            "moe_intermediate_size": 96,
            "dtype": mx.float32,
            "torch_dtype": "float32",
        },
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_bytes_as_convert_and_mlx_lm_loads_them(
    case: str, make: Callable[..., Path], add_tokenizer: Callable[[Path], None], tmp_path: Path
):
    from mlx_lm import convert
    from mlx_lm.utils import load_model

    source_options, choice = CASES[case]
    source = make(**source_options)
    add_tokenizer(source)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    names = {"bits": "q_bits", "group_size": "q_group_size", "mode": "q_mode"}
    arguments = {names[key]: value for key, value in choice.items()}
    convert(str(source), str(theirs), quantize=True, **arguments)
    result = quantise(source, ours, recipe=choose_recipe(None, "fast", **choice))

    assert tensors(ours) == tensors(theirs)
    index, expected = (
        json.loads((f / "model.safetensors.index.json").read_text()) for f in (ours, theirs)
    )
    assert index == expected
    assert list(index["weight_map"]) == sorted(index["weight_map"])
    assert result.tensors == len(index["weight_map"])

    ours_model, _ = load_model(ours, strict=True)
    theirs_model, _ = load_model(theirs, strict=True)
    tokens = mx.array([[3, 141, 59, 26]])
    assert mx.array_equal(ours_model(tokens), theirs_model(tokens))
    assert (ours / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()

    # What mlx-lm converts we load, and in float32 both compute the same.
    read = load.load_model(theirs)[0](tokens)
    assert mx.array_equal(read, load.load_model(ours)[0](tokens))
    theirs_model.set_dtype(mx.float32)
    difference = mx.linalg.norm(read - theirs_model(tokens)) / mx.linalg.norm(read)
    assert difference.item() < 1e-4
