"""Forecasts: what chat then does, to the token; memory by the plan's rules; advice that helps."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mlxqwen import Engine, Sampling
from mlxqwen.engine.forecast import TYPICAL_ANSWER, forecast
from mlxqwen.engine.memory import plan
from mlxqwen.errors import ContextExceeded, UsageError
from mlxqwen.model.config import ModelConfig

GREEDY = Sampling(temperature=0.0)
GB = 10**9


@pytest.fixture
def engine(tiny: Path):
    with Engine.load(tiny) as loaded:
        yield loaded


def user(text):
    return {"role": "user", "content": text}


@pytest.mark.parametrize("think", [None, True, False, 40])
def test_it_counts_what_chat_reads(engine: Engine, think) -> None:
    messages = [user("Perché 4 bit?"), {"role": "assistant", "content": "Ecco."}, user("E poi?")]
    foreseen = engine.forecast(messages, think=think)
    usage = engine.chat(messages, think=think, max_tokens=3, sampling=GREEDY).result().usage
    assert foreseen.prompt_tokens == usage.prompt_tokens
    assert foreseen.draft_tokens == len(engine.tokenizer.encode("E poi?"))
    assert foreseen.fits


def test_it_knows_what_is_read_already(engine: Engine) -> None:
    messages = [user("one " * 40)]
    assert engine.forecast(messages).cached_tokens == 0
    answer = engine.chat(messages, max_tokens=8, sampling=GREEDY).result()
    messages += [{"role": "assistant", "content": answer.text}, user("two")]
    foreseen = engine.forecast(messages)
    usage = engine.chat(messages, max_tokens=2, sampling=GREEDY).result().usage
    assert 0 < foreseen.cached_tokens == usage.cached_tokens


def test_a_hybrid_foresees_that_it_goes_back_to_a_mark(tiny_hybrid: Path) -> None:
    messages = [user("one " * 40)]
    with Engine.load(tiny_hybrid) as hybrid:
        hybrid.chat(messages, think=True, max_tokens=8, sampling=GREEDY).result()
        messages += [{"role": "assistant", "content": "ok"}, user("two")]
        foreseen = hybrid.forecast(messages, think=True)
        usage = hybrid.chat(messages, think=True, max_tokens=2, sampling=GREEDY).result().usage
    assert 0 < foreseen.cached_tokens == usage.cached_tokens


def test_a_forecast_disturbs_no_run(engine: Engine) -> None:
    run = engine.chat("abc", sampling=GREEDY, max_tokens=300)
    found = []
    asking = threading.Thread(
        target=lambda: found.extend(engine.forecast([user("x" * n)]) for n in range(60))
    )
    asking.start()
    text = run.result(timeout=60).text
    asking.join()
    assert [item.draft_tokens for item in found] == list(range(60))
    assert engine.chat("abc", sampling=GREEDY, max_tokens=300).result().text == text


def test_a_full_context_is_an_advice_and_then_an_error(engine: Engine) -> None:
    messages = [user("x" * 1100)]
    foreseen = engine.forecast(messages)
    assert foreseen.advice == "larger_context"
    assert foreseen.answer_tokens == 0
    with pytest.raises(ContextExceeded):
        engine.chat(messages)
    with Engine.load(engine.path, context=foreseen.larger_context) as larger:
        assert larger.forecast(messages).fits
        larger.chat(messages, max_tokens=1).result()


def test_beyond_what_the_model_reaches_only_less_helps(engine: Engine) -> None:
    foreseen = engine.forecast([user("x" * 10_000)])
    assert (foreseen.advice, foreseen.larger_context) == ("shorten", 0)


def test_errors_are_those_of_chat(engine: Engine) -> None:
    with pytest.raises(UsageError, match="budget"):
        engine.forecast("hi", think=-1)
    with pytest.raises(UsageError, match="role"):
        engine.forecast([{"role": "robot", "content": "hi"}])


@pytest.fixture
def planned(tiny: Path):
    """A plan at 1,024 tokens, its architecture, and the forecast of a prompt by them."""
    import json

    at = plan(tiny, context=1024)
    config = ModelConfig.parse(json.loads((tiny / "config.json").read_text()))

    def of(prompt, *, budget=64 * GB, plan=at, **rest):
        values = {"cached": 0, "draft": 0, "held": 0, "reach": 4096, **rest}
        return forecast(plan, config, prompt=prompt, budget=budget, **values)

    return at, config, of


def test_memory_is_what_the_plan_said(planned) -> None:
    at, _, of = planned
    full = of(1023)
    most = of(100)
    assert full.needed == most.needed_at_most  # both end where the context does
    assert at.weights + at.cache <= full.needed <= at.total
    assert most.answer_tokens == min(TYPICAL_ANSWER, 924)
    assert of(100, max_tokens=50).answer_tokens == 50
    assert of(100, max_tokens=50).needed < most.needed


def test_what_to_do_about_memory(planned) -> None:
    at, _, of = planned
    roomy = replace(at, context=4096)
    long, short = of(3000, plan=roomy).needed, of(1, plan=roomy).needed
    assert of(3000, plan=roomy, budget=long).fits
    assert of(3000, plan=roomy, budget=(long + short) // 2).advice == "shorten"
    assert of(3000, plan=roomy, budget=at.weights).advice == "smaller_model"


def test_a_larger_context_is_offered_where_it_fits_alone(planned) -> None:
    at, _, of = planned
    full = of(1024)
    assert (full.advice, full.larger_context) == ("larger_context", 4096)
    assert of(1500).larger_context == 4096
    assert of(3900).larger_context == 0  # not even the longest leaves room for an answer
    assert of(1024, reach=2000).larger_context == 2000
    assert of(1024, reach=1500).advice == "shorten"
    assert of(1024, budget=at.total).advice == "shorten"
    assert of(1023).fits


def test_forecasts_load_no_mlx() -> None:
    import subprocess
    import sys

    code = (
        "import sys, mlxqwen.engine.events, mlxqwen.engine.forecast;"
        "sys.exit(any(name.split('.')[0] == 'mlx' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
