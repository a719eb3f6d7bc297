"""One decode step of our runtime and of mlx-lm, to be traced: model, cache and greedy choice.

Nothing is computed. The caches are made as if ``context`` tokens were there in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, cast

import mlx.core as mx

from .standins import Standins, gpu_as_default, metal_standins
from .trace import Graph, Step, trace

# How many times the layers are gone through, and how many steps there is room for → the step.
_Make = Callable[[int, int], Step]
# Steps that are built to time it, the first ones unmeasured: in those a compiled one is recorded.
_BUILT, _UNMEASURED = 32, 4
# mlx-lm grows its caches by this many tokens.
_PEER_STEP = 256


@dataclass(frozen=True, slots=True)
class Traced:
    """The graphs of two steps: of the model, and of one with all its layers twice.

    Their difference is what the layers take; what is left is embedding, head and choice.

    ``build_s`` is the processor time that the host needs for the graph of one step.
    """

    once: Graph
    twice: Graph
    layers: int
    build_s: float


def trace_side(side: str, path: str, context: int) -> Traced:
    """Traces the decode step of ``side`` for the model in folder ``path``.

    To be called in a process that has imported neither mlx-lm nor our runtime yet, for functions
    that these compile as they are imported are seen only if MLX was prepared before.

    Raises:
        CheckpointError, UnsupportedModel: As ``load`` raises them.
    """
    with metal_standins() as standins, SIDES[side](standins, path, context) as (make, layers):
        token = mx.array([1], mx.uint32)
        once, twice = (trace(standins, make(times, 1), token) for times in (1, 2))
        return Traced(once, twice, layers, _build_s(make(1, _BUILT), token))


def _build_s(step: Step, token: mx.array) -> float:
    times: list[float] = []
    for _ in range(_BUILT):
        start = time.thread_time()
        token = step(token)[0]
        times.append(time.thread_time() - start)
    return median(times[_UNMEASURED:])


@contextmanager
def ours(standins: Standins, path: str, context: int) -> Generator[tuple[_Make, int]]:
    """Our compiled step, on Metal's terms: stored dtype, kernels where they fit."""
    with gpu_as_default():
        from ..checkpoint.load import load_model
        from ..generate.options import GREEDY
        from ..generate.sampling import Sampler
        from ..generate.step import compiled_step
        from ..model.cache import Cache, DeltaState, make_cache
        from ..model.fused import FusedModel

        model, config = load_model(path)

        def empty(times: int) -> Cache:
            return Cache([s for _ in range(times) for s in make_cache(model).layers], None)

        def make(times: int, steps: int) -> Step:
            repeated = replace(model, layers=model.layers * times)
            shaped, cache = empty(times), empty(times)
            _rehearsed(standins, repeated, shaped)
            cache.reserve(1, context)
            for state, like in zip(cache.layers, shaped.layers, strict=True):
                if isinstance(state, DeltaState):
                    state.adopt(*_zeros(like.arrays))
            cache.advance(context - steps)
            sampler = Sampler(GREEDY, config.vocab_size)
            advance = compiled_step(repeated, cache, sampler, FusedModel.of(repeated))

            def step(token: mx.array) -> Sequence[mx.array]:
                return [advance(token), *cache.arrays, *sampler.arrays]

            return step

        yield make, config.num_hidden_layers


def _rehearsed(standins: Standins, model: Callable[[mx.array, Any], mx.array], cache: Any) -> None:
    """Lets ``cache`` take one token, for the shapes of its arrays; they hold nothing."""

    def once(tokens: mx.array) -> Sequence[mx.array]:
        return [model(tokens, cache)]

    trace(standins, once, _ONE)


@contextmanager
def theirs(standins: Standins, path: str, context: int) -> Generator[tuple[_Make, int]]:
    """The step of mlx-lm's ``generate_step`` with its own greedy sampler."""
    import mlx_lm
    from mlx_lm.models import cache as kinds

    library, caches = cast(Any, mlx_lm), cast(Any, kinds)
    model = library.load(path)[0]
    layers = model.model.layers

    def peer(tokens: mx.array, cache: Any) -> mx.array:
        return model(tokens, cache=cache)

    def make(times: int, steps: int) -> Step:
        model.model.layers = layers * 1
        cache = [c for _ in range(times) for c in caches.make_prompt_cache(model)]
        model.model.layers = layers * times
        _rehearsed(standins, peer, cache)
        for state in cache:
            if isinstance(state, caches.KVCache):
                batch, heads, _, width = state.keys.shape
                room = -(-context // _PEER_STEP) * _PEER_STEP
                shape = (batch, heads, room, width)
                state.keys, state.values = (
                    mx.zeros(shape, array.dtype) for array in (state.keys, state.values)
                )
                mx.eval(state.keys, state.values)
                state.offset = context - steps
            else:
                state.cache = _zeros(state.cache)

        def step(token: mx.array) -> Sequence[mx.array]:
            logits = model(token[None], cache=cache)[:, -1, :]
            logprobs = logits - mx.logsumexp(logits, keepdims=True)
            chosen = mx.argmax(logprobs, axis=-1)
            held = [
                array
                for state in cache
                for array in (
                    (state.keys, state.values) if isinstance(state, caches.KVCache) else state.cache
                )
            ]
            return [chosen, logprobs.squeeze(0), *held]

        return step

    with gpu_as_default():
        yield make, len(layers)


def _zeros(like: Sequence[mx.array]) -> list[mx.array]:
    made = [mx.zeros(array.shape, array.dtype) for array in like]
    mx.eval(made)
    return made


_ONE = mx.array([[1]], mx.uint32)

SIDES = {"mlxqwen": ours, "mlx-lm": theirs}
