"""What a quantisation will write, from headers and configuration alone, to the byte.

Nothing here touches tensor data or MLX. A plan is also the work list: which rows of which source
tensor go where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import Layout
from mlxqwen.checkpoint.origins import Origin, Storage, row_cost, rows_of
from mlxqwen.checkpoint.quantspec import Quantization, QuantSpec
from mlxqwen.checkpoint.safetensors import DTYPE_BYTES, layout_header
from mlxqwen.model.config import ModelConfig

from .recipes import Recipe
from .sources import open_source, packed_format, refuse_growth, target_dtype

# mlx-lm's limit for one file; a single matrix above it gets a file of its own.
MAX_SHARD_BYTES = 5 << 30

METADATA = {"format": "mlx"}

# Chunks of whole FP8 blocks and packed words read nothing twice.
_ALIGNMENT = 128

_PREFIX = re.compile(r"^model\.(layers\.\d+\.)?")


@dataclass(frozen=True, slots=True)
class OutTensor:
    """One tensor of the output."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector along the last axis."""
        return self.shape[-1] * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Step:
    """One tensor of the model on its way: ``outputs`` is (weight, scales[, biases]) or itself.

    ``dtype`` is what the source rows are cast to before rounding.
    """

    tensor: Origin
    dtype: str
    spec: QuantSpec | None
    outputs: tuple[OutTensor, ...]

    @property
    def nbytes(self) -> int:
        return sum(out.nbytes for out in self.outputs)


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file of the output; ``nbytes`` is its exact size."""

    name: str
    steps: tuple[Step, ...]
    nbytes: int

    @property
    def tensors(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Its layout, as SafetensorsWriter wants it."""
        return [(out.name, out.dtype, out.shape) for step in self.steps for out in step.outputs]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tensor and the first row of the output that it fills."""

    part: Storage
    row: int

    @property
    def rows(self) -> int:
        return rows_of(self.part)

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return sum(view.region.nbytes for view in self.part.views)

    @property
    def place(self) -> tuple[str, int]:
        """Where its numbers begin: file and offset."""
        region = self.part.views[0].region
        return str(region.path), region.start


@dataclass(frozen=True, slots=True)
class Job:
    """Rows ``start`` to ``stop`` of a piece."""

    shard: int
    step: Step
    piece: Piece
    start: int
    stop: int

    @property
    def row(self) -> int:
        return self.piece.row + self.start

    @property
    def nbytes(self) -> int:
        """The rows' share of the bytes to read; all jobs of a piece add up to it."""
        total, rows = self.piece.nbytes, self.piece.rows
        return total * self.stop // rows - total * self.start // rows


