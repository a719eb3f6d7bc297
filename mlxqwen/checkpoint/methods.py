"""How a checkpoint says its weights are stored: MLX's own modes, block FP8, GPTQ or AWQ.

Every other method is refused by name, from ``config.json`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..errors import UnsupportedModel
from .quantspec import Quantization, parse_quantization

METHODS = ("fp8", "gptq", "awq")

_HINT = (
    "Use the bfloat16 release of this model, an MLX conversion, or one in block FP8, GPTQ or AWQ."
)


@dataclass(frozen=True, slots=True)
class Unquantised:
    """Plain floating tensors."""


@dataclass(frozen=True, slots=True)
class Fp8:
    """float8 e4m3 weights with one ``weight_scale_inv`` per block of (rows, columns)."""

    block: tuple[int, int]


@dataclass(frozen=True, slots=True)
class GptqFormat:
    """GPTQ; ``zero_offset`` is what was subtracted from a zero point before it was stored.

    ``group`` is the declared number of inputs that share a scale; 0 or less means all of them.
    """

    zero_offset: int
    group: int


@dataclass(frozen=True, slots=True)
class AwqFormat:
    """AWQ in the layout that its authors call gemm; ``group`` as for GPTQ."""

    group: int


Method = Unquantised | Quantization | Fp8 | GptqFormat | AwqFormat


def parse_method(config: Mapping[str, Any]) -> Method:
    """The storage method of a whole ``config.json``.

    ``quantization`` (MLX) wins over ``quantization_config``. A multimodal checkpoint may keep the
    block beside its text model's fields; that is read where the outer configuration has none.

    Raises:
        UnsupportedModel: a method, or a variant of one, that is not read here; named.
    """
    for section in _sections(config):
        if section.get("quantization") is not None:
            return parse_quantization(section) or Unquantised()
        block: object = section.get("quantization_config")
        if block is None:
            continue
        empty: Mapping[str, Any] = {}
        fields = cast("Mapping[str, Any]", block) if isinstance(block, Mapping) else empty
        match cast("object", fields.get("quant_method")):
            case "fp8":
                return _fp8(fields)
            case "gptq":
                return _gptq(fields)
            case "awq":
                return _awq(fields)
            case None:
                return parse_quantization(section) or Unquantised()
            case other:
                raise UnsupportedModel(
                    f"config.json: quantization_config.quant_method is {other!r}, which mlxqwen "
                    "does not read.",
                    _HINT,
                )
    return Unquantised()


def _sections(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configuration, then the nested ones of multimodal wrappers, outermost first."""
    found = [config]
    for section in found:
        for key in ("thinker_config", "text_config"):
            inner: object = section.get(key)
            if isinstance(inner, Mapping):
                found.append(cast("Mapping[str, Any]", inner))
    return found


def _refuse(key: str, value: object, why: str) -> UnsupportedModel:
    return UnsupportedModel(f"config.json: quantization_config.{key} is {value!r}: {why}.", _HINT)


def _fp8(fields: Mapping[str, Any]) -> Fp8:
    if fields.get("fmt", "e4m3") != "e4m3":
        raise _refuse("fmt", fields["fmt"], "of the FP8 formats only e4m3 is read")
    if fields.get("activation_scheme", "dynamic") != "dynamic":
        scheme = fields["activation_scheme"]
        raise _refuse("activation_scheme", scheme, "only FP8 with dynamic activations is read")
    match cast("object", fields.get("weight_block_size")):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return Fp8((rows, columns))
        case _:
            block = fields.get("weight_block_size")
            raise _refuse("weight_block_size", block, "FP8 is read with one scale per block only")


def _gptq(fields: Mapping[str, Any]) -> GptqFormat:
    if fields.get("bits") not in (4, 8):
        raise _refuse("bits", fields.get("bits"), "GPTQ is read with 4 or 8 bits")
    if fields.get("pack_dtype", "int32") != "int32":
        raise _refuse("pack_dtype", fields["pack_dtype"], "GPTQ is read packed into int32")
    key = "checkpoint_format" if "checkpoint_format" in fields else "format"
    match fields.get(key, "gptq"):
        case "gptq":
            return GptqFormat(1, _group(fields))
        case "gptq_v2":
            return GptqFormat(0, _group(fields))
        case other:
            raise _refuse(key, other, "this arrangement of GPTQ weights is not read")


def _awq(fields: Mapping[str, Any]) -> AwqFormat:
    bits = fields.get("bits", fields.get("w_bit"))
    if bits != 4:
        raise _refuse("bits", bits, "AWQ is read with 4 bits")
    version: object = fields.get("version", "gemm")
    if not isinstance(version, str) or version.lower() != "gemm":
        raise _refuse("version", version, "of AWQ's layouts only gemm is read")
    return AwqFormat(_group(fields))


def _group(fields: Mapping[str, Any]) -> int:
    size: object = fields.get("group_size", fields.get("q_group_size", -1))
    if not isinstance(size, int) or isinstance(size, bool):
        raise _refuse("group_size", size, "it is not a number")
    return size
