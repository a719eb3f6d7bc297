"""A checkpoint's headers become a layout: for each canonical tensor, how and where it is stored.

Loader, quantiser and memory plan all read this one description. It is complete: every tensor that
the configuration calls for has an origin of the right shape, and every stored tensor is used or
accounted for, since one that is neither could change the model's mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CheckpointError, UnsupportedModel
from ..model.config import ModelConfig
from .converted import is_converted
from .directory import Directory
from .expected import expected_tensors, is_exact, is_zero_centred
from .matrices import Finder
from .methods import parse_method
from .names import LeftOut, text_model
from .origins import Origin, Plain, Storage, View
from .safetensors import TensorInfo

_OTHER_MODEL = "Check that config.json and the shards belong to the same model."


@dataclass(frozen=True, slots=True)
class Layout:
    """``origins`` by canonical name in natural order, and the parts that are not read."""

    origins: Mapping[str, Origin]
    left_out: tuple[LeftOut, ...]


def read_layout(directory: Directory, config: ModelConfig) -> Layout:
    """Classifies every tensor of a checkpoint.

    Raises:
        UnsupportedModel: a layout or quantisation that is not read here, named.
        CheckpointError: tensors are missing, contradict each other, or have another shape than
            the configuration says.
    """
    method = parse_method(directory.config)
    remaining, left_out = text_model(directory.tensors.values(), config)
    zero_centred = config.zero_centred_norms and not is_converted(directory, remaining, config)
    finder = Finder(remaining, method, config)
    origins: dict[str, Origin] = {}
    for name, shape in expected_tensors(config):
        parts = _parts(finder, name, shape)
        if parts:
            plus_one = zero_centred and is_zero_centred(name, config)
            origins[name] = Origin(name, shape, parts, plus_one, is_exact(name, config))
    finder.finish()
    # First what is there and unknown: of a foreign layout the expected names are missing as well.
    if remaining:
        raise _unknown(directory, remaining)
    if finder.missing:
        raise CheckpointError(
            f"{directory.path} lacks {len(finder.missing)} of the tensors its config.json calls "
            f"for, first {finder.missing[0]}.",
            "Download all its shards again.",
        )
    return Layout(origins, left_out)


def _parts(finder: Finder, name: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
    module, _, kind = name.rpartition(".")
    if kind == "weight" and module.endswith(".conv1d"):
        return _convolution(finder, name, shape)
    if kind == "weight" and len(shape) > 1:
        return finder.matrix(module, shape)
    return finder.plain(name, shape)


def _convolution(finder: Finder, name: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
    """(C, 1, K) and (C, K, 1) hold the same numbers in the same order."""
    channels, kernel, _ = shape
    info = finder.remaining.get(name)
    if info is not None and info.shape == (channels, 1, kernel):
        del finder.remaining[name]
        return (Plain(View(info), shape),)
    return finder.plain(name, shape)


def _unknown(
    directory: Directory, remaining: Mapping[str, TensorInfo]
) -> CheckpointError | UnsupportedModel:
    names = sorted(info.name for info in remaining.values())
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return UnsupportedModel(
        f"{directory.path} holds {names[0]}{more}, which its config.json does not call for.",
        _OTHER_MODEL,
    )
