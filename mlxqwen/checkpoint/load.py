"""A folder becomes a model: the one place where files, configuration and layers meet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from ..device import device
from ..model.config import ModelConfig, token_ids
from ..model.decoder import Model
from ..model.linear import arrays_of
from ..model.params import Params
from .directory import Directory
from .layouts import Layout, read_layout
from .numbers import origin_arrays
from .quantspec import QuantSpec
from .stored import LazyShards, float_dtype

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer


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


def load_model(
    source: Directory | str | os.PathLike[str], config: ModelConfig | None = None
) -> tuple[Model, ModelConfig]:
    """``load`` without the tokenizer; ``config`` in place of what the folder says."""
    directory = source if isinstance(source, Directory) else Directory.open(Path(source))
    config = ModelConfig.parse(directory.config) if config is None else config
    layout = read_layout(directory, config)
    dtype = float_dtype(layout.origins["model.norm.weight"].parts[0].dtype)
    params = Params(*_tensors(directory, layout), device().compute_dtype(dtype))
    model = Model.build(config, params)
    left = params.remaining()
    assert not left, f"the decoder left {left[0]}, which expected_tensors names"
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


def _tensors(
    directory: Directory, layout: Layout
) -> tuple[dict[str, mx.array], dict[str, QuantSpec]]:
    """Lazy arrays by canonical name, and how modules are packed; nothing is read yet."""
    # Lives only here: an array that it kept would stay in memory beside what is made of it.
    shards = LazyShards.open(directory.shards)
    arrays: dict[str, mx.array] = {}
    specs: dict[str, QuantSpec] = {}
    for origin in layout.origins.values():
        arrays.update(origin_arrays(origin, shards))
        if origin.spec is not None:
            specs[origin.module] = origin.spec
    return arrays, specs
