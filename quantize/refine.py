"""Scales and biases learned layer by layer, so that each layer's output stays what it was.

Two streams of hidden states are carried through the model: those of the unquantised layers, and
those of the layers as they will be written. Each layer's scales and biases are moved by Adam until
its output, given what the quantised layers before it make of the text, comes nearest to what the
unquantised one makes of its own input; so it also mends what earlier layers spoilt. Block-wise
reconstruction is BRECQ's (Li et al. 2021, arXiv 2102.05426), learning the quantiser's parameters
instead of weights OmniQuant's (Shao et al. 2023, arXiv 2308.13137), and keeping the codes while
scales and biases are learned that of the DWQ in mlx-lm.

What was learned is kept only where rows that learning never saw come out better, computed with the
very numbers that will be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from random import Random
from typing import Any, Protocol

import mlx.core as mx

from mlxqwen.builtin.optimizer import AdamW, Schedule
from mlxqwen.checkpoint.directory import Directory
from mlxqwen.model.decoder import Layer
from mlxqwen.model.linear import Embedding, Projection, QuantizedEmbedding, Stored
from mlxqwen.model.moe import SparseMoE

from .guidance import Guidance
from .hidden import Hidden
from .layerwise import EMBEDDING, Layerwise, Tensors
from .learnable import Packed, fingerprint, packed_matrices, pairs
from .plan import Plan
from .progress import Progress, Report


@dataclass(frozen=True, slots=True)
class Settings:
    """How scales are learned.

    Attributes:
        passes: How often each row of text is seen.
        batch_tokens: Tokens per step, rounded down to whole rows.
        rate: Peak learning rate: how far a step moves a typical weight, in scales of its group.
        held: Of so many batches one is kept aside to judge by.
        checks: How often it is judged; two in a row without gain end it.
    """

    passes: int = 4
    batch_tokens: int = 512
    rate: float = 0.02
    held: int = 5
    checks: int = 6


class Cache(Protocol):
    """Where a layer's result is kept, so that a run that was stopped continues behind it."""

    def load(self, key: str) -> Mapping[str, mx.array] | None: ...
    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None: ...


class NoCache:
    """Keeps nothing."""

    def load(self, key: str) -> Mapping[str, mx.array] | None:
        """Nothing is known."""
        del key

    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None:
        """Forgets."""


