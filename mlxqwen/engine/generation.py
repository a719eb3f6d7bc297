"""One request from prompt ids to events; runs on the engine's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..generate.decode import generate_tokens
from ..generate.options import Sampling
from ..generate.prefix import Timeline
from ..text.channels import Channels, Text, Thinking, ToolCall
from ..text.tokenizer import Detokenizer
from .events import Done, Prefill, Reason, Timings, Usage
from .run import Stream

# No character has more bytes than 4, so one that a token has begun is complete 3 tokens later.
_TOKENS_TO_COMPLETE = 3


@dataclass(frozen=True, slots=True)
class ThoughtLimit:
    """After ``tokens`` tokens of thought, ``closing`` is put into the model's mouth."""

    tokens: int
    closing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything one generation needs to know; ``sampling`` has no ``None`` but the seed.

    ``marked`` is how much of the prompt the next turn will begin with whatever is answered; models
    that cannot be cut back to any token mark that position. 0 marks nothing.
    """

    prompt: list[int]
    channels: Channels
    sampling: Sampling
    max_tokens: int
    eos: frozenset[int]
    detokenizer: Detokenizer
    started: float
    thought_limit: ThoughtLimit | None = None
    marked: int = 0


class _Clock:
    """Seconds since the run began, noted once at each milestone."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.prefill = 0.0
        self.first_token = 0.0
        self.thinking_from: float | None = None
        self.thinking_to: float | None = None
        self.thinking_tokens = 0

    def now(self) -> float:
        return time.perf_counter() - self._started

    def saw(self, parts: Sequence[Thinking | Text | ToolCall]) -> None:
        """Notes when thinking began and ended."""
        for part in parts:
            if isinstance(part, Thinking):
                if self.thinking_from is None:
                    self.thinking_from = self.first_token
                self.thinking_to = None
            elif self.thinking_from is not None and self.thinking_to is None:
                self.thinking_to = self.now()

    def timings(self) -> Timings:
        total = self.now()
        thinking = 0.0
        if self.thinking_from is not None:
            ended = self.thinking_to if self.thinking_to is not None else total
            thinking = ended - self.thinking_from
        return Timings(self.prefill, self.first_token, total, thinking)


def generate(timeline: Timeline, request: Request, stream: Stream) -> None:
    """Reads the prompt, decodes, and puts events into ``stream``, the last a ``Done``.

    However it ends, ``timeline`` afterwards holds exactly the tokens that the cache has read; where
    it raises, none.
    """
    try:
        _generate(timeline, request, stream)
    except BaseException:
        timeline.forget()
        raise


def _generate(timeline: Timeline, request: Request, stream: Stream) -> None:
    clock = _Clock(request.started)
    prompt, channels = request.prompt, request.channels
    cached = timeline.rewind_to(prompt)
    stream.put(Prefill(cached, len(prompt), cached))

    def progress_from(read: int) -> Callable[[int], None]:
        def on_progress(done: int) -> None:
            clock.prefill = clock.now()
            stream.put(Prefill(read + done, len(prompt), cached))

        return on_progress

    stopped = stream.cancelled.is_set
    if cached < request.marked < len(prompt):
        timeline.read_and_mark(prompt[cached : request.marked], progress_from(cached), stopped)
    read = len(timeline.tokens)
    produced: list[int] = []
    reason: Reason = "length"
    called = False
    text = ""

    def close_thought() -> tuple[int, ...]:
        limit = request.thought_limit
        if limit is None or not channels.thinking or clock.thinking_tokens < limit.tokens:
            return ()
        if not text and clock.thinking_tokens < limit.tokens + _TOKENS_TO_COMPLETE:
            return ()  # in the middle of a character
        return limit.closing

    tokens = generate_tokens(
        timeline.model,
        prompt[read:],
        cache=timeline.cache,
        sampling=request.sampling,
        max_tokens=request.max_tokens,
        eos_token_ids=request.eos,
        history=prompt[:read],
        on_progress=progress_from(read),
        should_stop=stopped,
        interject=close_thought,
        fused=timeline.fused,
    )
    for token in tokens:
        if not produced:
            clock.first_token = clock.now()
        produced.append(token)
        if token in request.eos:
            reason = "stop"
            break
        text = request.detokenizer.add(token)
        parts = channels.feed(text)
        clock.saw(parts)
        clock.thinking_tokens += channels.thinking
        for part in parts:
            called = called or isinstance(part, ToolCall)
            stream.put(part)
        if channels.stopped:
            reason = "stop"
            break
    tokens.close()
    timeline.commit([*prompt[read:], *produced])
    tail = [*channels.feed(request.detokenizer.finish()), *channels.finish()]
    clock.saw(tail)
    for part in tail:
        called = called or isinstance(part, ToolCall)
        stream.put(part)
    if reason != "stop" and stream.cancelled.is_set():
        reason = "cancelled"
    elif reason == "stop" and called:
        reason = "tool_calls"
    usage = Usage(len(prompt), cached, len(produced), clock.thinking_tokens)
    stream.put(Done(reason, usage, clock.timings()))
