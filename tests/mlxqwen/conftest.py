"""A small random model with a byte-level tokenizer and a chat template, for whatever runs one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.load import load_model
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CONFIG: dict[str, Any] = {
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
HYBRID: dict[str, Any] = {
    "model_type": "qwen3_next",
    "full_attention_interval": 2,
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
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


def _write_weights(folder: Path, config: dict[str, Any]) -> None:
    expected = dict(expected_tensors(ModelConfig.parse(config)))
    keys = mx.random.split(mx.random.key(11), len(expected))
    weights = {
        name: mx.random.normal(shape, key=key) * 0.3
        for (name, shape), key in zip(expected.items(), keys, strict=True)
    }
    # Experts stacked, convolutions as MLX wants them: the mark says so.
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


def _write(folder: Path, config: dict[str, Any]) -> Path:
    _write_tokenizer(folder)
    _write_weights(folder, config)
    (folder / "config.json").write_text(json.dumps(config))
    sampling = {"do_sample": True, "temperature": 0.9, "top_k": 40, "eos_token_id": [257]}
    (folder / "generation_config.json").write_text(json.dumps(sampling))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that answers gibberish, quickly."""
    return _write(tmp_path_factory.mktemp("tiny"), CONFIG)


@pytest.fixture(scope="session")
def tiny_hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a gated delta net in its first layer and experts in both."""
    return _write(tmp_path_factory.mktemp("hybrid"), {**CONFIG, **HYBRID})


@pytest.fixture(scope="session")
def model(tiny: Path) -> Model:
    """The model in that folder."""
    return load_model(tiny)[0]