def refine(
    source: Directory,
    plan: Plan,
    guidance: Guidance,
    *,
    tokens: mx.array,
    identity: str = "",
    progress: Report | None = None,
    cache: Cache | None = None,
    settings: Settings | None = None,
) -> Guidance:
    """Learn scales and biases of a checkpoint's matrices for the specs in ``plan``.

    Holds one layer as stored and packed, and the hidden states of ``tokens`` twice, those on disk
    where they are many. The same inputs give the same result on the same device, whether the run
    was interrupted or not.

    Args:
        guidance: Its importance weighs the search that learning starts from.
        tokens: ``(N, L)`` rows of text, at least two batches of them: some are kept aside to judge.
        identity: Digest of the source, which keeps results of other sources apart in ``cache``.

    Returns:
        ``guidance`` with ``affine`` for the matrices of layers that gained, in the dtype that they
        are stored in.

    Raises:
        CheckpointError: The source cannot be read.
        OutputError: No room for hidden states.
    """
    settings = Settings() if settings is None else settings
    kept: Cache = NoCache() if cache is None else cache
    model = Layerwise.open(source)
    scope = scope_of(identity, plan, guidance, asdict(settings), tokens)
    count = model.config.num_hidden_layers
    learned: dict[str, mx.array] = {}
    size = max(1, min(settings.batch_tokens // tokens.shape[1], tokens.shape[0] // 2))
    # Batches of one shape: what is left over is not read.
    batches = [tokens[i : i + size] for i in range(0, tokens.shape[0] - size + 1, size)]
    nbytes = int(tokens.size) * model.config.hidden_size * model.dtype.size
    with Hidden(len(batches), nbytes) as wanted, Hidden(len(batches), nbytes) as reached:
        table = packed_matrices(plan, f"{EMBEDDING}.", guidance).get(EMBEDDING)
        for number, batch in enumerate(batches):
            wanted.write(number, model.embed(batch))
        own = model.embed if table is None else _table(model, table.stored(model.dtype, {}))
        for number, batch in enumerate(batches):
            reached.write(number, own(batch))
        model.release()
        for index in range(count):
            if progress is not None:
                progress(Progress.of("refine", index, count, f"layer {index + 1} of {count}"))
            key = f"{scope}-{index}"
            known = kept.load(key)
            layer = _Layer.read(model, index, plan, guidance)
            _advance(layer.source(), model, wanted)
            if known is None:
                known = _Learning(layer, settings, wanted, reached).run()
                kept.save(key, known)
            learned.update(known)
            _advance(layer.written(known), model, reached)
            del layer
            mx.clear_cache()
    if progress is not None:
        progress(Progress.of("refine", count, count))
    affine = {**guidance.affine, **pairs(learned)}
    return replace(guidance, identity=fingerprint(guidance.identity, learned), affine=affine)


def scope_of(
    identity: str, plan: Plan, guidance: Guidance, settings: Mapping[str, Any], tokens: mx.array
) -> str:
    """SHA-256 in hex of everything that decides what is learned."""
    parts = (
        identity,
        guidance.identity,
        plan.recipe.digest(),
        plan.digest(),
        settings,
        tokens.shape,
        tokens.tolist(),
    )
    return sha256(repr(parts).encode()).hexdigest()


def _table(model: Layerwise, table: Stored) -> Embedding | QuantizedEmbedding:
    return model.embedding(lambda _, __: table)


def _advance(layer: Layer, model: Layerwise, states: Hidden) -> None:
    """Puts ``layer(x)`` in the place of every x."""
    for number in range(len(states)):
        x = states.read(number)
        states.write(number, layer(x, None, model.step(x.shape[1])))


@dataclass(frozen=True, slots=True)
class _Constant:
    """A router whose choice is a constant to the gradient: MLX has none for a choice."""

    gate: Projection

    def __call__(self, x: mx.array) -> mx.array:
        return mx.stop_gradient(self.gate(x))


def routed_as_it_is(layer: Layer) -> Layer:
    """A layer to differentiate: what its router gives is a constant to the gradient."""
    block = layer.mlp
    if not isinstance(block, SparseMoE):
        return layer
    return replace(layer, mlp=replace(block, gate=_Constant(block.gate)))


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer: its tensors in the source, and its matrices as rounding leaves them."""

    model: Layerwise
    index: int
    tensors: Tensors
    packed: Mapping[str, Packed]

    @classmethod
    def read(cls, model: Layerwise, index: int, plan: Plan, guidance: Guidance) -> _Layer:
        packed = packed_matrices(plan, f"model.layers.{index}.", guidance)
        return cls(model, index, model.tensors(index), packed)

    def source(self) -> Layer:
        return self.model.build(self.index, self.tensors)

    def written(self, affine: Mapping[str, mx.array]) -> Layer:
        """The layer as it will be written, with these scales and biases by tensor name."""
        matrices = {name: p.stored(self.model.dtype, affine) for name, p in self.packed.items()}
        return self.model.build(
            self.index, self.tensors, lambda module, own: matrices.get(module, own)
        )

    def learnable(self) -> Iterator[Packed]:
        return (packed for packed in self.packed.values() if packed.is_learnable)


class _Learning:
    """Of one layer: ``wanted`` is what should come out, ``reached`` what goes in, by batch."""

    def __init__(self, layer: _Layer, settings: Settings, wanted: Hidden, reached: Hidden) -> None:
        self._layer = layer
        self._settings = settings
        self._wanted = wanted
        self._reached = reached
        numbers = range(len(wanted))
        self._held = numbers[:: settings.held]
        self._seen = [n for n in numbers if n % settings.held]
        self._step = layer.model.step(wanted.read(0).shape[1])

    def run(self) -> dict[str, mx.array]:
        """Scales and biases by tensor name, as they will be stored; {} where nothing was won."""
        settings, matrices = self._settings, list(self._layer.learnable())
        if not matrices:
            return {}
        offsets = {name: zeros for m in matrices for name, zeros in m.zeros().items()}
        optimizer = AdamW(offsets)
        total = settings.passes * len(self._seen)
        schedule = Schedule(settings.rate, max(1, total // 20), total)
        gradient = mx.value_and_grad(self._loss)
        best, kept, failures = self._judge({}), dict[str, mx.array](), 0
        power = mx.array(best)
        chance = Random(self._layer.index)
        order: list[int] = []
        checks = {total * check // settings.checks for check in range(1, settings.checks + 1)}
        for count in range(total):
            if not order:
                order = chance.sample(self._seen, len(self._seen))
            number = order.pop()
            states = self._reached.read(number), self._wanted.read(number)
            _, gradients = gradient(offsets, *states, power)
            optimizer.update(offsets, gradients, schedule(count))
            if count + 1 not in checks:
                continue
            moved = {k: v for m in matrices for k, v in m.moved(offsets, as_stored=True).items()}
            error = self._judge(moved)
            if error < best:
                best, kept, failures = error, moved, 0
            else:
                failures += 1
            if failures == 2:
                break
        mx.eval(kept)
        return kept

    def _loss(
        self, offsets: dict[str, mx.array], x: mx.array, wanted: mx.array, power: mx.array
    ) -> mx.array:
        """Squared difference, as a share of what it is at the start."""
        affine: dict[str, mx.array] = {}
        for matrix in self._layer.learnable():
            affine.update(matrix.moved(offsets))
        return self._error(routed_as_it_is(self._layer.written(affine)), x, wanted) / power

    def _judge(self, affine: Mapping[str, mx.array]) -> float:
        """Mean squared difference on the batches that are kept aside."""
        layer = self._layer.written(affine)
        errors = [
            self._error(layer, self._reached.read(n), self._wanted.read(n)) for n in self._held
        ]
        total = 0.0
        for error in errors:
            value = error.item()
            assert isinstance(value, float)
            total += value
        return total / len(errors)

    def _error(self, layer: Layer, x: mx.array, wanted: mx.array) -> mx.array:
        return mx.square((layer(x, None, self._step) - wanted).astype(mx.float32)).mean()
