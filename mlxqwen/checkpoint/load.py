"""A folder becomes a model: the one place where files, configuration and layers meet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from ..device import device
from ..errors import CheckpointError
from ..model.config import ModelConfig, token_ids
from ..model.decoder import Model
from ..model.linear import arrays_of
from ..model.params import Params
from .directory import Directory
from .layouts import Origin, canonical, quantized_modules
from .quantspec import QuantSpec, parse_quantization

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer

_FLOATS = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}


def load(path: str | os.PathLike[str]) -> tuple[Model, Tokenizer, ModelConfig]:
    """Loads the model and tokenizer in folder ``path``.

    Weights are read, cast to the device's compute dtype and fused one layer at a time, so that
    loading holds the model and one layer more.

    Raises:
        CheckpointError: files are missing, damaged or inconsistent.
        UnsupportedModel: an architecture, layout or quantisation that is not implemented.
        TokenizerError: the tokenizer cannot be read.
    """
    from ..text.tokenizer import Tokenizer

    directory = Directory.open(Path(path))
    model, config = load_model(directory)
    return model, Tokenizer.from_directory(directory.path), config


def load_model(source: Directory | str | os.PathLike[str]) -> tuple[Model, ModelConfig]:
    """``load`` without the tokenizer."""
    directory = source if isinstance(source, Directory) else Directory.open(Path(source))
    config = ModelConfig.parse(directory.config)
    origins = canonical(directory.tensors, config)
    specs = _specs(directory, origins)
    stored = (
        _FLOATS.get(origins["model.norm.weight"].dtype)
        if ("model.norm.weight" in origins)
        else None
    )
    if stored is None:
        raise CheckpointError(
            f"{directory.path} has no model.norm.weight in a floating dtype.",
            "The checkpoint is incomplete; download it again.",
        )
    params = Params(_arrays(directory, origins), specs, device().compute_dtype(stored))
    model = Model.build(config, params)
    left = params.remaining()
    if left:
        raise CheckpointError(
            f"{directory.path} holds {left[0]} ({len(left)} such tensors), which a "
            f"{config.model_type} of this configuration does not have.",
            "config.json and weights belong to different models; download both again.",
        )
    for part in (model.embed_tokens, model.norm, *model.layers, model.lm_head):
        mx.eval(list(arrays_of(part)))
    return model, config


def eos_token_ids(
    directory: Directory, config: ModelConfig, tokenizer: Tokenizer
) -> frozenset[int]:
    """Every id that ends a turn: the union of what generation_config, config and tokenizer name.

    Any one of them alone is wrong for some released checkpoint; a model then runs on to the limit.
    """
    named = token_ids(directory.generation_config.get("eos_token_id"), "eos_token_id")
    return frozenset(named) | frozenset(config.eos_token_ids) | tokenizer.eos_token_ids


def _specs(directory: Directory, names: Iterable[str]) -> dict[str, QuantSpec]:
    quantization = parse_quantization(directory.config)
    specs: dict[str, QuantSpec] = {}
    for module in quantized_modules(names):
        spec = quantization.of(module) if quantization is not None else None
        if spec is None:
            raise CheckpointError(
                f"{directory.path} holds packed weights for {module}, but config.json "
                "does not say how they are quantised.",
                "Restore the `quantization` block of config.json, or download it again.",
            )
        specs[module] = spec
    return specs


def _arrays(directory: Directory, origins: dict[str, Origin]) -> dict[str, mx.array]:
    """Lazy arrays by canonical name; nothing is read before it is evaluated."""
    lazy: dict[str, mx.array] = {}
    for shard in directory.shards:
        loaded = mx.load(str(shard), format="safetensors")
        assert isinstance(loaded, dict)
        lazy.update(loaded)
    arrays: dict[str, mx.array] = {}
    for name, origin in origins.items():
        parts = [lazy.pop(part.name) for part in origin.parts]
        arrays[name] = mx.stack(parts) if origin.stacked else parts[0]
    return arrays
