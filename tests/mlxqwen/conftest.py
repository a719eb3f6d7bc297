"""A small random model with a byte-level tokenizer and a chat template, for whatever runs one."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlxqwen.checkpoint.load import load_model
from mlxqwen.model.decoder import Model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "vocab_size": 320,  # more than the tokenizer has: padded, as in the released models
}


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_weights(folder: Path) -> None:
    width, dim, inner = 64, 32, 96
    shapes = {"model.embed_tokens.weight": (320, width), "model.norm.weight": (width,)}
    for layer in range(2):
        path = f"model.layers.{layer}"
        shapes |= {
            f"{path}.input_layernorm.weight": (width,),
            f"{path}.post_attention_layernorm.weight": (width,),
            f"{path}.self_attn.q_norm.weight": (dim,),
            f"{path}.self_attn.k_norm.weight": (dim,),
            f"{path}.self_attn.q_proj.weight": (2 * dim, width),
            f"{path}.self_attn.k_proj.weight": (dim, width),
            f"{path}.self_attn.v_proj.weight": (dim, width),
            f"{path}.self_attn.o_proj.weight": (width, 2 * dim),
            f"{path}.mlp.gate_proj.weight": (inner, width),
            f"{path}.mlp.up_proj.weight": (inner, width),
            f"{path}.mlp.down_proj.weight": (width, inner),
        }
    keys = mx.random.split(mx.random.key(11), len(shapes))
    weights = {
        name: mx.random.normal(shape, key=key) * 0.3
        for (name, shape), key in zip(shapes.items(), keys, strict=True)
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that answers gibberish, quickly."""
    folder = tmp_path_factory.mktemp("tiny")
    _write_tokenizer(folder)
    _write_weights(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    sampling = {"do_sample": True, "temperature": 0.9, "top_k": 40, "eos_token_id": [257]}
    (folder / "generation_config.json").write_text(json.dumps(sampling))
    return folder


@pytest.fixture(scope="session")
def model(tiny: Path) -> Model:
    """The model in that folder."""
    return load_model(tiny)[0]
