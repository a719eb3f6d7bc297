"""The engine: events, cancelling, reuse of what was read, refusals; one thread owns the arrays."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxqwen import Done, Engine, Prefill, Run, Sampling, Text, Thinking
from mlxqwen.checkpoint.load import load
from mlxqwen.errors import ContextExceeded, DoesNotFit, EngineError, ModelNotFound, UsageError
from mlxqwen.generate import sampling
from mlxqwen.generate.decode import generate_tokens

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[Engine]:
    with Engine.load(tiny) as loaded:
        yield loaded


def test_events_come_in_order_and_end_with_done(engine: Engine) -> None:
    events = list(engine.chat("Hello", max_tokens=12))
    assert isinstance(events[0], Prefill)
    assert events[0].total == engine.chat("Hello", max_tokens=1).result().usage.prompt_tokens
    assert isinstance(events[-1], Done)
    assert [type(event) for event in events].count(Done) == 1
    assert events[-1].usage.completion_tokens <= 12
    assert events[-1].timings.first_token <= events[-1].timings.total


def test_text_is_what_the_tokens_decode_to(engine: Engine, tiny: Path) -> None:
    model, tokenizer, _ = load(tiny)
    prompt = tokenizer.encode("Perché")
    tokens = list(itertools.islice(generate_tokens(model, prompt, eos_token_ids={257, 258}), 40))
    ended = [token for token in tokens if token not in (257, 258)]
    reply = engine.complete("Perché", sampling=GREEDY, max_tokens=40).result()
    assert reply.text == tokenizer.decode(ended)


def test_a_cancelled_run_keeps_its_text_and_the_engine(engine: Engine) -> None:
    run = engine.complete("abc", sampling=Sampling(seed=1), max_tokens=900)
    seen: list[object] = []
    for event in run:
        seen.append(event)
        if sum(isinstance(item, Text) for item in seen) == 3:
            run.cancel()
    last = seen[-1]
    assert isinstance(last, Done)
    assert last.reason == "cancelled"
    assert last.usage.completion_tokens < 100
    assert engine.complete("abc", sampling=GREEDY, max_tokens=3).result().usage.cached_tokens > 0


def test_warm_answers_equal_cold_ones_after_any_interruption(engine: Engine, tiny: Path) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 12
    with Engine.load(tiny) as fresh:
        cold = fresh.complete(text, sampling=GREEDY, max_tokens=24).result()
    for cut in (1, 5, 9):
        run = engine.complete(text, sampling=Sampling(seed=cut), max_tokens=200)
        for count, _ in enumerate(run):
            if count == cut:
                run.cancel()
        warm = engine.complete(text, sampling=GREEDY, max_tokens=24).result()
        assert warm.text == cold.text
        assert warm.usage.cached_tokens >= 256  # a whole chunk at least, wherever it was cut


def test_a_longer_conversation_reads_only_what_is_new(engine: Engine) -> None:
    messages = [{"role": "user", "content": "one " * 40}]
    first = engine.chat(messages, max_tokens=8, sampling=GREEDY).result()
    messages += [
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "two"},
    ]
    second = engine.chat(messages, max_tokens=8, sampling=GREEDY).result()
    assert second.usage.cached_tokens >= first.usage.prompt_tokens


def test_a_hybrid_goes_back_to_the_end_of_the_last_question(tiny_hybrid: Path) -> None:
    messages = [{"role": "user", "content": "one " * 40}]
    with Engine.load(tiny_hybrid) as hybrid, Engine.load(tiny_hybrid) as fresh:
        first = hybrid.chat(messages, think=True, max_tokens=8, sampling=GREEDY).result()
        # The thought is not repeated, so the next prompt parts from what was read before it.
        messages += [
            {"role": "assistant", "content": "ok"},
            {"role": "user", "content": "two"},
        ]
        warm = hybrid.chat(messages, think=True, max_tokens=8, sampling=GREEDY).result()
        cold = fresh.chat(messages, think=True, max_tokens=8, sampling=GREEDY).result()
    assert first.usage.prompt_tokens - 40 < warm.usage.cached_tokens < first.usage.prompt_tokens
    assert (warm.thinking, warm.text) == (cold.thinking, cold.text)


def test_seeds_repeat_and_the_checkpoints_defaults_sample(engine: Engine) -> None:
    def answer(seed: int | None) -> str:
        return engine.complete("x", sampling=Sampling(seed=seed), max_tokens=24).result().text

    assert answer(5) == answer(5)
    assert answer(5) != answer(6)


def test_thinking_begins_where_the_prompt_opens_it(engine: Engine) -> None:
    events = list(engine.chat("Hi", think=True, sampling=GREEDY, max_tokens=16))
    assert any(isinstance(event, Thinking) for event in events)
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage.thinking_tokens > 0
    assert done.timings.thinking > 0
    plain = list(engine.chat("Hi", think=False, sampling=GREEDY, max_tokens=16))
    assert not any(isinstance(event, Thinking) for event in plain)


def test_stop_strings_end_the_answer_and_stay_out_of_it(engine: Engine) -> None:
    whole = engine.complete("abc", sampling=GREEDY, max_tokens=60).result().text
    stop = whole[10:13]
    reply = engine.complete("abc", sampling=GREEDY, stop=[stop], max_tokens=60).result()
    assert reply.text == whole[: whole.index(stop)]
    assert reply.reason == "stop"


async def test_async_iteration_leaves_the_loop_free(engine: Engine) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    events = [event async for event in engine.complete("abc", max_tokens=30)]
    ticker.cancel()
    assert isinstance(events[-1], Done)
    assert ticks > len(events)


def test_runs_queue_and_do_not_mix(engine: Engine) -> None:
    runs = [engine.complete(text, sampling=GREEDY, max_tokens=20) for text in ("abc", "xyz", "abc")]
    texts = [run.result(timeout=60).text for run in runs]
    assert texts[0] == texts[2] != texts[1]


def test_result_times_out_without_ending_the_run(engine: Engine) -> None:
    run = engine.complete("abc", max_tokens=800)
    with pytest.raises(TimeoutError):
        run.result(timeout=0.0001)
    run.cancel()
    assert run.result(timeout=30).reason == "cancelled"


def test_an_abandoned_run_stops_by_itself(engine: Engine) -> None:
    run: Run | None = engine.complete("abc", max_tokens=1000)
    next(iter(run))
    del run
    gc.collect()
    began = time.perf_counter()
    engine.complete("x", max_tokens=1).result(timeout=30)
    assert time.perf_counter() - began < 5


def test_refusals_name_the_number(engine: Engine) -> None:
    with pytest.raises(ContextExceeded, match="1,024"):
        engine.complete("a" * 2000)
    with pytest.raises(UsageError, match="99999"):
        engine.complete([1, 99999])
    with pytest.raises(UsageError, match="empty"):
        engine.complete("")
    with pytest.raises(UsageError, match="max_tokens"):
        engine.complete("a", max_tokens=0)


def test_the_answer_ends_with_the_context(tiny: Path) -> None:
    with Engine.load(tiny, context=64) as small:
        reply = small.complete("a" * 40, sampling=GREEDY).result()
    assert reply.reason == "length"
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens == 64


def test_a_model_too_large_is_refused_with_numbers(tiny: Path) -> None:
    with pytest.raises(DoesNotFit, match="does not fit") as caught:
        Engine.load(tiny, budget=100_000)
    assert "100 KB" in caught.value.what


def test_an_unknown_model_is_not_downloaded() -> None:
    with pytest.raises(ModelNotFound, match="mlxqwen"):
        Engine.load("nobody/has-this-model")


def test_closing_twice_and_using_after(tiny: Path) -> None:
    before = threading.active_count()
    engine = Engine.load(tiny)
    run = engine.complete("abc", max_tokens=1000)
    queued = engine.complete("abc", max_tokens=1000)
    engine.close()
    engine.close()
    assert run.result(timeout=5).reason in ("cancelled", "length", "stop")
    with pytest.raises(EngineError, match="closed"):
        engine.complete("abc")
    assert queued.result(timeout=1).reason == "cancelled"
    assert threading.active_count() <= before


def test_engines_live_side_by_side(tiny: Path) -> None:
    with Engine.load(tiny) as one, Engine.load(tiny) as other:
        runs = [e.complete("abc", sampling=GREEDY, max_tokens=50) for e in (one, other)]
        first, second = (run.result(timeout=60).text for run in runs)
    assert first == second


def test_a_failure_leaves_no_half_written_cache(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = engine.complete("abcdef", sampling=GREEDY, max_tokens=8).result().text
    real = sampling.Sampler.__call__
    calls = itertools.count()

    def failing(self: sampling.Sampler, logits: mx.array) -> mx.array:
        if next(calls) == 1:
            raise RuntimeError("the device is gone")
        return real(self, logits)

    monkeypatch.setattr(sampling.Sampler, "__call__", failing)
    with pytest.raises(RuntimeError, match="gone"):
        engine.complete("abcxyz", sampling=GREEDY, max_tokens=20).result()
    monkeypatch.undo()
    reply = engine.complete("abcdef", sampling=GREEDY, max_tokens=8).result()
    assert reply.usage.cached_tokens == 0
    assert reply.text == cold


def test_a_lone_stop_string_is_one(engine: Engine) -> None:
    whole = engine.complete("abc", sampling=GREEDY, max_tokens=60).result().text
    reply = engine.complete("abc", sampling=GREEDY, stop=whole[10:13], max_tokens=60).result()
    assert reply.text == whole[: whole.index(whole[10:13])]


async def test_two_async_readers_share_a_run_and_both_end(engine: Engine) -> None:
    run = engine.complete("abc", max_tokens=30)

    async def read() -> list[object]:
        return [event async for event in run]

    halves = await asyncio.wait_for(asyncio.gather(read(), read()), 30)
    assert sum(isinstance(event, Done) for half in halves for event in half) == 1


@pytest.mark.parametrize("context", [0, -5])
def test_a_context_that_holds_nothing(tiny: Path, context: int) -> None:
    with pytest.raises(UsageError, match=str(context)):
        Engine.load(tiny, context=context)


@pytest.mark.parametrize("wrong", [0, 2.5, "9", True])
def test_max_tokens_is_a_whole_number(engine: Engine, wrong: Any) -> None:
    with pytest.raises(UsageError, match="whole number"):
        engine.complete("a", max_tokens=wrong)
