"""How the model takes its tensors from a checkpoint.

``Params`` hands them out by their canonical names (Hugging Face's, with mlx-lm's ``switch_mlp`` for
stacked experts) and forgets what it handed out, so that fusing two projections never keeps the
originals.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from ..errors import CheckpointError
from .linear import Embedding, Projection, QuantizedEmbedding, Rows, Stored, fuse
from .quantspec import QuantSpec


class Params:
    """The tensors of one checkpoint under their canonical names, taken one by one.

    Args:
        tensors: Name → array; arrays may be lazy.
        specs: Module path → ``QuantSpec`` of every quantised module.
        dtype: Floating tensors are cast to it as they are taken; None leaves them.
    """

    def __init__(
        self,
        tensors: Mapping[str, mx.array],
        specs: Mapping[str, QuantSpec] | None = None,
        dtype: mx.Dtype | None = None,
    ) -> None:
        self._tensors = dict(tensors)
        self._specs: Mapping[str, QuantSpec] = specs or {}
        self._dtype = dtype

    @property
    def dtype(self) -> mx.Dtype:
        """The dtype that floating tensors come out in."""
        if self._dtype is not None:
            return self._dtype
        return self._tensors["model.norm.weight"].dtype

    def remaining(self) -> tuple[str, ...]:
        """Names that nobody has taken."""
        return tuple(self._tensors)

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> mx.array:
        """The tensor ``name``, cast and no longer held here.

        Raises:
            CheckpointError: if it is missing or not of ``shape``.
        """
        array = self._checked(name, self._tensors.pop(name, None), shape)
        if self._dtype is None or not mx.issubdtype(array.dtype, mx.floating):
            return array
        return array.astype(self._dtype)

    def _checked(
        self, name: str, array: mx.array | None, shape: tuple[int, ...] | None
    ) -> mx.array:
        if array is None:
            raise CheckpointError(
                f"The checkpoint has no tensor {name}.",
                "It is incomplete or of another architecture; download it again.",
            )
        if shape is not None and array.shape != shape:
            raise CheckpointError(
                f"Tensor {name} has shape {array.shape} where config.json asks for {shape}.",
                "config.json and weights belong to different models; download both again.",
            )
        return array

    def take_exact(self, name: str, shape: tuple[int, ...]) -> mx.array:
        """``take`` in float32, for the few tensors that lose by being rounded further."""
        return self._checked(name, self._tensors.pop(name, None), shape).astype(mx.float32)

    def stored(self, module: str, out: int, width: int, lead: tuple[int, ...] = ()) -> Stored:
        """The matrix ``(*lead, out, width)`` of ``module`` as it is stored, shapes checked."""
        spec = self._specs.get(module)
        if spec is None:
            return Stored(self.take(f"{module}.weight", (*lead, out, width)), None, None, None)
        packed = (*lead, out, width * spec.bits // 32)
        grouped = (*lead, out, width // spec.group_size)
        return Stored(
            self.take(f"{module}.weight", packed),
            self.take(f"{module}.scales", grouped),
            self.take(f"{module}.biases", grouped) if spec.has_biases else None,
            spec,
        )

    def embedding(self, module: str, vocab: int, width: int) -> Embedding | QuantizedEmbedding:
        """The embedding table stored under ``module``."""
        table = self.stored(module, vocab, width)
        if table.spec is None or table.scales is None:
            return Embedding(table.weight)
        return QuantizedEmbedding(table.weight, table.scales, table.biases, table.spec, self.dtype)

    def linear(self, module: str, out: int, width: int, bias: bool = False) -> Projection:
        """The projection stored under ``module``, ``(..., width) -> (..., out)``."""
        return fuse([self.rows(module, out, width, bias)])

    def rows(self, module: str, out: int, width: int, bias: bool = False) -> Rows:
        """The same, to be reordered or fused with others before use."""
        matrix = self.stored(module, out, width)
        return Rows(matrix, self.take(f"{module}.bias", (out,)) if bias else None)

    def fused(
        self, modules: tuple[str, ...], outs: tuple[int, ...], width: int, bias: bool = False
    ) -> Projection:
        """Several projections of one input as a single matrix, outputs in the order given."""
        pairs = zip(modules, outs, strict=True)
        return fuse([self.rows(module, out, width, bias) for module, out in pairs])
