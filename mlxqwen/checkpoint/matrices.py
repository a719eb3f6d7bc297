"""Finds how each matrix of a checkpoint is stored, and takes its tensors off the list.

What is decided here is decided by names, dtypes and shapes, held against what ``config.json``
says; the one thing read is GPTQ's small ``g_idx``, because whether inputs are reordered stands
nowhere else for certain.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache

from ..errors import CheckpointError, UnsupportedModel
from ..model.config import ModelConfig
from .experts import joined_experts
from .methods import AwqFormat, Fp8, GptqFormat, Method
from .names import text_name
from .origins import Awq, BlockFp8, Gptq, Packed, Plain, Storage, Transposed, View
from .quantspec import Quantization
from .reading import read_rows
from .safetensors import TensorInfo

FLOATS = frozenset({"BF16", "F16", "F32"})

_SILENT = "Restore the `quantization` block of config.json, or download it again."
_DAMAGED = "The checkpoint is damaged or incomplete; download it again."


class Finder:
    """Takes tensors from ``remaining``; names of absent ones gather in ``missing``."""

    def __init__(
        self, remaining: dict[str, TensorInfo], method: Method, config: ModelConfig
    ) -> None:
        self.remaining = remaining
        self.missing: list[str] = []
        if isinstance(method, Quantization):
            overrides = {text_name(m, config): spec for m, spec in method.overrides.items()}
            method = Quantization(method.default, overrides)
        self._method = method
        self._gptq: set[str] = set()
        self._shared: set[str] = set()

    def plain(self, name: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
        """A floating tensor under its own name; () where it is missing."""
        info = self.remaining.pop(name, None)
        if info is None:
            self.missing.append(name)
            return ()
        _check_float(info)
        _check(info, shape)
        return (Plain(View(info), shape),)

    def matrix(self, module: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
        """The weight of ``module``: one storage, or one per expert; () where it is missing."""
        found = self._stored(module, shape)
        if found is not None:
            return (found,)
        if ".switch_mlp." in module:
            return self._experts(module, shape)
        self.missing.append(f"{module}.weight")
        return ()

    def finish(self) -> None:
        """Takes off the list what several matrices shared, and biases that are all zeros.

        Some exporters give every GPTQ layer a bias, also where the model has none.
        """
        for name in self._shared:
            del self.remaining[name]
        for module in self._gptq:
            info = self.remaining.get(f"{module}.bias")
            if info is not None and not any(read_rows(info, 0, info.rows)):
                del self.remaining[f"{module}.bias"]

    def _experts(self, module: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
        modules = [module.replace(".switch_mlp.", f".experts.{n}.") for n in range(shape[0])]
        found = [self._stored(each, shape[1:]) for each in modules]
        parts = tuple(part for part in found if part is not None)
        if not parts:
            return self._joined(module, shape)
        absent = [f"{m}.weight" for m, part in zip(modules, found, strict=True) if part is None]
        if absent:
            self.missing += absent
            return ()
        return _uniform(module, parts)

    def _joined(self, module: str, shape: tuple[int, ...]) -> tuple[Storage, ...]:
        """Out of ``experts.gate_up_proj`` or ``experts.down_proj``, one tensor for all experts."""
        block, _, projection = module.partition(".switch_mlp.")
        block += ".experts."
        inner, hidden = shape[1:] if projection != "down_proj" else (shape[2], shape[1])
        name = block + ("down_proj" if projection == "down_proj" else "gate_up_proj")
        info = self.remaining.get(name)
        if info is None:
            self.missing.append(f"{module}.weight")
            return ()
        self._shared.add(name)
        pair = (self.remaining.get(block + key) for key in ("gate_up_proj", "down_proj"))
        parts = joined_experts(projection, (shape[0], inner, hidden), *pair)
        if info.dtype == "F8_E4M3" and isinstance(self._method, Fp8):
            return self._joined_fp8(info, f"{name}_scale_inv", parts, self._method.block)
        _check_float(info)
        return parts

    def _joined_fp8(
        self,
        info: TensorInfo,
        name: str,
        parts: tuple[Plain | Transposed, ...],
        block: tuple[int, int],
    ) -> tuple[Storage, ...]:
        scale = self.remaining.get(name)
        plain = [part for part in parts if isinstance(part, Plain)]
        if scale is None or len(plain) < len(parts):
            why = "has no scales" if scale is None else "is transposed, which FP8 is not read from"
            raise UnsupportedModel(f"{info.path}: {info.name} {why}.", _DAMAGED)
        self._shared.add(name)
        _check(scale, (info.shape[0], *_blocks(info.shape, block)))
        _check_float(scale)
        return tuple(BlockFp8(p.view, View(scale, e), block) for e, p in enumerate(plain))

    def _stored(self, module: str, shape: tuple[int, ...]) -> Storage | None:
        """The storage under the module's own name, or None."""
        packed = self.remaining.pop(f"{module}.qweight", None)
        if packed is not None:
            return self._qweight(module, packed, shape)
        info = self.remaining.pop(f"{module}.weight", None)
        if info is None:
            return None
        if info.dtype == "F8_E4M3" and isinstance(self._method, Fp8):
            return self._fp8(module, info, shape, self._method)
        if info.dtype == "U32":
            return self._mlx(module, info, shape)
        _check_float(info)
        _check(info, shape)
        return Plain(View(info), shape)

    def _sibling(
        self, module: str, part: str, shape: tuple[int, ...], dtypes: Iterable[str]
    ) -> View:
        name = f"{module}.{part}"
        info = self.remaining.pop(name, None)
        if info is None:
            raise CheckpointError(f"The checkpoint has no {name} beside its weight.", _DAMAGED)
        if info.dtype not in dtypes:
            raise CheckpointError(f"{info.path}: {info.name} has dtype {info.dtype}.", _DAMAGED)
        _check(info, shape)
        return View(info)

    def _fp8(self, module: str, info: TensorInfo, shape: tuple[int, ...], method: Fp8) -> BlockFp8:
        _check(info, shape)
        scales = _blocks(shape, method.block)
        scale = self._sibling(module, "weight_scale_inv", scales, FLOATS)
        return BlockFp8(View(info), scale, method.block)

    def _mlx(self, module: str, info: TensorInfo, shape: tuple[int, ...]) -> Packed:
        method = self._method
        spec = method.of(module) if isinstance(method, Quantization) else None
        if spec is None:
            raise CheckpointError(
                f"{info.path} holds packed weights for {module}, but config.json does not say "
                "how they are quantised.",
                _SILENT,
            )
        *lead, width = shape
        _check(info, (*lead, width * spec.bits // 32))
        groups = (*lead, width // spec.group_size)
        dtypes = FLOATS if spec.has_biases else frozenset({"U8"})
        scales = self._sibling(module, "scales", groups, dtypes)
        biases = self._sibling(module, "biases", groups, FLOATS) if spec.has_biases else None
        return Packed(View(info), scales, biases, spec)

    def _qweight(self, module: str, info: TensorInfo, shape: tuple[int, ...]) -> Gptq | Awq:
        method = self._method
        out, width = shape[-2:]
        scales = self.remaining.get(f"{module}.scales")
        groups = scales.shape[0] if scales is not None and scales.shape else 0
        if isinstance(method, AwqFormat):
            _check(info, (width, out // 8))
            zeros = self._sibling(module, "qzeros", (groups, out // 8), ("I32", "U32"))
            scale = self._sibling(module, "scales", (groups, out), FLOATS)
            return Awq(View(info), zeros, scale, _group(info, width, groups, method.group))
        if not isinstance(method, GptqFormat):
            raise CheckpointError(
                f"{info.path} holds {info.name}, but config.json does not say that its weights "
                "are GPTQ or AWQ.",
                _SILENT.replace("quantization", "quantization_config"),
            )
        bits = info.shape[0] * 32 // width if len(info.shape) == 2 else 0
        if bits not in (4, 8):
            raise UnsupportedModel(
                f"{info.path}: {info.name} of shape {list(info.shape)} is packed with {bits} bits.",
                "Use a release with 4 or 8 bits.",
            )
        _check(info, (width * bits // 32, out))
        self._gptq.add(module)
        zeros = self._sibling(module, "qzeros", (groups, out * bits // 32), ("I32", "U32"))
        scale = self._sibling(module, "scales", (groups, out), FLOATS)
        order = None
        if f"{module}.g_idx" in self.remaining:
            order = self._sibling(module, "g_idx", (width,), ("I32",))
            declared = method.group if method.group > 0 else width
            group = declared if -(-width // declared) == groups else max(1, width // groups)
            if _is_sequential(order.info, group, groups):
                order = None
        else:
            group = _group(info, width, groups, method.group)
        return Gptq(View(info), zeros, scale, order, bits, group, method.zero_offset)


def _uniform(module: str, parts: tuple[Storage, ...]) -> tuple[Storage, ...]:
    """Refuses a stack whose experts are stored in different ways."""
    kinds = {(type(part), part.spec) for part in parts}
    if len(kinds) > 1:
        names = sorted(kind.__name__ for kind, _ in kinds)
        raise UnsupportedModel(
            f"The experts of {module} are stored in several ways ({', '.join(names)}).",
            "Use a release whose experts are all quantised alike.",
        )
    return parts


def _blocks(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, int]:
    """Blocks that cover a matrix, partial ones at its edges included."""
    return -(-shape[-2] // block[0]), -(-shape[-1] // block[1])


def _group(info: TensorInfo, width: int, groups: int, declared: int) -> int:
    size = declared if declared > 0 else width
    if groups and -(-width // size) == groups:
        return size
    if groups and width % groups == 0:
        return width // groups
    raise CheckpointError(
        f"{info.path}: {info.name} has {groups} groups of scales for {width} inputs, but "
        f"config.json says {declared} inputs to a group.",
        _DAMAGED,
    )


def _is_sequential(info: TensorInfo, group: int, groups: int) -> bool:
    """Whether ``g_idx`` puts inputs into groups one after another, as without reordering."""
    width = info.shape[0]
    data = bytes(read_rows(info, 0, 1))
    if data == _sequential(width, group):
        return True
    order = array("i", data)
    if min(order) < 0 or max(order) >= groups:
        raise CheckpointError(f"{info.path}: {info.name} names a group beyond the last.", _DAMAGED)
    return False


@lru_cache(maxsize=64)
def _sequential(width: int, group: int) -> bytes:
    return array("i", [column // group for column in range(width)]).tobytes()


def _check_float(info: TensorInfo) -> None:
    if info.dtype not in FLOATS:
        raise UnsupportedModel(
            f"{info.path}: {info.name} has dtype {info.dtype}, and config.json names no way of "
            "quantising that explains it.",
            "Use the bfloat16 release of this model, or an MLX conversion of it.",
        )


def _check(info: TensorInfo, shape: tuple[int, ...]) -> None:
    if info.shape != shape:
        raise CheckpointError(
            f"{info.path}: {info.name} has shape {list(info.shape)}, but config.json calls for "
            f"{list(shape)}.",
            "Check that config.json and the shards belong to the same model.",
        )
