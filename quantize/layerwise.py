"""A checkpoint computed one layer at a time, for models far larger than memory.

What is read is read on demand, in any layout that mlxqwen loads, and is built from the same parts
as the loaded model, so that both compute the same numbers bit for bit. Matrices can be replaced on
the way into a layer: that is how rounded ones are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import mlx.core as mx

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import Layout, read_layout
from mlxqwen.checkpoint.numbers import origin_arrays
from mlxqwen.checkpoint.origins import Origin
from mlxqwen.checkpoint.quantspec import QuantSpec
from mlxqwen.checkpoint.stored import LazyShards, float_dtype
from mlxqwen.device import device
from mlxqwen.model.attention import Rope, make_rope
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Experts, Layer
from mlxqwen.model.linear import Embedding, Projection, QuantizedEmbedding, Stored, arrays_of
from mlxqwen.model.norm import RMSNorm
from mlxqwen.model.params import Params
from mlxqwen.model.step import Step
from mlxqwen.text.tokenizer import Tokenizer

EMBEDDING, HEAD, FINAL_NORM = "model.embed_tokens", "lm_head", "model.norm"

# Gives the matrix to use for a module (canonical path), from the one that the checkpoint holds.
Replace = Callable[[str, Stored], Stored]


def unchanged(module: str, matrix: Stored) -> Stored:
    """The ``Replace`` that replaces nothing."""
    del module
    return matrix


Fetch = Callable[[Path], None]


def is_here(shard: Path) -> None:
    """The ``Fetch`` of a folder that has all its shards."""
    del shard


class _Replacing(Params):
    """``Params`` whose matrices pass through a ``Replace``."""

    def __init__(
        self,
        tensors: Mapping[str, mx.array],
        specs: Mapping[str, QuantSpec],
        dtype: mx.Dtype,
        replace: Replace,
    ) -> None:
        super().__init__(tensors, specs, dtype)
        self._replace = replace

    def stored(self, module: str, out: int, width: int, lead: tuple[int, ...] = ()) -> Stored:
        return self._replace(module, super().stored(module, out, width, lead))


@dataclass(frozen=True, slots=True)
class Tensors:
    """Some tensors of a checkpoint by canonical name, read when first computed with.

    Keep one to build the same part several times; it then stays in memory.
    """

    arrays: Mapping[str, mx.array]
    specs: Mapping[str, QuantSpec]
    dtype: mx.Dtype

    def params(self, replace: Replace = unchanged) -> Params:
        """To be taken by a module's ``build``."""
        return _Replacing(self.arrays, self.specs, self.dtype, replace)


@dataclass(frozen=True, slots=True)
class Head:
    """Final norm and output matrix: ``(..., D) -> (..., V)``."""

    norm: RMSNorm
    projection: Projection

    def __call__(self, hidden: mx.array) -> mx.array:
        return self.projection(self.norm(hidden))


