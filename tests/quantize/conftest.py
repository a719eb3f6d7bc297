"""Small random checkpoints in the layouts that the hub has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.model.config import ModelConfig

BASE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "max_position_embeddings": 512,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "eos_token_id": 1,
}
MOE: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}

Make = Callable[..., Path]

# A checkpoint of 90 kB in which every kind of tensor occurs.
TINY: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_experts": 2,
    "moe_intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.fixture
def tiny(make: Make) -> Path:
    """A mixture of experts in three shards that together have 90 kB."""
    return make(moe=True, shards=3, **TINY)


@pytest.fixture
def remote() -> Any:
    """The class ``Remote`` of doubles.py, which crashing.py uses as a program of its own."""
    spec = spec_from_file_location("doubles", Path(__file__).with_name("doubles.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Remote


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, moe=, dtype=, shards=, stacked=, extra=, drop=, **config)`` → its folder."""

    def build(
        name: str = "source",
        *,
        moe: bool = False,
        dtype: mx.Dtype = mx.bfloat16,
        shards: int = 1,
        stacked: bool = False,
        extra: Mapping[str, mx.array] | None = None,
        drop: tuple[str, ...] = (),
        **config: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        fields = {**BASE, **(MOE if moe else {}), **config}
        (folder / "config.json").write_text(json.dumps(fields))
        key = mx.random.key(7)
        tensors: dict[str, mx.array] = {}
        for tensor, shape in expected_tensors(ModelConfig.parse(fields)):
            key, own = mx.random.split(key)
            # Not centred, so that scales and biases of groups differ in size and sign.
            values = 0.05 + mx.random.normal(shape, key=own) * (1 + prod(shape) % 3)
            if ".switch_mlp." in tensor and not stacked:
                for number in range(shape[0]):
                    single = tensor.replace(".switch_mlp.", f".experts.{number}.")
                    tensors[single] = values[number].astype(dtype)
            else:
                tensors[tensor] = values.astype(dtype)
        tensors |= extra or {}
        names = sorted(set(tensors) - set(drop))
        weight_map: dict[str, str] = {}
        for index in range(shards):
            file = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
            file = file if shards > 1 else "model.safetensors"
            # Every shards-th tensor: the experts of one layer lie in different files.
            part = {n: tensors[n] for n in names[index::shards]}
            mx.save_safetensors(str(folder / file), part, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, file)
        if shards > 1:
            text = json.dumps({"metadata": {}, "weight_map": weight_map})
            (folder / "model.safetensors.index.json").write_text(text)
        (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
        return folder

    return build


@pytest.fixture
def crowded(make: Make) -> Make:
    """``crowded(extra=, **fields)``: like ``make``, with token vectors in 12 dimensions.

    Those of trained models crowd into few dimensions too; that leaves scales something to learn.
    Other matrices keep the size of what they multiply.
    """

    def build(*, extra: Mapping[str, mx.array] | None = None, **fields: Any) -> Path:
        moe = MOE if fields.get("moe") else {}
        own = {name: value for name, value in fields.items() if name != "moe"}
        expected = list(expected_tensors(ModelConfig.parse({**BASE, **moe, **own})))
        keys = mx.random.split(mx.random.key(4), 2 * len(expected))
        tensors: dict[str, mx.array] = {}
        for (name, shape), first, second in zip(expected, keys[::2], keys[1::2], strict=True):
            values = mx.random.normal(shape, key=first) * shape[-1] ** -0.5
            if len(shape) == 1:
                values = mx.ones(shape)
            elif "embed_tokens" in name:
                few = mx.random.normal((shape[0], 12), key=first)
                values = few @ mx.random.normal((12, shape[1]), key=second)
            tensors[name] = values.astype(mx.bfloat16)
        return make(stacked=True, extra={**tensors, **(extra or {})}, **fields)

    return build


@pytest.fixture
def add_tokenizer() -> Callable[[Path], None]:
    """Gives a folder a real, tiny tokenizer (transformers must be able to load it)."""

    def add(folder: Path) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|endoftext|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(["a small text about a small model"], trainer)
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    return add
