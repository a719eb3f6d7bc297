"""Prompt ids in, answer ids out: chunked prefill and pipelined decoding. Knows no text."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, cast

import mlx.core as mx

from ..device import device
from ..model.cache import Cache, make_cache
from ..model.decoder import Model
from .options import GREEDY, Sampling
from .sampling import Sampler
from .step import compiled_step, plain_step

if TYPE_CHECKING:
    from ..model.fused import FusedModel

# A GPU that works longer than some seconds at one piece is stopped by its watchdog, so a chunk that
# takes more than this many seconds makes the following ones half as long.
_LONG_CHUNK, _SHORTEST_CHUNK = 1.0, 256


def prefill(
    model: Model,
    tokens: Sequence[int],
    cache: Cache,
    *,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> bool:
    """Reads ``tokens`` into ``cache``, a chunk at a time.

    Only the cache is evaluated: the output head and the last layer's feed-forward, which nothing
    here needs, are never computed.

    Args:
        on_progress: Called after each chunk with the tokens read so far.
        should_stop: Asked before each chunk; true ends the reading, with ``cache`` valid for what
            was read.

    Returns:
        Whether all tokens were read.
    """
    size, on_gpu = model.config.prefill_chunk, device().kind != "cpu"
    done = 0
    while done < len(tokens):
        if should_stop is not None and should_stop():
            return False
        chunk = list(tokens[done : done + size])
        began = time.perf_counter()
        model.hidden(mx.array(chunk)[None], cache)
        mx.eval(cache.arrays)
        if on_gpu:
            mx.clear_cache()
            if time.perf_counter() - began > _LONG_CHUNK:
                size = max(_SHORTEST_CHUNK, size // 2)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done)
    return True


def generate_tokens(
    model: Model,
    prompt: Sequence[int] | mx.array,
    *,
    cache: Cache | None = None,
    sampling: Sampling = GREEDY,
    max_tokens: int = 256,
    eos_token_ids: Collection[int] = (),
    history: Sequence[int] = (),
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    interject: Callable[[], Sequence[int]] | None = None,
    fused: FusedModel | None = None,
) -> Generator[int]:
    """Yields token ids, one at a time; the last one may be an EOS.

    Decoding is pipelined: while the caller handles token n, token n + 1 is being computed. The
    cache has then read every token that was yielded, except a last one that nothing follows:
    ``cache.offset`` says which.

    Args:
        model: From ``load``.
        prompt: Token ids still to be read, at least one; a list, or an array ``(L,)``.
        cache: What was read before; a new one by default.
        sampling: ``None`` fields are neutral; greedy by default.
        max_tokens: Ends after so many.
        eos_token_ids: Ids that end the generation after being yielded.
        history: Tokens that the cache has read already, for the repetition penalty.
        on_progress, should_stop: As in ``prefill``; ``should_stop`` is also asked at every token.
        interject: Asked after every token of the model, once the caller has handled it. The ids it
            returns are yielded next, in place of what the model would have said, and the model goes
            on from there. They count towards ``max_tokens``, which may cut them short.
        fused: ``fused_model(model)``, whose kernels decode in place of the plain layers.

    Raises:
        ValueError: if ``prompt`` is empty, or holds an id outside the vocabulary.
    """
    prompt = [int(token) for token in cast(Iterable[int], prompt)]
    if not prompt:
        raise ValueError("a prompt needs at least one token")
    vocab = model.config.vocab_size
    outside = next((token for token in prompt if not 0 <= token < vocab), None)
    if outside is not None:
        # MLX reads whatever lies there in memory.
        raise ValueError(f"token {outside} is outside the vocabulary of {vocab}")
    if max_tokens < 1:
        return
    cache = cache if cache is not None else make_cache(model)
    stop = should_stop if should_stop is not None else _never
    if not prefill(model, prompt[:-1], cache, on_progress=on_progress, should_stop=stop):
        return
    sampler = Sampler(sampling, model.config.vocab_size, (*history, *prompt))

    if device().kind == "cpu" or cache.left_padding is not None:
        step = plain_step(model, cache, sampler)
    else:
        step = compiled_step(model, cache, sampler, fused)
    if stop():
        return
    pending = step(mx.array([prompt[-1]], mx.uint32))
    if on_progress is not None:
        on_progress(len(prompt))
    count = 0
    while count < max_tokens:
        current, count = pending, count + 1
        if count < max_tokens:
            pending = step(current)
        token = cast(int, current.item())
        yield token
        if token in eos_token_ids or stop():
            return
        forced = list(interject())[: max_tokens - count] if interject is not None else []
        if forced:
            # Nothing has read the pending choice: dropping it leaves the cache as it should be.
            sampler.choose_instead(forced)
        for position, token in enumerate(forced, start=1):
            count += 1
            if position == len(forced) and count < max_tokens:
                pending = step(mx.array(forced))
            yield token
            if stop():
                return


def _never() -> bool:
    return False
