"""What of a checkpoint is quantised, in which dtype, and whether quantising it makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import Layout, read_layout
from mlxqwen.checkpoint.methods import parse_method
from mlxqwen.checkpoint.origins import Awq, Gptq, Origin, Packed
from mlxqwen.checkpoint.quantspec import Quantization
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.config import ModelConfig

_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def open_source(directory: Directory) -> tuple[ModelConfig, Layout]:
    """The text model of a checkpoint and its tensors.

    Raises:
        UnsupportedModel: An architecture, quantisation or layout that is not read here.
        CheckpointError: Tensors are missing, or one has another shape than the configuration says.
    """
    config = ModelConfig.parse(directory.config)
    return config, read_layout(directory, config)


def target_dtype(config: Mapping[str, object], origin: Origin) -> str:
    """The dtype of a tensor in the output: the one the configuration declares, else its own.

    ``A_log`` keeps its own, as in mlx_lm.convert: decay is its double exponential.

    Raises:
        CheckpointError: Nothing is declared and the experts of one stack differ.
    """
    dtypes = sorted({part.dtype for part in origin.parts})
    if origin.name.endswith(".A_log"):
        return dtypes[0]
    declared = _declared(config)
    if declared is not None:
        return declared
    if len(dtypes) > 1:
        raise CheckpointError(
            f"The experts of {origin.name} have dtypes {' and '.join(dtypes)}.",
            "Declare torch_dtype in config.json.",
        )
    return dtypes[0]


def _declared(config: Mapping[str, object]) -> str | None:
    """``torch_dtype`` or ``dtype``, of the text model or of what wraps it."""
    sections = [config]
    for section in sections:
        for key in ("torch_dtype", "dtype"):
            value = section.get(key)
            if isinstance(value, str) and value in _NAMES:
                return _NAMES[value]
        for key in ("text_config", "thinker_config"):
            inner = section.get(key)
            if isinstance(inner, Mapping):
                sections.append(cast("Mapping[str, object]", inner))
    return None


def packed_format(origin: Origin) -> str:
    """The name of the four- or eight-bit format that a tensor is in; "" where it is in none."""
    match origin.parts[0]:
        case Packed():
            return "MLX"
        case Gptq():
            return "GPTQ"
        case Awq():
            return "AWQ"
        case _:
            return ""


def refuse_growth(directory: Directory, layout: Layout, tensor_bytes: int) -> None:
    """Refuses to write no fewer bytes than an MLX source has: rounding again only loses.

    Raises:
        UnsupportedModel: The source is an MLX-quantised model and the output would be no smaller.
    """
    if not isinstance(parse_method(directory.config), Quantization):
        return
    stored = sum(origin.nbytes for origin in layout.origins.values())
    if tensor_bytes >= stored:
        raise UnsupportedModel(
            f"{directory.path} is already quantised for MLX to {stored:,} bytes; this recipe would "
            f"write {tensor_bytes:,} and only lose precision.",
            "Start from the unquantised release, or ask for fewer bits.",
        )
