"""``mlxqwen --plain`` as it is run, with a real model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tui.cli", *arguments],
        input="hello\n",
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def wait_for_text(terminal):
    """Until some of the answer is on the disk."""
    deadline = time.monotonic() + 20
    while not (
        terminal.database.exists() and terminal.branch() and len(terminal.branch()[-1][1]) > 20
    ):
        assert time.monotonic() < deadline
        terminal.read()


@pytest.mark.parametrize(
    "arguments", [("--plain",), ("chat", "--plain", "tiny"), ("--plain", "chat")]
)
def test_a_conversation_with_a_real_model(real, arguments):
    terminal = real(*arguments)
    terminal.expect("Model: ")
    terminal.expect("You: ")
    terminal.type("/model tiny\r")
    terminal.expect("Model: tiny.\n")
    terminal.expect("You: ")
    terminal.type("Hello\r")
    terminal.expect("tiny:\n")
    wait_for_text(terminal)
    terminal.type("\x03")
    terminal.expect("Stopped; what came is kept.", 20)
    terminal.expect("You: ")
    question, answer = terminal.branch()
    assert question == ("user", "Hello", "done")
    assert answer[2] == "stopped"
    terminal.type("/quit\r")
    terminal.expect("Everything is saved.")
    assert terminal.end() == 0


def test_gibberish_of_a_model_does_not_act_on_the_terminal(real):
    terminal = real("chat", "--plain", "tiny", TERM="dumb")
    terminal.expect("You: ")
    terminal.type("/set max_tokens 400\r")
    terminal.expect("You: ")
    terminal.type("Anything\r")
    terminal.expect("tiny:\n")
    terminal.expect("You: ", 30)
    assert len(terminal.branch()[-1][1]) > 100
    shown = terminal.bytes.replace(b"\r\n", b"\n")
    assert not any(byte < 32 and byte != 10 for byte in shown)


def test_killed_in_mid_answer(real):
    terminal = real("chat", "--plain", "tiny")
    terminal.expect("You: ")
    terminal.type("Will you remember this\r")
    terminal.expect("tiny:\n")
    wait_for_text(terminal)
    seen = terminal.branch()[-1][1]
    os.kill(terminal.process, signal.SIGKILL)
    terminal.end()
    deadline = time.monotonic() + 5
    while terminal.branch()[-1][2] == "streaming":
        assert time.monotonic() < deadline
    question, answer = terminal.branch()
    assert question[1] == "Will you remember this"
    assert answer[2] == "interrupted"
    assert answer[1].startswith(seen)

    again = real("--plain")
    again.expect("You: ")
    again.type("/open 1\r")
    again.expect("This answer was cut off; what had come is kept.")


def test_in_a_pipe_it_points_to_ask(tmp_path):
    for arguments in (("--plain",), ("chat", "--plain")):
        done = command(*arguments, MLXQWEN_HOME=str(tmp_path))
        assert done.returncode == 2
        assert "In a pipe, use `mlxqwen ask`." in done.stderr
        assert not done.stdout


def test_a_wrong_model_is_told_at_once(real):
    terminal = real("chat", "--plain", "no-such-model")
    terminal.expect("no-such-model")
    assert terminal.end() == 1
    assert "You: " not in terminal.text


def test_a_dumb_terminal_is_pointed_here(real):
    terminal = real(TERM="dumb")
    terminal.expect("`mlxqwen --plain`")
    assert terminal.end() == 2
    assert b"\x1b" not in terminal.bytes


def test_it_is_about_the_chat_only(tmp_path):
    done = command("--plain", "models", MLXQWEN_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "--plain is about the chat" in done.stderr


def test_nothing_that_draws_is_imported():
    code = (
        "import sys, tui.plain.run, tui.commands.root\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('textual', 'mlx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
