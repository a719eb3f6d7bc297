"""The pipe to the engine: requests, events, and every way the other end can go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxqwen.engine.events import Done, Forecast, Prefill, Text, Thinking, ToolCall
from tui.bridge import Bridge, Died, Failed, Forecasted, Loaded, Streamed, cause_of_exit

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


@pytest.fixture
def bridge():
    bridge = Bridge(FAKE)
    yield bridge
    bridge.close()


def until(bridge, wanted, seconds=10.0):
    """Drain until an event of the ``wanted`` kind has come; all events so far."""
    events = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events += bridge.drain()
        if any(wanted(event) for event in events):
            return events
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s; got {events}")


def is_over(request):
    def over(event):
        match event:
            case Streamed(number, Done()) | Failed(number):
                return number == request
            case Died(requests=requests):
                return request in requests
            case Loaded(number) | Forecasted(number):
                return number == request
        return False

    return over


def said(events):
    return "".join(e.event.text for e in events if isinstance(getattr(e, "event", None), Text))


def test_load_and_chat(bridge):
    assert not bridge.alive
    load = bridge.load("guide")
    (loaded,) = until(bridge, is_over(load))
    assert loaded == Loaded(
        load, "guide", "/models/guide", 4096, 0.2, 3_900_000, True, "Qwen3-MoE, 8 experts, 4-bit"
    )
    chat = bridge.chat([{"role": "user", "content": "think perché"}])
    assert bridge.busy
    events = until(bridge, is_over(chat))
    assert events[0] == Streamed(chat, Prefill(12, 12, 2))
    assert [e.event.text for e in events if isinstance(e.event, Thinking)] == ["Let me ", "see."]
    assert said(events) == "You said: **think perché** "
    assert events[-1].event.timings.thinking == 3.1
    assert not bridge.busy


def question(text):
    return [{"role": "user", "content": text}]


def test_what_is_asked_with_an_answer_arrives(bridge):
    bridge.load("guide")
    for think in (None, True, False, 0, 400):
        chat = bridge.chat(
            question("options"), think=think, sampling={"temperature": 0.5}, max_tokens=99
        )
        asked = json.loads(said(until(bridge, is_over(chat))))
        assert asked == {"think": think, "sampling": {"temperature": 0.5}, "max_tokens": 99}
        assert type(asked["think"]) is type(think)


def test_a_tool_call_arrives(bridge):
    bridge.load("guide")
    events = until(bridge, is_over(bridge.chat(question("call"))))
    (call,) = (e.event for e in events if isinstance(e, Streamed) and type(e.event) is ToolCall)
    assert (call.name, call.arguments) == ("weather", {"city": "Forlì"})


def test_a_context_is_asked_for(bridge):
    (loaded,) = until(bridge, is_over(bridge.load("guide", 8192)))
    assert loaded.context == 8192


def test_forecast(bridge):
    assert bridge.forecast(question("hi")) is None  # nobody there to ask
    bridge.load("guide")
    asked = bridge.forecast([*question("one two"), *question("three four five")])
    events = until(bridge, is_over(asked))
    (foreseen,) = (event.forecast for event in events if isinstance(event, Forecasted))
    assert isinstance(foreseen, Forecast)
    assert (foreseen.prompt_tokens, foreseen.draft_tokens, foreseen.fits) == (13, 3, True)
    asked = bridge.forecast(question("unforeseen"))
    assert Forecasted(asked, None) in until(bridge, is_over(asked))


def test_a_forecast_is_told_while_an_answer_is_written(bridge):
    bridge.load("guide")
    chat = bridge.chat(question("slow"))
    until(bridge, lambda e: isinstance(e, Streamed) and isinstance(e.event, Text))
    asked = [bridge.forecast(question("endless " * n)) for n in range(1, 9)]
    events = until(bridge, is_over(asked[-1]))
    assert Forecasted in map(type, events)
    assert not any(is_over(chat)(event) for event in events)
    bridge.cancel(chat)
    until(bridge, is_over(chat))
    assert not bridge.busy


def test_text_that_is_no_unicode_survives(bridge):
    name = os.fsdecode(b"/models/mod\xe8le")
    (loaded,) = until(bridge, is_over(bridge.load(name)))
    assert os.fsencode(loaded.model) == b"/models/mod\xe8le"
    chat = bridge.chat(question("lone \ud800 surrogate"))
    assert "lone \ud800 surrogate" in said(until(bridge, is_over(chat)))


def test_cancel(bridge):
    bridge.load("guide")
    chat = bridge.chat([{"role": "user", "content": "slow"}])
    until(bridge, lambda e: isinstance(e, Streamed) and isinstance(e.event, Text))
    asked = time.monotonic()
    bridge.cancel(chat)
    events = until(bridge, is_over(chat))
    assert time.monotonic() - asked < 1.0
    assert events[-1].event.reason == "cancelled"
    bridge.cancel(chat)  # over already: nothing to stop, nothing to break
    again = bridge.chat([{"role": "user", "content": "hi"}])
    assert said(until(bridge, is_over(again))) == "You said: **hi** "


def test_an_error_is_the_requests_alone(bridge):
    missing = bridge.load("missing")
    (failed,) = until(bridge, is_over(missing))
    assert failed.kind == "ModelNotFound"
    assert "mlxqwen models" in failed.hint
    bridge.load("guide")
    chat = bridge.chat([{"role": "user", "content": "fail"}])
    assert until(bridge, is_over(chat))[-1] == Failed(
        chat, "ContextExceeded", "Too long.", "Start a new chat."
    )
    assert bridge.alive


def test_garbage_on_the_pipe_is_passed_over(bridge):
    bridge.load("guide")
    chat = bridge.chat([{"role": "user", "content": "garbage"}])
    assert said(until(bridge, is_over(chat))) == "You said: **garbage** "


def test_death_in_mid_answer_and_a_new_life(bridge):
    bridge.load("guide")
    chat = bridge.chat([{"role": "user", "content": "die"}])
    events = until(bridge, is_over(chat))
    assert said(events) == "Half an answer, "
    assert isinstance(events[-1], Died)
    assert "killed" in events[-1].cause
    assert not bridge.alive
    lost = bridge.chat([{"role": "user", "content": "hello?"}])
    assert until(bridge, is_over(lost))[-1].requests == (lost,)
    bridge.load("guide")
    again = bridge.chat([{"role": "user", "content": "hi"}])
    assert said(until(bridge, is_over(again))) == "You said: **hi** "


def test_the_last_words_are_kept(bridge):
    bridge.load("guide")
    chat = bridge.chat([{"role": "user", "content": "exit"}])
    died = until(bridge, is_over(chat))[-1]
    assert died.cause == "The engine ended by itself (exit status 3)."
    assert died.last_words == "libmetal: assertion failed"


def test_death_while_idle_is_noticed(bridge):
    until(bridge, is_over(bridge.load("guide")))
    os.kill(bridge.pid, signal.SIGSEGV)
    (died,) = until(bridge, lambda e: isinstance(e, Died))
    assert died.cause == "The engine crashed (SIGSEGV)."
    assert died.requests == ()


def test_a_command_that_cannot_speak(tmp_path):
    bridge = Bridge((sys.executable, "-c", "raise SystemExit('no such module')"))
    load = bridge.load("guide")
    died = until(bridge, is_over(load))[-1]
    assert "exit status 1" in died.cause
    assert died.last_words == "no such module"
    bridge.close()


def test_a_command_that_is_not_there():
    bridge = Bridge(("/nowhere/at/all",))
    (died,) = until(bridge, is_over(bridge.load("guide")))
    assert "could not be started: No such file" in died.cause


def test_a_message_larger_than_the_pipe_never_blocks(bridge):
    bridge.load("guide")
    deaf = bridge.chat([{"role": "user", "content": "deaf"}])
    until(bridge, lambda e: isinstance(e, Streamed))
    began = time.monotonic()
    for _ in range(4):
        bridge.chat([{"role": "user", "content": "x" * 1_000_000}])
    assert time.monotonic() - began < 1.0
    assert deaf in bridge._child.open_requests


def test_close_ends_a_child_that_does_not_listen():
    bridge = Bridge((sys.executable, "-c", "import time; time.sleep(3600)"))
    bridge.load("guide")
    process = bridge._child.process
    began = time.monotonic()
    bridge.close()
    assert process.poll() is not None
    assert time.monotonic() - began < 3.0
    assert bridge.drain() == []


def test_the_child_is_told_to_stay_offline():
    code = "import os, sys; print(os.environ['HF_HUB_OFFLINE'], file=sys.stderr)"
    bridge = Bridge((sys.executable, "-c", code))
    died = until(bridge, is_over(bridge.load("guide")))[-1]
    assert died.last_words == "1"
    bridge.close()


def test_causes():
    assert "memory" in cause_of_exit(-signal.SIGKILL)
    assert "SIGABRT" in cause_of_exit(-signal.SIGABRT)
    assert "signal 63" in cause_of_exit(-63)
    assert "status 0" in cause_of_exit(0)


def test_the_bridge_needs_no_mlx():
    code = "import tui.bridge, sys; print([m for m in sys.modules if m.split('.')[0] == 'mlx'])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
