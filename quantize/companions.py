"""The small files beside the weights: copied from the source, or written for the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mlxqwen.checkpoint.directory import INDEX_NAME, Directory
from mlxqwen.checkpoint.quantspec import format_quantization
from mlxqwen.errors import CheckpointError
from mlxqwen.model.config import ModelConfig

from .configuration import output_config
from .plan import Plan

# Copied byte for byte: a rewritten tokenizer or template is a different one for other programs.
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
)


def companion_bytes(source: Path) -> int:
    """Bytes of the files that will be copied."""
    return sum((source / name).stat().st_size for name in COPIED if (source / name).is_file())


def copied_files(source: Path) -> Mapping[str, bytes]:
    """The source's own small files by name.

    Raises:
        CheckpointError: One cannot be read.
    """
    found: dict[str, bytes] = {}
    for name in COPIED:
        if (source / name).is_file():
            try:
                found[name] = (source / name).read_bytes()
            except OSError as error:
                raise CheckpointError(
                    f"{source / name} cannot be read: {error.strerror}.", "Check its permissions."
                ) from error
    return found


def index_file(plan: Plan) -> tuple[str, bytes]:
    """Name and text of the table that says which tensor lies in which file."""
    index = {
        "metadata": {"total_size": plan.tensor_bytes, "total_parameters": plan.parameters},
        "weight_map": plan.weight_map,
    }
    return INDEX_NAME, _json(index)


def config_file(directory: Directory, plan: Plan) -> tuple[str, bytes]:
    """Name and text of the configuration, with every override of the quantisation in full."""
    block = format_quantization(plan.quantization)
    config = output_config(directory.config, ModelConfig.parse(directory.config), block)
    return "config.json", _json(config)


def _json(value: object) -> bytes:
    # In ASCII: a string of the source may hold half a surrogate pair, which UTF-8 cannot.
    return (json.dumps(value, indent=4) + "\n").encode()
