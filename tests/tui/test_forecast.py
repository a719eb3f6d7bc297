"""What sending would take: shown while one writes, and a refusal with the next step before it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.engine.events import Forecast
from mlxqwen.hub.library import resolve
from mlxqwen.text.tokenizer import Tokenizer
from tui import forecast, words
from tui.forecast import Question, Size, context_of, refusal_of
from tui.settings import read_settings
from tui.widgets.bars import StatusBar, memory_label

GUIDE = Tokenizer.from_directory(resolve("guide"))
WIDE = (140, 30)


def bar(chat):
    return chat.app._chat.query_one(StatusBar)


def painted(chat):
    return bar(chat).render().plain


def told(chat):
    return " ".join(notice.message for notice in chat.app._notifications)


async def test_a_draft_is_estimated_and_then_counted(run_chat):
    async with run_chat(size=WIDE) as chat:
        assert "tok" not in painted(chat)
        await chat.type("one two three")
        await chat.until(lambda: "~3 tok" in painted(chat))
        await chat.until(lambda: "   3 tok" in f"   {painted(chat)}".replace("~3 tok", ""))
        assert "ctx 7/4k" in painted(chat)
        assert "mem 3.9/16 GB ━" in painted(chat)
        await chat.pilot.press(*["backspace"] * 13)
        await chat.until(lambda: "tok" not in painted(chat))


async def test_the_meter_counts_the_draft_with_the_conversation(run_chat):
    async with run_chat(size=WIDE) as chat:
        await chat.ask("first")
        await chat.until(lambda: "ctx 12/4k" in painted(chat))
        await chat.type("and two")
        await chat.until(lambda: "ctx 18/4k" in painted(chat))
        await chat.app._chat.new()
        await chat.until(lambda: "18/4k" not in painted(chat))


@pytest.mark.parametrize(
    ("width", "shown"),
    [(120, ("tok", "ctx", "mem", "help")), (60, ("tok", "ctx", "help"))],
)
async def test_a_narrow_bar_leaves_out_what_matters_least(run_chat, width, shown):
    async with run_chat(size=(width, 30)) as chat:
        await chat.type("one two three")
        await chat.until(lambda: chat.session.outlook.used == 7)
        await chat.pilot.pause()
        line = painted(chat)
        assert [word for word in ("tok", "ctx", "mem", "help") if word in line] == list(shown)
        assert "ready" in line
        assert len(line) <= width


@pytest.mark.parametrize(
    ("word", "step"),
    [
        ("long", "/context 8192 loads the model with room for it"),
        ("endless", "start a new chat with Ctrl+N"),
        ("heavy", "choose a smaller model with Ctrl+L"),
    ],
)
async def test_what_cannot_be_answered_stays_in_the_box(run_chat, word, step):
    async with run_chat() as chat:
        text = f"{word} question"
        await chat.type(text)
        await chat.pilot.press("enter")
        await chat.until(lambda: step in told(chat))
        await chat.until(lambda: chat.app._chat.prompt.text == text)
        assert "Not sent" in told(chat)
        assert chat.session.conversation is None
        assert chat.views == []
        await chat.pilot.press(*["backspace"] * len(text))
        await chat.ask("something short")  # and everything goes on
        assert chat.shown[1][1].startswith("You said")


async def test_another_context_makes_room(run_chat, tmp_path):
    async with run_chat() as chat:
        await chat.type("long question")
        await chat.pilot.press("enter")
        await chat.until(lambda: "/context 8192" in told(chat))
        await chat.until(lambda: chat.app._chat.prompt.text == "long question")
        await chat.app._chat.session.send("unforeseen")  # leaves the box alone
        await chat.ended(2)
        chat.app._chat.action_do("context", "8k")
        await chat.until(lambda: chat.session.loaded and chat.session.loaded.context == 8192)
        assert read_settings(tmp_path / "settings.toml").settings.context == 8192
        await chat.pilot.press("enter")
        await chat.ended(4)
        assert chat.shown[3][1].strip() == "You said: **long question**"
        chat.app._chat.action_do("context", "auto")
        await chat.until(lambda: chat.session.loaded and chat.session.loaded.context == 4096)


async def test_context_without_a_number_says_what_there_is(run_chat):
    async with run_chat() as chat:
        chat.app._chat.action_do("context")
        await chat.until(lambda: "room for 4k tokens" in told(chat))
        chat.app._chat.action_do("context", "[red]lots")
        await chat.until(lambda: "[red]lots is no number of tokens" in told(chat))


async def test_an_edited_question_is_foreseen_too(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        question = chat.session.branch[0]
        assert not await chat.session.edit(question.id, "endless " + "x" * 5000)
        await chat.until(lambda: "Not sent" in told(chat))
        assert chat.session.branch[0].text == "first"


async def test_a_silent_engine_keeps_nothing_from_being_sent(run_chat, monkeypatch):
    monkeypatch.setattr(forecast, "WAIT_SECONDS", 0.2)
    async with run_chat() as chat:
        monkeypatch.setattr(chat.app._chat._bridge, "forecast", lambda *_, **__: 10**9)
        await chat.ask("anything")
        assert chat.shown[1][2] == "done"


async def test_nothing_is_waited_for_where_it_certainly_fits(run_chat, monkeypatch):
    async with run_chat() as chat:
        await chat.ask("first")
        await chat.until(lambda: chat.session.outlook.used is not None)
        monkeypatch.setattr(chat.app._chat._bridge, "forecast", lambda *_, **__: 10**9)
        began = time.monotonic()
        await chat.session.send("second")
        assert time.monotonic() - began < 1.0


async def test_a_model_that_is_gone_foresees_nothing(run_chat):
    async with run_chat(size=WIDE) as chat:
        await chat.type("one two three")
        await chat.until(lambda: chat.session.outlook.used == 7)
        chat.app._chat._bridge.kill()
        await chat.until(lambda: chat.session.loaded is None)
        assert "mem 3.9" not in painted(chat)


async def test_running_out_of_memory_keeps_the_answer_and_says_what_helps(run_chat):
    async with run_chat() as chat:
        await chat.ask("die")
        assert chat.stored()[1] == ("assistant", "Half an answer, ", "error")
        note = chat.session.branch[1].note
        assert "A shorter context (/context) or a smaller model takes less" in note
        assert "What came is kept" in note
        await chat.ask("hello")  # the next message starts the engine anew
        assert chat.shown[3][1].startswith("You said")
        await chat.until(lambda: chat.session.outlook.used is not None)


async def test_a_tool_call_is_shown_and_kept(run_chat):
    async with run_chat() as chat:
        await chat.ask("call me")
        text = chat.shown[1][1]
        assert text.startswith("Let me look. ")
        assert '```json\n{"name": "weather", "arguments": {"city": "Forlì"}}\n```' in text
        await chat.until(lambda: "weather" in chat.screen_text)
        assert chat.stored()[1][1] == text


TEXTS = st.text(max_size=60) | st.sampled_from(["👩‍👩‍👧" * 9, "\ud800", "<|im_end|>", "\n" * 40])


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_the_upper_bound_is_one(said):
    messages = [{"role": role, "content": text} for role, text in said]
    template = GUIDE.chat_template
    assert template is not None
    tokens = len(GUIDE.encode(template.render(messages)))
    assert tokens <= Question(messages).most_tokens


def foreseen(**values):
    base = {
        "prompt_tokens": 5000,
        "cached_tokens": 0,
        "draft_tokens": 9,
        "answer_tokens": 0,
        "context": 4096,
        "held": 1,
        "needed": 9_000_000_000,
        "needed_at_most": 9_000_000_000,
        "budget": 8_000_000_000,
    }
    return Forecast(**{**base, **values})


def test_refusals_say_what_and_what_next():
    sentence = refusal_of(foreseen(advice="shorten"))
    assert "would have 5.0k tokens, and the model has room for 4k" in sentence
    sentence = refusal_of(foreseen(advice="shorten", prompt_tokens=100))
    assert "would need 9.0 GB of memory, and there are 8.0 GB" in sentence
    words.use("it")
    sentence = refusal_of(foreseen(advice="larger_context", larger_context=16384))
    assert "/context 16384 carica il modello" in sentence
    assert "{" not in sentence


def test_numbers_of_tokens():
    assert [context_of(text) for text in ("16384", "16k", " 32K ", "auto")] == [
        16_384,
        16_384,
        32_768,
        0,
    ]
    assert {context_of(text) for text in ("", "k", "0", "-5", "1e9", "٣", "9" * 30)} == {None}


def test_labels():
    assert memory_label(3_900_000_000, 16_000_000_000) == "mem 3.9/16 GB"
    assert memory_label(3_900_000, 16_000_000_000) == "mem 3.9 MB/16 GB"
    assert (str(Size(1, True)), str(Size(38, False))) == ("1 tok", "~38 tok")
