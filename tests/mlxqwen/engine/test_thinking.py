"""Thinking: switched off where no template can, and brought to an end when its budget is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxqwen import Done, Engine, Sampling, Text, Thinking
from mlxqwen.engine.engine import END_OF_BUDGET
from mlxqwen.errors import UsageError
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.model.decoder import Model

GREEDY = Sampling(temperature=0.0)
LAST_WORDS = END_OF_BUDGET.partition("\n</think>")[0]


@pytest.fixture(scope="module")
def thinker(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose template opens a thought whatever is asked, as QwQ's does."""
    folder = tmp_path_factory.mktemp("thinker") / "model"
    shutil.copytree(tiny, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{{ '<|im_start|>assistant\n<think>\n' }}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with Engine.load(folder) as engine:
        yield engine


@pytest.mark.parametrize("budget", [1, 7, 20])
def test_a_thought_ends_when_its_budget_is_used(thinker: Engine, budget: int) -> None:
    free = thinker.chat("Hi", sampling=GREEDY, max_tokens=budget).result()
    assert free.usage.thinking_tokens == budget  # left alone, it would go on
    reply = thinker.chat("Hi", think=budget, sampling=GREEDY, max_tokens=250).result()
    closing = len(thinker.tokenizer.encode(END_OF_BUDGET))
    assert reply.thinking.endswith(LAST_WORDS)
    assert reply.thinking.startswith(free.thinking)
    assert reply.text
    assert "</think>" not in reply.text
    # The tokens of the closing words count, as thought up to </think>; a character is completed.
    over = reply.usage.thinking_tokens - budget
    before_end = len(thinker.tokenizer.encode(LAST_WORDS + "\n"))
    assert before_end <= over <= before_end + 3
    assert reply.usage.completion_tokens > budget + closing


def test_events_are_a_thought_then_an_answer(thinker: Engine) -> None:
    events = list(thinker.chat("Hi", think=5, sampling=GREEDY, max_tokens=200))
    kinds = [type(event) for event in events if isinstance(event, Thinking | Text)]
    assert kinds.index(Text) == kinds.count(Thinking) > 0
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage.completion_tokens <= 200
    assert 0 < done.timings.thinking <= done.timings.total


def test_the_answer_is_what_the_model_says_after_those_words(thinker: Engine, model: Model) -> None:
    encode = thinker.tokenizer.encode
    reply = thinker.chat("Hi", think=6, sampling=GREEDY, max_tokens=220).result()
    prompt = encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n")
    own = reply.usage.thinking_tokens - len(encode(LAST_WORDS + "\n"))
    thought = list(generate_tokens(model, prompt, max_tokens=own))
    closing = encode(END_OF_BUDGET)
    said = [*prompt, *thought, *closing]
    rest = 220 - own - len(closing)
    after = thinker.complete(said, sampling=GREEDY, max_tokens=rest).result()
    assert after.usage.cached_tokens == len(said) - 1  # the forced words are in the cache
    assert after.text.lstrip() == reply.text.lstrip()


def test_a_cancelled_budget_leaves_the_engine_right(thinker: Engine) -> None:
    whole = thinker.chat("Ciao", think=4, sampling=GREEDY, max_tokens=160).result()
    for cut in (2, 5, 9, 40):
        run = thinker.chat("Ciao", think=4, sampling=GREEDY, max_tokens=160)
        for count, _ in enumerate(run):
            if count == cut:
                run.cancel()
        again = thinker.chat("Ciao", think=4, sampling=GREEDY, max_tokens=160).result()
        assert (again.thinking, again.text) == (whole.thinking, whole.text)


def test_a_budget_that_is_not_used_changes_nothing(thinker: Engine) -> None:
    free = thinker.chat("Hi", sampling=GREEDY, max_tokens=30).result()
    limited = thinker.chat("Hi", think=1000, sampling=GREEDY, max_tokens=30).result()
    assert limited.thinking == free.thinking
    assert limited.usage.completion_tokens == free.usage.completion_tokens


@pytest.mark.parametrize("think", [False, 0])
def test_no_thought_where_the_template_knows_no_switch(thinker: Engine, think: int) -> None:
    reply = thinker.chat("Hi", think=think, sampling=GREEDY, max_tokens=30).result()
    assert not reply.thinking
    assert reply.usage.thinking_tokens == 0
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert reply.usage.prompt_tokens == len(thinker.tokenizer.encode(prompt))
    plain = thinker.complete(prompt, sampling=GREEDY, max_tokens=30).result()
    assert plain.usage.cached_tokens == reply.usage.prompt_tokens - 1  # the very same prompt


def test_a_number_switches_thinking_on_where_there_is_a_switch(tiny: Path) -> None:
    with Engine.load(tiny) as engine:
        assert not engine.chat("Hi", sampling=GREEDY, max_tokens=8).result().thinking
        reply = engine.chat("Hi", think=3, sampling=GREEDY, max_tokens=200).result()
        assert reply.thinking.endswith(LAST_WORDS)
        assert not engine.chat("Hi", think=0, sampling=GREEDY, max_tokens=8).result().thinking


def test_a_budget_below_zero_is_refused(thinker: Engine) -> None:
    with pytest.raises(UsageError, match="-1"):
        thinker.chat("Hi", think=-1)
