"""Loading: what is wrong with a checkpoint is said by the name of the file or tensor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.load import load_model
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.linear import arrays_of

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "head_dim": 32,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def tensors(config: dict[str, Any]) -> dict[str, mx.array]:
    width, dim = config["hidden_size"], config["head_dim"]
    shapes = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        path = f"model.layers.{layer}"
        shapes |= {
            f"{path}.input_layernorm.weight": (width,),
            f"{path}.post_attention_layernorm.weight": (width,),
            f"{path}.self_attn.q_proj.weight": (config["num_attention_heads"] * dim, width),
            f"{path}.self_attn.k_proj.weight": (config["num_key_value_heads"] * dim, width),
            f"{path}.self_attn.v_proj.weight": (config["num_key_value_heads"] * dim, width),
            f"{path}.self_attn.o_proj.weight": (width, config["num_attention_heads"] * dim),
            f"{path}.self_attn.q_norm.weight": (dim,),
            f"{path}.self_attn.k_norm.weight": (dim,),
            f"{path}.mlp.gate_proj.weight": (config["intermediate_size"], width),
            f"{path}.mlp.up_proj.weight": (config["intermediate_size"], width),
            f"{path}.mlp.down_proj.weight": (width, config["intermediate_size"]),
        }
    keys = mx.random.split(mx.random.key(0), len(shapes))
    return {
        name: (mx.random.normal(shape, key=key) * 0.1).astype(mx.bfloat16)
        for (name, shape), key in zip(shapes.items(), keys, strict=True)
    }


Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes a checkpoint, with tensors replaced (None removes one) and config keys changed."""

    def writer(replace: dict[str, mx.array | None] | None = None, **change: Any) -> Path:
        stored: dict[str, mx.array | None] = {**tensors(CONFIG), **(replace or {})}
        kept = {name: array for name, array in stored.items() if array is not None}
        mx.save_safetensors(str(tmp_path / "model.safetensors"), kept)
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **change}))
        return tmp_path

    return writer


def test_every_array_is_evaluated_and_in_the_compute_dtype(write: Writer) -> None:
    model, _ = load_model(write())
    arrays = list(arrays_of(model))
    assert len(arrays) == 1 + 1 + 1 + 2 * 8  # embedding, norm, tied head; eight per layer
    assert {array.dtype for array in arrays} == {model.dtype}


def test_fusing_keeps_no_originals(write: Writer) -> None:
    path = write()
    mx.clear_cache()
    before = mx.get_active_memory()
    model, _ = load_model(path)
    held = {id(array): array.nbytes for array in arrays_of(model)}
    # The tied head shares the embedding's array.
    assert mx.get_active_memory() - before <= sum(held.values()) + 4096


def test_a_missing_tensor_is_named(write: Writer) -> None:
    path = write({"model.layers.1.mlp.up_proj.weight": None})
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(path)


def test_a_surplus_tensor_is_named(write: Writer) -> None:
    path = write({"model.layers.0.self_attn.q_proj.bias": mx.zeros((64,))})
    with pytest.raises(UnsupportedModel, match=r"q_proj\.bias"):
        load_model(path)


def test_a_wrong_shape_is_named(write: Writer) -> None:
    path = write({"model.layers.0.mlp.down_proj.weight": mx.zeros((64, 64))})
    with pytest.raises(CheckpointError, match=r"down_proj\.weight has shape .*\[64, 128\]"):
        load_model(path)


def test_a_config_with_more_layers_than_weights(write: Writer) -> None:
    with pytest.raises(CheckpointError, match=r"model\.layers\.2"):
        load_model(write(num_hidden_layers=3))


def test_packed_weights_without_their_description(write: Writer) -> None:
    name = "model.layers.0.mlp.down_proj"
    packed, scales, biases = mx.quantize(tensors(CONFIG)[f"{name}.weight"], group_size=64, bits=4)
    parts = {f"{name}.weight": packed, f"{name}.scales": scales, f"{name}.biases": biases}
    with pytest.raises(CheckpointError, match=r"config\.json does not say"):
        load_model(write(parts))
    model, _ = load_model(write(parts, quantization={"group_size": 64, "bits": 4}))
    assert mx.isfinite(model(mx.array([[1, 2, 3]]))).all()


def test_mixed_quantisation_within_a_fusion(write: Writer) -> None:
    parts: dict[str, mx.array | None] = {}
    for projection, bits in (("q_proj", 8), ("k_proj", 4), ("v_proj", 4)):
        name = f"model.layers.0.self_attn.{projection}"
        packed, scales, biases = mx.quantize(
            tensors(CONFIG)[f"{name}.weight"], group_size=64, bits=bits
        )
        parts |= {f"{name}.weight": packed, f"{name}.scales": scales, f"{name}.biases": biases}
    override = {"model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 8}}
    model, _ = load_model(write(parts, quantization={"group_size": 64, "bits": 4, **override}))
    plain, _ = load_model(write())
    tokens = mx.array([[5, 6, 7]])
    difference = mx.linalg.norm(model(tokens) - plain(tokens)) / mx.linalg.norm(plain(tokens))
    assert difference.item() < 0.1


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int16, mx.int32, mx.int64, mx.uint32])
def test_tokens_of_any_integer_dtype(write: Writer, dtype: mx.Dtype) -> None:
    model, config = load_model(write())
    logits = model(mx.array([[1, 2, 3]], dtype=dtype))
    assert logits.shape == (1, 3, config.vocab_size)
    assert mx.array_equal(logits, model(mx.array([[1, 2, 3]])))
