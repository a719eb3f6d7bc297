"""What gets one width: matrices that the runtime joins into one, or that are read together.

Queries, keys and values are one matrix in memory as long as they are quantised alike, and so are
gate and up; a stack of experts is one tensor. Free of MLX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import Layout
from mlxqwen.checkpoint.origins import Origin
from mlxqwen.checkpoint.safetensors import DTYPE_BYTES
from mlxqwen.model.quantspec import QuantSpec

from .plan import is_matrix
from .sources import target_dtype

# Groups of 64 at every width; finer or coarser ones at the low widths, where the difference is a
# good part of a bit, and finer ones where 64 divides no input.
CANDIDATES: tuple[QuantSpec, ...] = (
    *(QuantSpec(bits, 64) for bits in (2, 3, 4, 5, 6, 8)),
    *(QuantSpec(bits, 128) for bits in (2, 3, 4)),
    *(QuantSpec(bits, 32) for bits in (2, 3, 4, 5, 6, 8)),
)

_KINDS: Mapping[str, str] = {
    "model.embed_tokens": "embedding",
    "lm_head": "head",
    "self_attn.q_proj": "attention",
    "self_attn.k_proj": "attention",
    "self_attn.v_proj": "attention",
    "self_attn.o_proj": "attention output",
    "linear_attn.in_proj_qkvz": "delta net",
    "linear_attn.in_proj_ba": "delta net",
    "linear_attn.in_proj_qkv": "delta net",
    "linear_attn.in_proj_z": "delta net",
    "linear_attn.in_proj_b": "delta net",
    "linear_attn.in_proj_a": "delta net",
    "linear_attn.out_proj": "delta net output",
    "mlp.gate_proj": "feed-forward",
    "mlp.up_proj": "feed-forward",
    "mlp.down_proj": "feed-forward output",
    "mlp.gate": "router",
    "mlp.switch_mlp.gate_proj": "experts",
    "mlp.switch_mlp.up_proj": "experts",
    "mlp.switch_mlp.down_proj": "experts output",
    "mlp.shared_expert.gate_proj": "shared expert",
    "mlp.shared_expert.up_proj": "shared expert",
    "mlp.shared_expert.down_proj": "shared expert output",
    "mlp.shared_expert_gate": "shared expert gate",
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """One quantisable tensor; ``dtype`` is the safetensors name of its floating form."""

    origin: Origin
    dtype: str

    @property
    def module(self) -> str:
        return self.origin.module

    def nbytes(self, spec: QuantSpec | None) -> int:
        """Bytes of its tensors in the output."""
        count, width = prod(self.origin.shape), DTYPE_BYTES[self.dtype]
        if spec is None:
            return count * width
        groups = count // spec.group_size
        return count * spec.bits // 8 + groups * (2 * width if spec.has_biases else 1)


@dataclass(frozen=True, slots=True)
class Unit:
    """Matrices of one width; ``layer`` is -1 for embedding and head.

    ``candidates`` are what MLX can make of them; (None,) where no group divides their inputs.
    """

    kind: str
    layer: int
    matrices: tuple[Matrix, ...]
    candidates: tuple[QuantSpec | None, ...]

    @property
    def name(self) -> str:
        """Unique within a model."""
        return self.kind if self.layer < 0 else f"{self.layer} {self.kind}"

    @property
    def modules(self) -> frozenset[str]:
        return frozenset(matrix.module for matrix in self.matrices)

    @property
    def parameters(self) -> int:
        return sum(prod(matrix.origin.shape) for matrix in self.matrices)

    def nbytes(self, spec: QuantSpec | None) -> int:
        """Bytes of all its tensors in the output."""
        return sum(matrix.nbytes(spec) for matrix in self.matrices)


def units_of(
    directory: Directory, layout: Layout, candidates: Sequence[QuantSpec] = CANDIDATES
) -> tuple[Unit, ...]:
    """Every matrix of a checkpoint in units, in natural order."""
    grouped: dict[tuple[int, str], list[Matrix]] = {}
    for origin in layout.origins.values():
        if is_matrix(origin):
            matrix = Matrix(origin, target_dtype(directory.config, origin))
            grouped.setdefault(_place(origin.module), []).append(matrix)
    return tuple(
        Unit(kind, layer, tuple(matrices), tuple(_possible(matrices, candidates)) or (None,))
        for (layer, kind), matrices in grouped.items()
    )


def _possible(matrices: Sequence[Matrix], candidates: Sequence[QuantSpec]) -> Iterator[QuantSpec]:
    widths = [matrix.origin.shape[-1] for matrix in matrices]
    fitting = [s for s in candidates if all(width % s.group_size == 0 for width in widths)]
    for spec in fitting:
        # From 5 bits on a finer group wins less than a further bit.
        coarser = (s for s in fitting if s.bits == spec.bits and s.group_size > spec.group_size)
        if spec.bits < 5 or not any(coarser):
            yield spec


def _place(module: str) -> tuple[int, str]:
    if not module.startswith("model.layers."):
        return -1, _KINDS[module]
    _, _, layer, path = module.split(".", 3)
    return int(layer), _KINDS[path]
