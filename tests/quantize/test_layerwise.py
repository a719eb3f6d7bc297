"""One layer at a time computes what the loaded model computes, bit for bit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.load import load_model
from mlxqwen.model.linear import Stored
from quantize.layerwise import Layerwise

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from cases import CASES, CASES_NEXT
from checkpoints import Case, prompts, write

Make = Callable[..., Path]


def run(source: Layerwise, tokens: mx.array) -> mx.array:
    step = source.step(tokens.shape[1])
    x = source.embed(tokens)
    for index in range(source.config.num_hidden_layers):
        x = source.layer(index)(x, None, step)
    return source.logits(x)


@pytest.mark.parametrize("case", CASES + CASES_NEXT, ids=lambda case: case.name)
def test_logits_are_those_of_the_loaded_model(case: Case, tmp_path: Path) -> None:
    write(case, tmp_path)
    model, _ = load_model(tmp_path)
    tokens = mx.array([prompts(case)[0]])
    logits = run(Layerwise.open(tmp_path), tokens)
    assert logits.dtype == model.dtype
    assert mx.array_equal(logits, model(tokens))


def test_released_parts_are_read_again(make: Make) -> None:
    source = Layerwise.open(make(tie_word_embeddings=True))
    tokens = mx.arange(6)[None]
    first = run(source, tokens)
    source.release()
    assert mx.array_equal(first, run(source, tokens))


def test_replaced_matrices_take_effect_and_others_stay(make: Make) -> None:
    source = Layerwise.open(make(moe=True))
    seen: list[str] = []

    def replace(module: str, matrix: Stored) -> Stored:
        seen.append(module)
        if not module.endswith("o_proj"):
            return matrix
        return Stored(mx.zeros_like(matrix.weight), None, None, None)

    layer = source.layer_with(1, replace)
    path = "model.layers.1"
    names = [f"self_attn.{n}_proj" for n in "qkvo"] + ["mlp.gate"]
    names += [f"mlp.switch_mlp.{n}_proj" for n in ("gate", "up", "down")]
    assert seen == [f"{path}.{name}" for name in names]
    x = mx.random.normal((1, 5, source.config.hidden_size), key=mx.random.key(3))
    plain = source.layer(1)
    assert mx.array_equal(
        layer(x, None, source.step(5)), x + plain.mlp(plain.post_attention_layernorm(x))
    )


def test_a_tied_head_is_replaced_by_the_name_of_the_table(make: Make) -> None:
    source = Layerwise.open(make(tie_word_embeddings=True))
    seen: list[str] = []

    def replace(module: str, matrix: Stored) -> Stored:
        seen.append(module)
        return Stored(-matrix.weight, None, None, None)

    head = source.head(replace)
    assert seen == ["model.embed_tokens"]
    x = mx.random.normal((2, 3, source.config.hidden_size), key=mx.random.key(5))
    assert mx.array_equal(head(x), -source.logits(x))