class Layerwise:
    """A checkpoint of which one part is in memory at a time. Make one with ``open``.

    Attributes:
        directory, config, layout: What the headers and the configuration say.
        dtype: What is computed in: float32 on the CPU, else what the norms are stored in.
    """

    def __init__(
        self, directory: Directory, config: ModelConfig, layout: Layout, fetch: Fetch
    ) -> None:
        self.directory = directory
        self.config = config
        self.layout = layout
        self._fetch = fetch
        stored = float_dtype(layout.origins[f"{FINAL_NORM}.weight"].parts[0].dtype)
        self.dtype: mx.Dtype = device().compute_dtype(stored)
        self._rope: Rope = make_rope(config.rope, config.rotary_dims)
        self._embedding: Embedding | QuantizedEmbedding | None = None
        self._head: Head | None = None

    @classmethod
    def open(cls, source: Path | Directory, *, fetch: Fetch = is_here) -> Self:
        """Reads headers and configuration only.

        Args:
            fetch: Called before a shard is read, and returns when it lies there (as
                ``Supply.fetch``).

        Raises:
            CheckpointError: Files are missing, damaged or inconsistent.
            UnsupportedModel: An architecture, layout or quantisation that is not read here.
        """
        directory = source if isinstance(source, Directory) else Directory.open(source)
        config = ModelConfig.parse(directory.config)
        return cls(directory, config, read_layout(directory, config), fetch)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer beside the weights.

        Raises:
            TokenizerError: There is none, or it cannot be read.
        """
        return Tokenizer.from_directory(self.directory.path)

    def origins(self, index: int) -> Iterator[Origin]:
        """Where the tensors of layer ``index`` come from."""
        prefix = f"model.layers.{index}."
        return (o for name, o in self.layout.origins.items() if name.startswith(prefix))

    def tensors(self, index: int) -> Tensors:
        """The tensors of layer ``index``, not yet read."""
        return self._tensors(self.origins(index))

    def layer(self, index: int) -> Layer:
        """Layer ``index``, read and ready; it is in memory for as long as the caller keeps it."""
        return self.layer_with(index, unchanged)

    def layer_with(self, index: int, replace: Replace, *, experts: Experts = "gathered") -> Layer:
        """Layer ``index`` with the matrices that ``replace`` gives, read and evaluated."""
        layer = self.build(index, self.tensors(index), replace, experts=experts)
        mx.eval(list(arrays_of(layer)))
        return layer

    def build(
        self,
        index: int,
        tensors: Tensors,
        replace: Replace = unchanged,
        *,
        experts: Experts = "gathered",
    ) -> Layer:
        """Layer ``index`` from ``tensors(index)``, lazily: for use inside what MLX differentiates.

        Args:
            experts: As of ``Model.build``.
        """
        return Layer.build(self.config, tensors.params(replace), index, self._rope, experts)

    def step(self, length: int) -> Step:
        """What layers are told about whole sequences of ``length`` tokens."""
        return Step.over(length, 0, None)

    def embedding(self, replace: Replace = unchanged) -> Embedding | QuantizedEmbedding:
        """The token table, read and evaluated."""
        params = self._tensors([self.layout.origins[f"{EMBEDDING}.weight"]]).params(replace)
        table = params.embedding(EMBEDDING, self.config.vocab_size, self.config.hidden_size)
        mx.eval(list(arrays_of(table)))
        return table

    def head(self, replace: Replace = unchanged) -> Head:
        """Final norm and output matrix, read and evaluated.

        A tied model's matrix is the token table's, and ``replace`` is asked for it by that name.
        """
        config, origins = self.config, self.layout.origins
        width = config.hidden_size
        module = EMBEDDING if config.tie_word_embeddings else HEAD
        wanted = [origins[f"{FINAL_NORM}.weight"], origins[f"{module}.weight"]]
        params = self._tensors(wanted).params(replace)
        norm = RMSNorm.build(config, params, FINAL_NORM, width)
        if config.tie_word_embeddings:
            projection = params.embedding(module, config.vocab_size, width).as_head()
        else:
            projection = params.linear(module, config.vocab_size, width)
        head = Head(norm, projection)
        mx.eval(list(arrays_of(head)))
        return head

    def norm(self) -> RMSNorm:
        """The final norm, which stands before the output matrix."""
        params = self._tensors([self.layout.origins[f"{FINAL_NORM}.weight"]]).params()
        return RMSNorm.build(self.config, params, FINAL_NORM, self.config.hidden_size)

    def embed(self, tokens: mx.array) -> mx.array:
        """Token vectors, ``(B, L) -> (B, L, D)``; the table is kept until ``release``."""
        if self._embedding is None:
            self._embedding = self.embedding()
        return self._embedding(tokens)

    def logits(self, hidden: mx.array) -> mx.array:
        """Final norm and head, ``(..., D) -> (..., V)``; the matrix is kept until ``release``."""
        if self._head is None:
            self._head = self.head()
        return self._head(hidden)

    def release(self) -> None:
        """Forgets the token table and the head; the next use reads them again."""
        self._embedding = self._head = None

    def _tensors(self, origins: Iterable[Origin]) -> Tensors:
        wanted = list(origins)
        found = {view.info.path for o in wanted for part in o.parts for view in part.views}
        paths = tuple(sorted(found))
        for path in paths:
            self._fetch(path)
        # Opened anew each time: an array that stays here would keep what was read through it.
        shards = LazyShards.open(paths)
        arrays: dict[str, mx.array] = {}
        for origin in wanted:
            arrays.update(origin_arrays(origin, shards))
        specs = {origin.module: origin.spec for origin in wanted if origin.spec is not None}
        return Tensors(arrays, specs, self.dtype)
