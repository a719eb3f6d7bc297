"""Where a canonical tensor comes from: one frozen class for each way of storing a matrix.

Known from headers alone and free of MLX: sizes and work are planned with these, and
``numbers.py`` turns them into arrays. Rows are counted with all leading axes flattened; a vector
is one row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ..model.quantspec import QuantSpec
from .safetensors import TensorInfo


@dataclass(frozen=True, slots=True)
class View:
    """A stored tensor, or of a stack (E, …, …) the matrix of one expert, or some rows of it."""

    info: TensorInfo
    expert: int | None = None
    rows: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.info.shape if self.expert is None else self.info.shape[1:]
        return shape if self.rows is None else (self.rows[1] - self.rows[0], *shape[1:])

    @property
    def region(self) -> TensorInfo:
        """The same as a tensor of its own: rows of a matrix lie side by side."""
        start = self.info.start
        row = self.info.row_bytes
        if self.expert is not None:
            start += self.expert * self.info.shape[1] * row
        if self.rows is not None:
            start += self.rows[0] * row
        shape = self.shape
        return replace(self.info, shape=shape, start=start, nbytes=prod(shape[:-1]) * row)


@dataclass(frozen=True, slots=True)
class Plain:
    """Floating numbers in the order of the canonical tensor; ``shape`` may group them anew."""

    view: View
    shape: tuple[int, ...]

    @property
    def views(self) -> tuple[View, ...]:
        return (self.view,)

    @property
    def spec(self) -> None:
        return None

    @property
    def dtype(self) -> str:
        return self.view.info.dtype


@dataclass(frozen=True, slots=True)
class Transposed:
    """Columns ``start`` to ``stop`` of a floating matrix (in, …), read as rows (out, in)."""

    view: View
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start, self.view.shape[0])

    @property
    def views(self) -> tuple[View, ...]:
        return (self.view,)

    @property
    def spec(self) -> None:
        return None

    @property
    def dtype(self) -> str:
        return self.view.info.dtype


@dataclass(frozen=True, slots=True)
class BlockFp8:
    """float8 e4m3 codes (out, in) and a factor for each ``block``; edge blocks may be partial."""

    weight: View
    scale: View
    block: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def views(self) -> tuple[View, ...]:
        return (self.weight, self.scale)

    @property
    def spec(self) -> None:
        return None

    @property
    def dtype(self) -> str:
        # What such weights are trained in; the factors may be float32 all the same.
        return "BF16"


@dataclass(frozen=True, slots=True)
class Gptq:
    """GPTQ: ``qweight`` (in·bits/32, out) packed along the input, ``scales`` (groups, out).

    ``qzeros`` (groups, out·bits/32) holds the zero point less ``zero_offset``. ``g_idx`` gives the
    group of each input; it is None where inputs lie in groups of ``group`` one after another.
    """

    qweight: View
    qzeros: View
    scales: View
    g_idx: View | None
    bits: int
    group: int
    zero_offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        words, out = self.qweight.shape
        return (out, words * 32 // self.bits)

    @property
    def views(self) -> tuple[View, ...]:
        parts = (self.qweight, self.qzeros, self.scales)
        return parts if self.g_idx is None else (*parts, self.g_idx)

    @property
    def spec(self) -> QuantSpec | None:
        return None if self.g_idx is not None else _affine(self.bits, self.group, self.shape[1])

    @property
    def dtype(self) -> str:
        return self.scales.info.dtype


# AWQ's "gemm" layout: the n-th four bits of a word belong to this one of its eight outputs.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True, slots=True)
class Awq:
    """AWQ: ``qweight`` (in, out/8) and ``qzeros`` (groups, out/8), ``scales`` (groups, out)."""

    qweight: View
    qzeros: View
    scales: View
    group: int

    @property
    def shape(self) -> tuple[int, ...]:
        width, words = self.qweight.shape
        return (words * 8, width)

    @property
    def views(self) -> tuple[View, ...]:
        return (self.qweight, self.qzeros, self.scales)

    @property
    def spec(self) -> QuantSpec | None:
        return _affine(4, self.group, self.shape[1])

    @property
    def dtype(self) -> str:
        return self.scales.info.dtype


@dataclass(frozen=True, slots=True)
class Packed:
    """MLX's own packing, shapes as ``mx.quantize`` gives them, leading axes included."""

    weight: View
    scales: View
    biases: View | None
    spec: QuantSpec

    @property
    def shape(self) -> tuple[int, ...]:
        *lead, words = self.weight.shape
        return (*lead, words * 32 // self.spec.bits)

    @property
    def views(self) -> tuple[View, ...]:
        parts = (self.weight, self.scales)
        return parts if self.biases is None else (*parts, self.biases)

    @property
    def dtype(self) -> str:
        # The mx and nv modes keep no floating number; MLX dequantises them to bfloat16.
        return self.scales.info.dtype if self.biases is not None else "BF16"


Storage = Plain | Transposed | BlockFp8 | Gptq | Awq | Packed


@dataclass(frozen=True, slots=True)
class Origin:
    """One canonical tensor: ``parts`` follow each other along flattened rows.

    ``shape`` is that of the unpacked tensor. ``plus_one`` marks a zero-centred norm stored as w
    and meant as 1 + w, ``exact`` a tensor that stays float32 in memory.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Storage, ...]
    plus_one: bool = False
    exact: bool = False

    @property
    def module(self) -> str:
        """Module path: the name without ``.weight``."""
        return self.name.removesuffix(".weight")

    @property
    def spec(self) -> QuantSpec | None:
        """How it stays packed in memory; None where it becomes floating numbers."""
        return self.parts[0].spec

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return sum(view.region.nbytes for part in self.parts for view in part.views)

    def memory_bytes(self, width: int) -> int:
        """Bytes in memory where floating numbers take ``width`` bytes."""
        count = prod(self.shape)
        spec = self.spec
        if spec is None:
            return count * (4 if self.exact else width)
        groups = count // spec.group_size
        return count * spec.bits // 8 + groups * (2 * width if spec.has_biases else 1)

    @property
    def making_bytes(self) -> int:
        """Bytes beside the result while it is made of foreign codes, per number as measured."""
        match self.parts[0]:
            case Gptq() if self.spec is None:
                return 10 * prod(self.shape)
            case Awq():
                return 6 * prod(self.shape)
            case _:
                return 0


def rows_of(part: Storage) -> int:
    """Rows of a part."""
    return prod(part.shape[:-1])


def row_cost(part: Storage) -> int:
    """Bytes that one row takes while it is read and made floating."""
    return part.view.info.row_bytes if isinstance(part, Plain) else 4 * part.shape[-1]


def _affine(bits: int, group: int, width: int) -> QuantSpec | None:
    """scale · (q − zero) = scale · q + (−scale · zero), where MLX has groups of that size."""
    return QuantSpec(bits, group) if group in (32, 64, 128) and width % group == 0 else None
