"""One step of decoding: a token in, the next one out, sampler included.

On a GPU at one token the time goes into launching kernels and building their graph, so there the
whole step is one compiled function, with the cache and the sampler's memory going in and coming
out: it is traced once for each capacity of the cache and replayed for every token. The CPU computes
as soon as it can and would wait seconds for its compiler, so there the step stays plain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import mlx.core as mx

from ..model.cache import Cache
from ..model.decoder import Model
from ..model.step import Step
from .sampling import Sampler

if TYPE_CHECKING:
    from ..model.fused import FusedModel

# Tokens (L,) to the next token (1,); lazy, and already on its way.
Advance = Callable[[mx.array], mx.array]


def plain_step(model: Model, cache: Cache, sampler: Sampler) -> Advance:
    """The step as its operations: any number of tokens, any cache."""

    def advance(tokens: mx.array) -> mx.array:
        chosen = sampler(model(tokens[None], cache)[:, -1])
        mx.async_eval(chosen)
        return chosen

    return advance


def compiled_step(
    model: Model, cache: Cache, sampler: Sampler, fused: FusedModel | None = None
) -> Advance:
    """The step as one compiled function of one token; more tokens at once take the plain step.

    ``cache`` is that of one sequence, without padding; ``fused`` the layers to use for one token,
    in place of the plain ones.
    """
    plain = plain_step(model, cache, sampler)
    run = model.run if fused is None else fused.run

    def trace(
        tokens: mx.array, offset: mx.array, remembered: list[mx.array], chances: list[mx.array]
    ) -> tuple[mx.array, list[mx.array], list[mx.array]]:
        # Runs only while MLX records it: the caller's arrays give way to placeholders, and return.
        before, before_chances = cache.arrays, sampler.arrays
        cache.adopt(remembered)
        sampler.adopt(chances)
        step = Step.compiled(offset, cache.capacity)
        hidden = run(tokens[None], cache.layers, step)
        chosen = sampler(model.logits(hidden)[:, -1])
        made = chosen, cache.arrays, sampler.arrays
        cache.adopt(before)
        sampler.adopt(before_chances)
        return made

    compiled = mx.compile(trace)

    def advance(tokens: mx.array) -> mx.array:
        if tokens.size > 1 or cache.offset == 0:
            return plain(tokens)
        cache.reserve(1, 1)
        offset = mx.array([cache.offset])
        chosen, remembered, chances = compiled(tokens, offset, cache.arrays, sampler.arrays)
        cache.adopt(remembered)
        sampler.adopt(chances)
        cache.advance(1)
        mx.async_eval(chosen)
        return chosen

    return advance
