"""Scales and biases of the whole model learned at once, so that it predicts what the source does.

The distillation of mlx-lm's DWQ: codes stay, scales and biases are moved by Adam until the KL
divergence from the source's predictions is least. Here the source is computed beforehand, one layer
at a time, and only its last hidden states and its head are kept, so that memory holds the quantised
model alone; and any layout can be the source.

What was learned is kept only where text that learning never saw is predicted better, computed with
the very numbers that will be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from random import Random
from typing import cast

import mlx.core as mx

from mlxqwen.builtin.optimizer import AdamW, Schedule
from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.safetensors import DTYPE_BYTES
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.linear import Projection, QuantizedEmbedding, Rows, fuse
from mlxqwen.model.norm import RMSNorm

from .guidance import Guidance
from .hidden import Hidden
from .layerwise import EMBEDDING, HEAD, Head, Layerwise, Tensors
from .learnable import Packed, fingerprint, is_learnable, packed_matrices, pairs
from .plan import Plan
from .progress import Progress, Report
from .refine import Cache, NoCache, routed_as_it_is, scope_of


@dataclass(frozen=True, slots=True)
class Distillation:
    """How it is done; as ``Settings`` of ``refine``."""

    passes: int = 2
    batch_tokens: int = 512
    rate: float = 0.004
    held: int = 5
    checks: int = 4


def distil_need(plan: Plan, config: ModelConfig, settings: Distillation | None = None) -> int:
    """Bytes that ``distil`` takes at most, estimated from headers alone."""
    settings = Distillation() if settings is None else settings
    steps = [step for shard in plan.shards for step in shard.steps]
    learned = sum(
        2 * prod(step.outputs[1].shape)
        for step in steps
        if step.spec is not None and is_learnable(step.spec)
    )
    largest = max(prod(step.tensor.shape) for step in steps)
    head = config.vocab_size * config.hidden_size
    tokens = settings.batch_tokens
    # Offsets, two moments, gradient and the moved numbers; a matrix's gradient before it is summed
    # over groups; the source's head; logits of both and what comes between; what layers hand on.
    return (
        plan.tensor_bytes
        + learned * 6 * 4
        + largest * 2 * 4
        + head * DTYPE_BYTES["F32"]
        + tokens * config.vocab_size * 6 * 4
        + tokens * config.hidden_size * 4 * (config.num_hidden_layers + 16)
    )


def distil(
    source: Directory,
    plan: Plan,
    guidance: Guidance,
    *,
    tokens: mx.array,
    identity: str = "",
    progress: Report | None = None,
    cache: Cache | None = None,
    settings: Distillation | None = None,
) -> Guidance:
    """Go on from the scales and biases in ``guidance``, or from rounding where there are none.

    Holds the quantised model in memory: see ``distil_need``. An interrupted run begins anew.
    Arguments, result and errors are those of ``refine``.
    """
    settings = Distillation() if settings is None else settings
    kept: Cache = NoCache() if cache is None else cache
    key = f"{scope_of(identity, plan, guidance, asdict(settings), tokens)}-distilled"
    learned = kept.load(key)
    if learned is None:
        learned = _learn(Layerwise.open(source), plan, guidance, tokens, settings, progress)
        kept.save(key, learned)
    affine = {**guidance.affine, **pairs(learned)}
    return replace(guidance, identity=fingerprint(guidance.identity, learned), affine=affine)


def _learn(
    model: Layerwise,
    plan: Plan,
    guidance: Guidance,
    tokens: mx.array,
    settings: Distillation,
    progress: Report | None,
) -> dict[str, mx.array]:
    size = max(1, min(settings.batch_tokens // tokens.shape[1], tokens.shape[0] // 2))
    batches = [tokens[i : i + size] for i in range(0, tokens.shape[0] - size + 1, size)]
    step = model.step(tokens.shape[1])
    nbytes = int(tokens.size) * model.config.hidden_size * model.dtype.size
    count = model.config.num_hidden_layers
    with Hidden(len(batches), nbytes) as last:
        for number, batch in enumerate(batches):
            last.write(number, model.embed(batch))
        for index in range(count):
            _tell(progress, index, count, f"source, layer {index + 1} of {count}")
            layer = model.layer(index)
            for number in range(len(batches)):
                last.write(number, layer(last.read(number), None, step))
            del layer
            mx.clear_cache()
        model.release()
        head = model.head()
        student = Student.read(model, plan, guidance, head)
        return _Distilling(student, head, batches, last, settings, progress).run()


def _tell(progress: Report | None, done: int, total: int, message: str) -> None:
    if progress is not None:
        progress(Progress.of("refine", done, total, message))


@dataclass(frozen=True, slots=True)
class Student:
    """The model as it will be written; ``tensors`` of each layer are what is not quantised."""

    model: Layerwise
    tensors: tuple[Tensors, ...]
    packed: Mapping[str, Packed]
    norm: RMSNorm
    source_head: Projection

    @classmethod
    def read(cls, model: Layerwise, plan: Plan, guidance: Guidance, head: Head) -> Student:
        layers = range(model.config.num_hidden_layers)
        tensors = tuple(model.tensors(index) for index in layers)
        packed = packed_matrices(plan, "", guidance)
        return cls(model, tensors, packed, head.norm, head.projection)

    def learnable(self) -> list[Packed]:
        """All but the token table, whose rows are looked up one by one."""
        return [p for p in self.packed.values() if p.is_learnable and p.module != EMBEDDING]

    def logits(self, tokens: mx.array, affine: Mapping[str, mx.array]) -> mx.array:
        """``(B, L) -> (B, L, V)`` with these scales and biases by tensor name."""
        model, dtype = self.model, self.model.dtype
        step = model.step(tokens.shape[1])

        def of(path: str) -> dict[str, mx.array]:
            return {name: value for name, value in affine.items() if name.startswith(f"{path}.")}

        def through(index: int) -> Callable[[mx.array, dict[str, mx.array]], mx.array]:
            def run(x: mx.array, own: dict[str, mx.array]) -> mx.array:
                layer = model.build(
                    index,
                    self.tensors[index],
                    lambda module, matrix: (
                        self.packed[module].stored(dtype, own) if module in self.packed else matrix
                    ),
                )
                return routed_as_it_is(layer)(x, None, step)

            # Computed again on the way back: else every layer's inner states would be kept.
            return mx.checkpoint(run)

        x = self.table()(tokens)
        for index in range(len(self.tensors)):
            x = through(index)(x, of(f"model.layers.{index}"))
        return self.head(affine)(self.norm(x))

    def table(self) -> Callable[[mx.array], mx.array]:
        packed = self.packed.get(EMBEDDING)
        return self.model.embed if packed is None else self._embedding(packed)

    def head(self, affine: Mapping[str, mx.array]) -> Projection:
        tied = self.model.config.tie_word_embeddings
        packed = self.packed.get(EMBEDDING if tied else HEAD)
        if packed is None:
            return self.source_head
        if tied:
            return self._embedding(packed).as_head()
        return fuse([Rows(packed.stored(self.model.dtype, affine), None)])

    def _embedding(self, packed: Packed) -> QuantizedEmbedding:
        table = packed.stored(self.model.dtype, {})
        assert table.scales is not None
        return QuantizedEmbedding(
            table.weight, table.scales, table.biases, packed.spec, self.model.dtype
        )


class _Distilling:
    def __init__(
        self,
        student: Student,
        head: Head,
        batches: list[mx.array],
        last: Hidden,
        settings: Distillation,
        progress: Report | None,
    ) -> None:
        self._student = student
        self._head = head
        self._batches = batches
        self._last = last
        self._settings = settings
        self._progress = progress
        numbers = range(len(batches))
        self._held = list(numbers[:: settings.held])
        self._seen = [number for number in numbers if number % settings.held]

    def run(self) -> dict[str, mx.array]:
        """Scales and biases by tensor name, as they will be stored; {} where nothing was won."""
        settings, matrices = self._settings, self._student.learnable()
        if not matrices:
            return {}
        offsets = {name: zeros for m in matrices for name, zeros in m.zeros().items()}
        optimizer = AdamW(offsets)
        total = settings.passes * len(self._seen)
        schedule = Schedule(settings.rate, max(1, total // 20), total)
        best, kept, failures = self._judge({}), dict[str, mx.array](), 0
        checks = {total * check // settings.checks for check in range(1, settings.checks + 1)}
        chance, order = Random(0), list[int]()
        gradient = mx.value_and_grad(self._loss)
        for count in range(total):
            _tell(self._progress, count, total, f"KL {best:.4f} on text kept aside")
            if not order:
                order = chance.sample(self._seen, len(self._seen))
            number = order.pop()
            _, gradients = gradient(offsets, self._batches[number], self._wanted(number))
            optimizer.update(offsets, gradients, schedule(count))
            if count + 1 in checks:
                moved = {
                    k: v for m in matrices for k, v in m.moved(offsets, as_stored=True).items()
                }
                error = self._judge(moved)
                if error < best:
                    best, kept, failures = error, moved, 0
                else:
                    failures += 1
                if failures == 2:
                    break
        mx.eval(kept)
        return kept

    def _loss(self, offsets: dict[str, mx.array], tokens: mx.array, wanted: mx.array) -> mx.array:
        affine: dict[str, mx.array] = {}
        for matrix in self._student.learnable():
            affine.update(matrix.moved(offsets))
        return _divergence(wanted, self._student.logits(tokens, affine))

    def _judge(self, affine: Mapping[str, mx.array]) -> float:
        """Mean KL, in nats, on the batches that are kept aside."""
        total = 0.0
        for number in self._held:
            logits = self._student.logits(self._batches[number], affine)
            total += cast("float", _divergence(self._wanted(number), logits).item())
        return total / len(self._held)

    def _wanted(self, number: int) -> mx.array:
        """The source's log-probabilities, ``(B, L, V)``."""
        logits = self._head(self._last.read(number)).astype(mx.float32)
        wanted = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        mx.eval(wanted)
        return wanted


def _divergence(wanted: mx.array, logits: mx.array) -> mx.array:
    """Mean KL of predictions from log-probabilities ``wanted``."""
    logits = logits.astype(mx.float32)
    got = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return (mx.exp(wanted) * (wanted - got)).sum(axis=-1).mean()
