"""What a quantisation will write, from headers and configuration alone, to the byte.

Nothing here touches tensor data or MLX. A plan is also the work list: which rows of which source
tensor go where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.quantspec import Quantization, QuantSpec
from mlxqwen.checkpoint.safetensors import DTYPE_BYTES, layout_header

from .recipes import Recipe
from .sources import Gathered, Piece, gather, target_dtype

# mlx-lm's limit for one file; a single matrix above it gets a file of its own.
MAX_SHARD_BYTES = 5 << 30

METADATA = {"format": "mlx"}


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

    tensor: Gathered
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
class Job:
    """Rows ``start`` to ``stop`` of a source tensor, which begin at ``row`` in the output."""

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
        """Bytes to read."""
        return (self.stop - self.start) * self.piece.source.row_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole quantisation.

    ``parameters`` counts the model's numbers, ``source_bytes`` what is read, ``tensor_bytes`` the
    data and ``output_bytes`` the safetensors files that come out.
    """

    shards: tuple[Shard, ...]
    quantization: Quantization
    parameters: int
    source_tensors: int
    source_bytes: int
    tensor_bytes: int
    output_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.tensor_bytes * 8 / self.parameters

    @property
    def weight_map(self) -> dict[str, str]:
        """Tensor name → file name, sorted."""
        pairs = ((t[0], shard.name) for shard in self.shards for t in shard.tensors)
        return dict(sorted(pairs))

    def jobs(self, chunk_bytes: int) -> Iterator[Job]:
        """All the work, in the order of the source files, at most ``chunk_bytes`` read at once."""
        pieces = [
            (piece, step, index)
            for index, shard in enumerate(self.shards)
            for step in shard.steps
            for piece in step.tensor.pieces
        ]
        pieces.sort(key=lambda p: (p[0].source.path, p[0].source.start))
        for piece, step, index in pieces:
            rows = max(1, chunk_bytes // max(1, piece.source.row_bytes))
            for start in range(0, piece.source.rows, rows):
                stop = min(start + rows, piece.source.rows)
                yield Job(index, step, piece, start, stop)


def make_plan(
    directory: Directory, recipe: Recipe, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> Plan:
    """Decide every output tensor of a checkpoint.

    Raises:
        UnsupportedModel: An architecture, layout or quantisation that is not read here.
        CheckpointError: The checkpoint is incomplete or contradicts its configuration.
    """
    steps: list[Step] = []
    overrides: dict[str, QuantSpec | None] = {}
    for tensor in gather(directory):
        dtype = target_dtype(directory.config, tensor)
        spec = None
        module, _, kind = tensor.name.rpartition(".")
        if kind == "weight" and len(tensor.shape) > 1:
            spec = recipe.spec(module, tensor.shape[-1])
            if spec != recipe.default:
                overrides[module] = spec
        steps.append(Step(tensor, dtype, spec, _outputs(tensor, dtype, spec)))
    shards = _shard(steps, max_shard_bytes)
    pieces = [piece for step in steps for piece in step.tensor.pieces]
    return Plan(
        shards=shards,
        quantization=Quantization(recipe.default, overrides),
        parameters=sum(prod(step.tensor.shape) for step in steps),
        source_tensors=len(pieces),
        source_bytes=sum(piece.source.nbytes for piece in pieces),
        tensor_bytes=sum(step.nbytes for step in steps),
        output_bytes=sum(shard.nbytes for shard in shards),
    )


def _outputs(tensor: Gathered, dtype: str, spec: QuantSpec | None) -> tuple[OutTensor, ...]:
    if spec is None:
        return (OutTensor(tensor.name, dtype, tensor.shape),)
    *leading, width = tensor.shape
    module = tensor.name.removesuffix(".weight")
    groups = (*leading, width // spec.group_size)
    weight = OutTensor(tensor.name, "U32", (*leading, width * spec.bits // 32))
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