@dataclass(frozen=True, slots=True)
class Row:
    """``count`` tensors of one kind, shape and spec, and their bytes in the output together."""

    kind: str
    shape: tuple[int, ...]
    count: int
    spec: QuantSpec | None
    nbytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole quantisation.

    ``parameters`` counts the model's numbers, ``source_bytes`` what is read, ``tensor_bytes`` the
    data and ``output_bytes`` the safetensors files that come out. ``notices`` are sentences for the
    user: what of the source is left out, and what is rounded a second time.
    """

    recipe: Recipe
    shards: tuple[Shard, ...]
    quantization: Quantization
    notices: tuple[str, ...]
    parameters: int
    source_tensors: int
    source_bytes: int
    tensor_bytes: int
    output_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.tensor_bytes * 8 / self.parameters

    def digest(self) -> str:
        """SHA-256 in hex of the layout of all output files."""
        digest = sha256()
        for shard in self.shards:
            digest.update(f"{shard.name} {shard.nbytes}\n".encode())
            for name, dtype, shape in shard.tensors:
                digest.update(f"{name} {dtype} {shape}\n".encode())
        return digest.hexdigest()

    def table(self) -> tuple[Row, ...]:
        """The matrices by kind and spec, then all that stays unquantised, for people."""
        rows: dict[tuple[str, tuple[int, ...], QuantSpec | None], list[int]] = {}
        for shard in self.shards:
            for step in shard.steps:
                key = (kind_of(step.tensor.module), step.tensor.shape, step.spec)
                rows.setdefault(key, []).append(step.nbytes)
        return tuple(
            Row(kind, shape, len(sizes), spec, sum(sizes))
            for (kind, shape, spec), sizes in rows.items()
        )

    @property
    def weight_map(self) -> dict[str, str]:
        """Tensor name → file name, sorted."""
        pairs = ((t[0], shard.name) for shard in self.shards for t in shard.tensors)
        return dict(sorted(pairs))

    def jobs(self, chunk_bytes: int) -> Iterator[Job]:
        """All the work, in the order of the source files, at most ``chunk_bytes`` held at once."""
        pieces = [
            (piece, step, index)
            for index, shard in enumerate(self.shards)
            for step in shard.steps
            for piece in pieces_of(step.tensor)
        ]
        pieces.sort(key=lambda p: p[0].place)
        for piece, step, index in pieces:
            rows = max(1, chunk_bytes // max(1, row_cost(piece.part)))
            if rows > _ALIGNMENT:
                rows -= rows % _ALIGNMENT
            for start in range(0, piece.rows, rows):
                yield Job(index, step, piece, start, min(start + rows, piece.rows))


def make_plan(
    directory: Directory, recipe: Recipe, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> Plan:
    """Decide every output tensor of a checkpoint.

    Raises:
        UnsupportedModel: An architecture, layout or quantisation that is not read here.
        CheckpointError: The checkpoint is incomplete or contradicts its configuration.
    """
    config, layout = open_source(directory)
    steps: list[Step] = []
    overrides: dict[str, QuantSpec | None] = {}
    for origin in layout.origins.values():
        dtype = target_dtype(directory.config, origin)
        name = output_name(origin.name, config)
        spec = None
        if is_matrix(origin):
            spec = _spec(origin, recipe)
            if spec != recipe.default:
                overrides[name.removesuffix(".weight")] = spec
        steps.append(Step(origin, dtype, spec, _outputs(name, origin.shape, dtype, spec)))
    tensor_bytes = sum(step.nbytes for step in steps)
    refuse_growth(directory, layout, tensor_bytes)
    shards = _shard(steps, max_shard_bytes)
    return Plan(
        recipe=recipe,
        shards=shards,
        quantization=Quantization(recipe.default, overrides),
        notices=_notices(layout, steps),
        parameters=sum(prod(step.tensor.shape) for step in steps),
        source_tensors=sum(len(step.tensor.parts) for step in steps),
        source_bytes=sum(step.tensor.nbytes for step in steps),
        tensor_bytes=tensor_bytes,
        output_bytes=sum(shard.nbytes for shard in shards),
    )


def _spec(origin: Origin, recipe: Recipe) -> QuantSpec | None:
    spec = recipe.spec(origin.module, origin.shape[-1])
    packed = origin.spec
    if recipe.keeps_packed and packed is not None and (spec is None or packed.bits <= spec.bits):
        return packed
    return spec


def pieces_of(origin: Origin) -> Iterator[Piece]:
    """The parts of a tensor with their rows in the output."""
    row = 0
    for part in origin.parts:
        yield Piece(part, row)
        row += rows_of(part)


def kind_of(module: str) -> str:
    """A module's path without what numbers it: ``self_attn.q_proj``, ``embed_tokens``."""
    return _PREFIX.sub("", module)


def is_matrix(origin: Origin) -> bool:
    """Whether MLX quantises such a tensor: a weight that multiplies, not a convolution's."""
    return origin.name.endswith(".weight") and len(origin.shape) > 1 and origin.shape[-1] > 1


def output_name(name: str, config: ModelConfig) -> str:
    """What mlx-lm calls a tensor: it keeps the text model of Qwen3.5 inside a wrapper."""
    wrapped = config.model_type in ("qwen3_5", "qwen3_5_moe")
    return f"language_model.{name}" if wrapped else name


def _notices(layout: Layout, steps: Sequence[Step]) -> tuple[str, ...]:
    notices = [f"Left out: {part}." for part in layout.left_out]
    formats = {packed_format(s.tensor) for s in steps if s.spec and s.spec != s.tensor.spec}
    for name in sorted(formats - {""}):
        notices.append(
            f"The source is quantised already ({name}): its weights are rounded a second time, "
            "which costs more quality than quantising the original release."
        )
    return tuple(notices)


def _outputs(
    name: str, shape: tuple[int, ...], dtype: str, spec: QuantSpec | None
) -> tuple[OutTensor, ...]:
    if spec is None:
        return (OutTensor(name, dtype, shape),)
    *leading, width = shape
    module = name.removesuffix(".weight")
    groups = (*leading, width // spec.group_size)
    weight = OutTensor(name, "U32", (*leading, width * spec.bits // 32))
    if not spec.has_biases:
        return (weight, OutTensor(f"{module}.scales", "U8", groups))
    return (
        weight,
        OutTensor(f"{module}.scales", dtype, groups),
        OutTensor(f"{module}.biases", dtype, groups),
    )


def _shard(steps: Sequence[Step], limit: int) -> tuple[Shard, ...]:
    """Fill files in order up to ``limit`` bytes of data; a matrix and its scales stay together."""
    files: list[list[Step]] = [[]]
    filled = 0
    for step in steps:
        if files[-1] and filled + step.nbytes > limit:
            files.append([])
            filled = 0
        files[-1].append(step)
        filled += step.nbytes
    count = len(files)
    shards: list[Shard] = []
    for number, members in enumerate(files, start=1):
        single = count == 1
        name = "model.safetensors" if single else f"model-{number:05d}-of-{count:05d}.safetensors"
        shard = Shard(name, tuple(members), 0)
        _, _, size = layout_header(shard.tensors, METADATA)
        shards.append(Shard(name, tuple(members), size))
    return tuple(shards)
