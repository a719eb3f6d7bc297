"""The ``quantization`` block of ``config.json``, read and written.

Its form is that of mlx-lm and mlx-swift: the default's ``group_size``, ``bits`` and ``mode`` lie
beside overrides keyed by module path, each a dictionary of the same three keys or ``false`` for a
module left unquantised. A module path has no ``.weight``: ``model.layers.0.mlp.gate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..errors import UnsupportedModel
from ..model.quantspec import COMBINATIONS, MODES, Mode, QuantSpec

__all__ = ["Mode", "QuantSpec", "Quantization", "format_quantization", "parse_quantization"]

_KEYS = frozenset({"group_size", "bits", "mode"})
_HINT = "Use the unquantised release of this model, or one quantised with MLX's own modes."


@dataclass(frozen=True, slots=True)
class Quantization:
    """A whole model's quantisation: one default and the modules that depart from it.

    ``overrides`` maps a module path to its own spec, or to None where it stays unquantised.
    """

    default: QuantSpec
    overrides: Mapping[str, QuantSpec | None]

    def of(self, module: str) -> QuantSpec | None:
        """The spec of one module path, None where the block says it is unquantised."""
        return self.overrides.get(module, self.default)


def parse_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """Read the block from a whole ``config.json``; None for an unquantised model.

    ``quantization`` wins over ``quantization_config``, which holds the same block in MLX
    checkpoints and that of another method (FP8, GPTQ, AWQ, …) in others.

    Raises:
        UnsupportedModel: An unknown mode or method, an unknown key, a missing or null value, or a
            combination that MLX does not have; the message names the key.
    """
    for key in ("quantization", "quantization_config"):
        block = config.get(key)
        if block is None:
            continue
        if not isinstance(block, Mapping):
            raise UnsupportedModel(f"config.json: {key} is not an object.", _HINT)
        fields = cast("Mapping[str, Any]", block)
        method = fields.get("quant_method")
        if method is not None:
            raise UnsupportedModel(
                f"config.json: {key}.quant_method is {method!r}, a format that is not MLX's own.",
                _HINT,
            )
        return _parse_block(fields, key)
    return None


def format_quantization(quantization: Quantization) -> dict[str, Any]:
    """The block as JSON, every override in full (mlx-swift infers nothing from shapes)."""
    block: dict[str, Any] = _format_spec(quantization.default)
    for module, spec in quantization.overrides.items():
        block[module] = False if spec is None else _format_spec(spec)
    return block


def _parse_block(block: Mapping[str, Any], key: str) -> Quantization:
    default = _parse_spec({k: v for k, v in block.items() if k in _KEYS}, key)
    overrides: dict[str, QuantSpec | None] = {}
    for module, value in block.items():
        if module in _KEYS:
            continue
        where = f'{key}["{module}"]'
        if value is False:
            overrides[module] = None
        elif value is True:
            overrides[module] = default
        elif isinstance(value, Mapping):
            overrides[module] = _parse_spec(cast("Mapping[str, Any]", value), where)
        else:
            raise UnsupportedModel(f"config.json: {where} is not a known setting.", _HINT)
    return Quantization(default, overrides)


def _parse_spec(fields: Mapping[str, Any], where: str) -> QuantSpec:
    unknown = sorted(fields.keys() - _KEYS)
    if unknown:
        raise UnsupportedModel(f"config.json: {where}.{unknown[0]} is not a known setting.", _HINT)
    numbers: dict[str, int] = {}
    for name in ("bits", "group_size"):
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            told = "missing" if name not in fields else f"{value!r}, not an integer"
            raise UnsupportedModel(f"config.json: {where}.{name} is {told}.", _HINT)
        numbers[name] = value
    bits, group_size = numbers["bits"], numbers["group_size"]
    # A block without a mode is affine: that is how MLX wrote it before it had other modes.
    given = fields.get("mode", "affine")
    mode: Mode | None = next((m for m in MODES if m == given), None)
    if mode is None:
        raise UnsupportedModel(
            f"config.json: {where}.mode is {given!r}; known are {', '.join(MODES)}.", _HINT
        )
    if (bits, group_size) not in COMBINATIONS[mode]:
        raise UnsupportedModel(
            f"config.json: {where} asks for {mode} with {bits} bits in groups of {group_size}, "
            "which MLX does not have.",
            _HINT,
        )
    return QuantSpec(bits, group_size, mode)


def _format_spec(spec: QuantSpec) -> dict[str, Any]:
    return {"group_size": spec.group_size, "bits": spec.bits, "mode": spec.mode}
