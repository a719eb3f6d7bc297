"""How quantities, records and half-finished answers are put into words."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from mlxqwen.engine.events import Done, Prefill, Text, Thinking, Timings, Usage
from tui import answer as answer_module
from tui.answer import Answer, messages_for
from tui.records import Conversation, Message, Statistics
from tui.units import age, count, size
from tui.views import answer_header, message_view, model_label, one_line
from tui.widgets.bars import meter, two_ends
from tui.widgets.sidebar import conversation_line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (59, "now"),
        (60, "1m"),
        (7199, "1h"),
        (86_400, "1d"),
        (59 * 86_400, "59d"),
        (60 * 86_400, "2mo"),
        (364 * 86_400, "12mo"),
        (800 * 86_400, "2y"),
    ],
)
def test_age(seconds, words):
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("tokens", "words"),
    [(0, "0"), (999, "999"), (3100, "3.1k"), (40_000, "40k"), (32_768, "32k"), (4096, "4k")],
)
def test_count(tokens, words):
    assert count(tokens) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [(12, "12 B"), (1500, "1.5 kB"), (3_900_000, "3.9 MB"), (2_300_000_000, "2.3 GB")],
)
def test_size(amount, words):
    assert size(amount) == words


def test_model_labels():
    assert model_label("mlx-community/Qwen3-4B-4bit") == "Qwen3-4B-4bit"
    assert model_label("/models/mine/") == "mine"
    assert model_label("guide") == "guide"
    assert "\x1b" not in model_label("a/\x1b[31mred")


def test_one_line():
    assert one_line("a\nb\t c\x1b[0m") == "a b c␛[0m"


def test_headers_say_what_is_known():
    assert answer_header("x/Qwen3-4B", Statistics()) == "Qwen3-4B"
    assert answer_header("", Statistics(tok_s=61.2)) == "Qwen · 61 tok/s"
    figures = Statistics(n_gen=62, ttft_ms=200.0, tok_s=61.0)
    assert answer_header("Qwen3-4B", figures) == "Qwen3-4B · 61 tok/s · 1.2 s"


def message(role="assistant", text="x", **fields):
    values = {
        "id": 1,
        "conversation_id": 1,
        "parent_id": None,
        "role": role,
        "text": text,
        "reasoning": "",
        "state": "done",
        "note": "",
        "model_id": "guide",
        "seed": None,
        "n_prompt": None,
        "n_gen": None,
        "ttft_ms": None,
        "tok_s": None,
        "thinking_ms": None,
        "created_at": 0.0,
    }
    return Message(**{**values, **fields})


def test_a_stored_message_as_it_is_shown():
    view = message_view(
        message(reasoning="hm", thinking_ms=3100.0, state="error", note="It broke."), (2, 3)
    )
    assert (view.thinking, view.thinking_seconds, view.sibling) == ("hm", 3.1, (2, 3))
    assert (view.state, view.detail) == ("error", "It broke.")
    assert message_view(message("user", "hi")).header == "You"
    assert message_view(message("system", "be kind")).role == "system"


def test_what_the_engine_is_sent():
    branch = [message("user", "a"), message(text="", state="error"), message("user", "b")]
    assert messages_for(branch, "be kind") == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(answer_module, "monotonic", lambda: now[0])
    return now


def test_an_answer_counts_what_comes(clock):
    answer = Answer(1, 2, "guide", [], began=100.0)
    assert (answer.text, answer.rate, answer.thinking_seconds) == ("", 0.0, None)
    answer.take(Prefill(5, 10))
    clock[0] = 101.0
    answer.take(Thinking("let me "))
    clock[0] = 102.0
    assert answer.thinking_seconds == 2.0
    answer.take(Thinking("see"))
    clock[0] = 103.0
    answer.take(Text("Well"))
    answer.take(Text(", yes"))
    clock[0] = 104.0
    assert (answer.text, answer.thinking, answer.pieces) == ("Well, yes", "let me see", 4)
    assert answer.thinking_seconds == 3.0
    assert answer.rate == 1.0
    assert answer.statistics(None) == Statistics(10, 4, 1000.0, 1.0, 3000.0)
    done = Done("stop", Usage(12, 0, 5, 2), Timings(0.5, 0.6, 2.6, 1.5))
    assert answer.statistics(done) == Statistics(12, 5, 600.0, 2.0, 1500.0)


def test_an_answer_of_which_nothing_came():
    answer = Answer(1, 2, "guide", [])
    assert answer.statistics(None) == Statistics(n_gen=0)


def test_both_ends_of_a_line():
    assert two_ends("abc", "12", 8) == "abc   12"
    assert two_ends("a long title", "12", 8) == "a lo… 12"
    assert cell_len(two_ends("量子化とは何か", "now", 12)) == 12


def test_the_line_of_a_conversation():
    item = Conversation(1, "Why\x1b[31m\nred?", None, "", "", {}, True, 40.0)
    line = conversation_line(item, True, 100.0, 26).plain
    assert line.startswith("★ Why␛[31m red?")
    assert line.endswith(" 1m")
    assert cell_len(line) == 26
    untitled = Conversation(2, "", None, "", "", {}, False, 100.0)
    assert conversation_line(untitled, False, 100.0, 26).plain.startswith("Untitled ")


@pytest.mark.parametrize(
    ("used", "full", "colour"),
    [(0, 0, "success"), (512, 4, "success"), (800, 6, "warning"), (2000, 8, "error")],
)
def test_the_meter(used, full, colour):
    (bar, style), (rest, _) = meter(used, 1024)
    assert (len(bar), len(bar + rest)) == (full, 8)
    assert colour in style
