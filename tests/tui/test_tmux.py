"""The whole program in a real terminal, with the real engine: typed at, stopped, killed, reopened.

The model answers gibberish without end, a few hundred tokens a second, which is all that is needed
to be interrupted. What was said is read from the conversation file; what is seen, from the screen.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tui.store import Store

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed: the terminal cannot be tested"
)


class Terminal:
    """One tmux pane with a shell in it; ``start`` runs the program there."""

    def __init__(self, home, name):
        self.home = home
        self.database = home / "conversations.sqlite3"
        self._tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        self.call("new-session", "-d", "-x", "100", "-y", "30", "sh")

    def call(self, *arguments):
        done = subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout

    def start(self, model="tiny"):
        command = [sys.executable, "-m", "tui.cli", "chat", model]
        settings = [
            f"MLXQWEN_HOME={self.home}",
            f"HF_HUB_CACHE={self.home}",
            "TERM=xterm-256color",
        ]
        self.keys(shlex.join(["env", *settings, *command]), "Enter")
        self.until(lambda: "ready" in self.screen)

    def keys(self, *keys):
        self.call("send-keys", *keys)

    @property
    def screen(self):
        return self.call("capture-pane", "-p")

    def until(self, wanted, seconds=15.0):
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, f"not within {seconds} s:\n{self.screen}"
            time.sleep(0.02)

    def ask(self, text):
        """Type a question and wait until its answer streams and some of it is saved."""
        before = len(self.read())
        self.keys("-l", text)
        self.until(lambda: text in self.screen)
        self.keys("Enter")
        self.until(lambda: len(self.read()) == before + 2 and len(self.last().text) > 20)

    def read(self):
        """The open branch of the conversation used last, as another process reads it."""
        store = Store.open(self.database)
        try:
            found = store.conversations(1)
            return store.branch(found[0].leaf_id) if found and found[0].leaf_id else []
        finally:
            store.close()

    def last(self):
        return self.read()[-1]

    @property
    def processes(self):
        """(interface, engine) process ids."""
        shell = int(self.call("display-message", "-p", "#{pane_pid}"))
        (interface,) = children(shell)
        (engine,) = children(interface)
        return interface, engine

    def close(self):
        with suppress(subprocess.CalledProcessError):
            self.call("kill-server")


def children(process):
    found = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = (line.split() for line in found.stdout.splitlines())
    return [int(pid) for pid, parent in pairs if int(parent) == process]


def lives(process):
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True
    )
    return found.stdout.strip()[:1] not in ("", "Z")


@pytest.fixture
def terminal(home, tmp_path):
    (tmp_path / "models").symlink_to(home / "models")
    terminal = Terminal(tmp_path, f"mlxqwen-{os.getpid()}-{time.monotonic_ns()}")
    yield terminal
    terminal.close()


def test_a_conversation_by_hand(terminal):
    terminal.start()
    terminal.ask("Hello out there")
    assert terminal.last().state == "streaming"
    terminal.keys("Escape")
    terminal.until(lambda: terminal.last().state == "stopped")
    terminal.until(lambda: "stopped" in terminal.screen)
    kept = terminal.last().text
    assert len(kept) > 20

    terminal.ask("And again")
    terminal.keys("C-c")
    terminal.until(lambda: terminal.last().state == "stopped")

    terminal.keys("C-c")
    terminal.until(lambda: "again to quit" in terminal.screen)
    terminal.keys("C-c")
    terminal.until(lambda: "OFFLINE" not in terminal.screen)
    terminal.keys("stty -a | tr ';' '\\n'", "Enter")  # the terminal is a terminal again
    terminal.until(lambda: " echo " in terminal.screen)
    assert " icanon " in terminal.screen

    terminal.start()
    terminal.keys("C-f")
    terminal.until(lambda: "Find a chat" in terminal.screen)
    terminal.until(lambda: "now" in terminal.screen or "m " in terminal.screen)
    terminal.keys("Enter")
    terminal.until(lambda: "And again" in terminal.screen)
    assert [m.text for m in terminal.read()[:2]] == ["Hello out there", kept]


def test_kill_9_of_the_interface_loses_nothing(terminal):
    terminal.start()
    terminal.ask("Will you remember this")
    interface, engine = terminal.processes
    time.sleep(0.5)
    seen = terminal.last()
    os.kill(interface, signal.SIGKILL)
    killed = time.monotonic()
    terminal.until(lambda: not lives(engine), 5)
    assert time.monotonic() - killed < 1.0, "the engine outlived the interface"

    question, answer = terminal.read()
    assert (question.text, question.state) == ("Will you remember this", "done")
    assert answer.state == "interrupted"
    assert answer.text.startswith(seen.text)

    terminal.call("respawn-pane", "-k", "sh")  # a killed program leaves its terminal as it was
    terminal.start()
    terminal.keys("C-f")
    terminal.until(lambda: "Find a chat" in terminal.screen)
    terminal.keys("Enter")
    terminal.until(lambda: "interrupted" in terminal.screen)
    assert terminal.last().text == answer.text


def test_kill_9_of_the_engine_leaves_the_interface(terminal):
    terminal.start()
    terminal.ask("Tell me everything")
    interface, engine = terminal.processes
    os.kill(engine, signal.SIGKILL)
    terminal.until(lambda: terminal.last().state == "error")
    terminal.until(lambda: "What came is kept" in terminal.screen)
    assert len(terminal.last().text) > 20
    assert lives(interface)

    terminal.ask("Once more")
    assert terminal.processes[1] != engine
    terminal.keys("Escape")
    terminal.until(lambda: terminal.last().state == "stopped")


def test_raw_keys_and_pastes(terminal):
    terminal.start()
    terminal.keys("-l", "one")
    terminal.keys("-H", "1b", "0d")  # Shift+Enter of Terminal.app
    terminal.keys("-l", "two")
    terminal.keys("C-j")
    terminal.until(lambda: "two" in terminal.screen)
    terminal.call("set-buffer", "three\nfour")
    terminal.call("paste-buffer", "-p")
    terminal.until(lambda: "four" in terminal.screen)
    assert not terminal.database.exists() or "You" not in terminal.screen
    terminal.keys("Enter")
    terminal.until(lambda: "tok/s" in terminal.screen)
    terminal.keys("Escape")
    terminal.until(lambda: terminal.last().state == "stopped")
    assert terminal.read()[0].text == "one\ntwo\nthree\nfour"
