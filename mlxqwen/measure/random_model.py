"""A model given as a configuration alone, filled with random 4-bit weights of its real shapes.

What is measured on it is what the real one would take: speed depends on shapes, not on values.
The folder has the form that both our runtime and mlx-lm read. Values keep activations finite and
spread the router's choice over the experts; they say nothing that makes sense.
"""

from __future__ import annotations

import json
import math
import random
import struct
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, cast

from ..checkpoint.expected import expected_tensors
from ..checkpoint.quantspec import Quantization, QuantSpec, format_quantization
from ..checkpoint.safetensors import DTYPE_BYTES, SafetensorsWriter
from ..errors import UsageError
from ..model.config import ModelConfig

_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
# What a converter of mlx-lm keeps in 8 bits: the choice of experts suffers most from rounding.
_EIGHT_BITS = (".mlp.gate", ".mlp.shared_expert_gate")
_NESTED = ("text_config", "thinker_config")
# Random bytes are drawn once and written again and again; the odd length shifts them against rows.
_POOL_BYTES = (4 << 20) + 20

_Tensor = tuple[str, str, tuple[int, ...]]


@contextmanager
def random_model(source: Path, layers: int | None = None) -> Generator[Path]:
    """A folder with random weights for the ``config.json`` at ``source``, removed afterwards.

    Args:
        layers: Writes so many of the model's layers; all by default.

    Raises:
        UsageError: ``source`` is no such file, or ``layers`` is not within the model.
        UnsupportedModel: A configuration that we cannot run.
        OutputError: The weights do not fit on the disk.
    """
    config = reduced(_read(source), layers)
    with tempfile.TemporaryDirectory(prefix="mlxqwen-random-") as folder:
        write_random(Path(folder), config)
        yield Path(folder)


def reduced(config: Mapping[str, Any], layers: int | None) -> dict[str, Any]:
    """The configuration with fewer layers. Raises ``UsageError`` where it has not so many."""
    if any(name in config for name in _NESTED):
        raise UsageError(
            "The configuration is that of a multimodal model, which --random does not fill.",
            "Give that of a text model.",
        )
    count = ModelConfig.parse(config).num_hidden_layers
    wanted = count if layers is None else layers
    if not 1 <= wanted <= count:
        raise UsageError(f"layers is {wanted}; this configuration has 1 to {count}.")
    changed = dict(config) | {"num_hidden_layers": wanted}
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        changed["layer_types"] = cast("list[Any]", kinds)[:wanted]
    return changed


def write_random(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes configuration, weights and a tokenizer of one word into ``folder``."""
    model = ModelConfig.parse(config)
    named: object = config.get("torch_dtype", config.get("dtype"))
    dtype = _DTYPES.get(str(named), "BF16")
    shapes = dict(expected_tensors(model))
    quantization = _quantization(shapes)
    tensors = [
        tensor
        for name, shape in shapes.items()
        for tensor in _stored(name, shape, dtype, quantization)
    ]
    pool = random.Random(30_000).randbytes(_POOL_BYTES)
    path = folder / "model.safetensors"
    with SafetensorsWriter(path, tensors, {"format": "mlx"}) as writer:
        for name, kind, shape in tensors:
            size = prod(shape) * DTYPE_BYTES[kind]
            for offset, piece in _content(name, kind, size, shapes, quantization, pool):
                writer.write(name, piece, offset=offset)
    block = format_quantization(quantization)
    kept = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config")}
    files: dict[str, Any] = {
        "config.json": kept | {"quantization": block},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<0>",
        },
    }
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")


def _read(source: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{source} cannot be read as a model's configuration: {error}",
            "Give the config.json of a model.",
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"{source} holds no object.", "Give the config.json of a model.")
    return cast("dict[str, Any]", found)


def _quantization(shapes: Mapping[str, tuple[int, ...]]) -> Quantization:
    """4 bits in groups of 64, with what departs from it."""
    overrides: dict[str, QuantSpec | None] = {}
    default = QuantSpec(4, 64)
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if len(shape) < 2 or module.endswith(".conv1d"):
            continue
        group = next((size for size in (64, 32) if shape[-1] % size == 0), None)
        bits = 8 if module.endswith(_EIGHT_BITS) else 4
        spec = None if group is None else QuantSpec(bits, group)
        if spec != default:
            overrides[module] = spec
    return Quantization(default, overrides)


def _spec(name: str, shape: tuple[int, ...], quantization: Quantization) -> QuantSpec | None:
    module = name.removesuffix(".weight")
    matrix = len(shape) > 1 and not module.endswith(".conv1d")
    return quantization.of(module) if matrix else None


def _stored(
    name: str, shape: tuple[int, ...], dtype: str, quantization: Quantization
) -> Iterator[_Tensor]:
    """The tensors that a file holds for one of the model's."""
    spec = _spec(name, shape, quantization)
    if spec is None:
        yield name, dtype, shape
        return
    module, (*lead, width) = name.removesuffix(".weight"), shape
    yield name, "U32", (*lead, width * spec.bits // 32)
    yield f"{module}.scales", dtype, (*lead, width // spec.group_size)
    yield f"{module}.biases", dtype, (*lead, width // spec.group_size)


def _content(
    name: str,
    kind: str,
    size: int,
    shapes: Mapping[str, tuple[int, ...]],
    quantization: Quantization,
    pool: bytes,
) -> Iterator[tuple[int, memoryview]]:
    """The bytes of a stored tensor, in pieces with their offsets."""
    block = pool if kind == "U32" else _number(_value(name, shapes, quantization), kind) * (1 << 16)
    view = memoryview(block)
    for offset in range(0, size, len(block)):
        yield offset, view[: size - offset]


def _value(name: str, shapes: Mapping[str, tuple[int, ...]], quantization: Quantization) -> float:
    """What every number of an unpacked tensor is.

    A packed row of n weights, uniform in 2ᵇ steps, gets scale and bias that make their mean 0 and
    their variance 1/n: products then keep the size of what goes in.
    """
    module, _, part = name.rpartition(".")
    if part in ("scales", "biases") and f"{module}.weight" in shapes:
        weight = shapes[f"{module}.weight"]
        spec = _spec(f"{module}.weight", weight, quantization)
        assert spec is not None
        steps = (1 << spec.bits) - 1
        scale = math.sqrt(12 / weight[-1]) / steps
        return scale if part == "scales" else -scale * steps / 2
    if module.endswith(".conv1d"):
        return 1 / shapes[name][1]
    if part == "weight" and len(shapes[name]) > 1:
        return 1 / shapes[name][-1]
    return 1.0 if part == "weight" else 0.0


def _number(value: float, kind: str) -> bytes:
    if kind == "F16":
        return struct.pack("<e", value)
    # The upper half of a float32 is the bfloat16 below it.
    return struct.pack("<f", value)[2 if kind == "BF16" else 0 :]


def _tokenizer() -> dict[str, Any]:
    """A tokenizer that both sides load; prompts are measured as ids, so it is never used."""
    return {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"<0>": 0}, "unk_token": "<0>"},
    }
