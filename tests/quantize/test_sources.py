from __future__ import annotations

import json
from math import prod

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.config import ModelConfig
from quantize.plan import pieces_of
from quantize.sources import open_source, target_dtype


def gathered(folder):
    return open_source(Directory.open(folder))[1].origins


def refused(folder, error):
    with pytest.raises(error) as caught:
        open_source(Directory.open(folder))
    assert caught.value.hint
    return caught.value.what


def test_experts_spread_over_shards_fill_their_slots(make):
    folder = make(moe=True, shards=2)
    tensors = gathered(folder)
    stack = tensors["model.layers.1.mlp.switch_mlp.down_proj.weight"]
    assert stack.shape == (4, 128, 64)
    pieces = list(pieces_of(stack))
    sources = [piece.part.views[0].info for piece in pieces]
    assert [(info.name, piece.row) for info, piece in zip(sources, pieces, strict=True)] == [
        (f"model.layers.1.mlp.experts.{n}.down_proj.weight", 128 * n) for n in range(4)
    ]
    assert len({info.path for info in sources}) == 2
    assert not [name for name in tensors if ".experts." in name]


def test_plain_and_already_stacked_tensors_are_one_piece(make):
    tensors = gathered(make(moe=True, stacked=True))
    assert all(len(t.parts) == 1 for t in tensors.values())
    assert next(iter(tensors)) == "model.embed_tokens.weight"
    assert list(tensors)[-2:] == ["model.norm.weight", "lm_head.weight"]


def test_tied_head_and_computed_frequencies_are_dropped(make):
    extra = {
        "lm_head.weight": mx.zeros((512, 128)),
        "model.layers.0.self_attn.rotary_emb.inv_freq": mx.zeros((16,)),
    }
    tensors = gathered(make(tie_word_embeddings=True, extra=extra))
    assert not [name for name in tensors if "lm_head" in name or "inv_freq" in name]


def test_tied_head_may_be_absent(make):
    assert "lm_head.weight" not in gathered(make(tie_word_embeddings=True))


@pytest.mark.parametrize(
    ("drop", "moe", "told"),
    [
        (("model.layers.1.mlp.experts.2.up_proj.weight",), True, "lacks 1 of"),
        (("lm_head.weight", "model.norm.weight"), False, "lacks 2 of"),
        (("model.layers.0.self_attn.k_norm.weight",), False, "lacks 1 of"),
    ],
)
def test_missing_tensors_are_named(make, drop, moe, told):
    what = refused(make(moe=moe, drop=drop), CheckpointError)
    assert told in what
    assert drop[-1] in what


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.layers.0.self_attn.q_proj.weight_scale_inv", "config.json does not call for"),
        ("model.layers.0.self_attn.q_proj.scales", "config.json does not call for"),
        ("mtp.layers.0.self_attn.q_proj.weight", "config.json does not call for"),
        ("model.layers.2.input_layernorm.weight", "config.json does not call for"),
        ("model.layers.0.self_attn.q_proj.bias", "config.json does not call for"),
    ],
)
def test_unknown_tensors_and_layouts_are_named(make, name, told):
    what = refused(make(extra={name: mx.zeros((4, 4))}), UnsupportedModel)
    assert told in what
    assert name in what


def test_expert_beyond_the_count_is_unknown(make):
    name = "model.layers.0.mlp.experts.4.up_proj.weight"
    assert name in refused(make(moe=True, extra={name: mx.zeros((64, 128))}), UnsupportedModel)


def test_packed_numbers_without_their_description_are_refused(make):
    packed = {"lm_head.weight": mx.zeros((512, 16), mx.uint32)}
    assert "config.json does not say" in refused(make(extra=packed), CheckpointError)
    integers = {"lm_head.weight": mx.zeros((512, 128), mx.int8)}
    assert "dtype I8" in refused(make("integers", extra=integers), UnsupportedModel)


def test_wrong_shape_and_unknown_architecture(make):
    norm = {"model.norm.weight": mx.zeros((64,), mx.bfloat16)}
    what = refused(make(extra=norm), CheckpointError)
    assert "[64], but config.json calls for [128]" in what
    folder = make("other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    assert "llama" in refused(folder, UnsupportedModel)


def test_declared_dtype_wins_and_mixed_stacks_need_one(make):
    folder = make(moe=True, dtype=mx.float32, torch_dtype=None)
    tensor = gathered(folder)["model.layers.0.mlp.switch_mlp.up_proj.weight"]
    assert target_dtype({}, tensor) == "F32"
    assert target_dtype({"torch_dtype": "bfloat16"}, tensor) == "BF16"
    assert target_dtype({"dtype": "float16"}, tensor) == "F16"
    odd = {"model.layers.0.mlp.experts.1.up_proj.weight": mx.zeros((64, 128), mx.float16)}
    mixed = gathered(make("mixed", moe=True, extra=odd))
    stack = mixed["model.layers.0.mlp.switch_mlp.up_proj.weight"]
    with pytest.raises(CheckpointError, match="dtypes BF16 and F16"):
        target_dtype({}, stack)
    assert target_dtype({"torch_dtype": "bfloat16"}, stack) == "BF16"


def test_parameters_of_released_models():
    # Totals the hub lists for Qwen/QwQ-32B and Qwen/Qwen3-Coder-30B-A3B-Instruct.
    common = {"max_position_embeddings": 40960, "head_dim": 128}
    qwq = common | {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
    }
    coder = common | {
        "model_type": "qwen3_moe",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5472,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    for config, total in ((qwq, 32_763_876_352), (coder, 30_532_122_624)):
        shapes = [shape for _, shape in expected_tensors(ModelConfig.parse(config))]
        assert sum(prod(shape) for shape in shapes) == total
