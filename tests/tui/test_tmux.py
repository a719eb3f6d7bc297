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

    def start(self, model="tiny", wanted="ready"):
        command = [sys.executable, "-m", "tui.cli", "chat", model]
        settings = [
            f"MLXQWEN_HOME={self.home}",
            f"HF_HUB_CACHE={self.home}",
            "TERM=xterm-256color",
        ]
        self.keys(shlex.join(["env", *settings, *command]), "Enter")
        self.until(lambda: wanted in self.screen)

    def raw(self, text):
        """Send these bytes as a terminal would: without a key's name anybody could translate."""
        self.keys("-H", *(f"{byte:02x}" for byte in text.encode()))

    def reopen(self):
        """Open the conversation used last, in the library."""
        self.keys("C-f")
        self.until(lambda: "1 chat" in self.screen)
        self.keys("Enter")
        self.until(lambda: "1 chat" not in self.screen)

    def until_left(self):
        """The shell is back on a terminal that is one: echo, cursor, no mouse, own screen."""
        modes = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"
        self.until(lambda: self.call("display-message", "-p", modes).split() == ["0", "1", "0"])
        self.keys("-l", "stty -a | tr ';' '\\n'")
        self.keys("Enter")
        self.until(lambda: " echo " in self.screen)
        assert " icanon " in self.screen
        self.keys("-l", "clear")
        self.keys("Enter")

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
    terminal.until_left()

    terminal.start()
    terminal.reopen()
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
    terminal.reopen()
    terminal.until(lambda: "interrupted" in terminal.screen)
    assert terminal.last().text == answer.text


def test_kill_9_of_the_engine_leaves_the_interface(terminal):
    terminal.start()
    terminal.ask("Tell me everything")
    interface, engine = terminal.processes
    os.kill(engine, signal.SIGKILL)
    terminal.until(lambda: terminal.last().state == "error")
    terminal.until(lambda: "What came is kept" in " ".join(terminal.screen.split()))
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


def test_the_keys_of_every_terminal(terminal):
    """What Terminal.app, iTerm2, Ghostty and kitty send for one key, and an Italian keyboard."""
    terminal.start()
    for key in ("\x1bOP", "\x1b[11~", "\x1b[P"):  # F1
        terminal.raw(key)
        terminal.until(lambda: "Keys and commands" in terminal.screen)
        terminal.raw("\x1b")
        terminal.until(lambda: "Keys and commands" not in terminal.screen)

    lines = ["perché è così", "@ # [ ] { } ~ €", "three", "four", "five"]
    newlines = ["\x1b\r", "\n", "\x1b[13;2u", "\x1b[27;2;13~"]  # Shift+Enter, Ctrl+J
    terminal.raw(
        lines[0] + "".join(key + line for key, line in zip(newlines, lines[1:], strict=True))
    )
    terminal.until(lambda: "five" in terminal.screen)
    terminal.raw("\x1b[A\x1bOA\x1bOB\x1b[B\x1b[D\x1b[D\x1bOC\x1bOC")  # arrows, both ways of each
    terminal.raw("!")
    terminal.until(lambda: "five!" in terminal.screen)
    assert terminal.read() == []
    terminal.raw("\r")
    terminal.until(lambda: len(terminal.read()) == 2)
    assert terminal.read()[0].text == "\n".join(lines) + "!"
    terminal.until(lambda: terminal.screen.count("\n") > 20 and len(terminal.last().text) > 3000)

    terminal.raw("\x1b[5~")  # Page Up leaves the end, End goes back
    terminal.until(lambda: "new line" in terminal.screen)
    terminal.raw("\x1b[6~\x1b[5~\x1b[F")
    terminal.until(lambda: "new line" not in terminal.screen)
    terminal.raw("\x1b")
    terminal.until(lambda: terminal.last().state == "stopped")

    terminal.raw("\t")  # to the messages, and back
    terminal.until(lambda: "j/k move" in terminal.screen)
    terminal.raw("\x1b")
    terminal.until(lambda: "j/k move" not in terminal.screen)

    terminal.raw("/rename By hand")
    terminal.until(lambda: "/rename By hand" in terminal.screen)
    terminal.raw("\x1b[13u")  # Enter of kitty
    terminal.until(lambda: "By hand" in terminal.screen.splitlines()[0])
    terminal.raw("/quit")
    terminal.until(lambda: "/quit" in terminal.screen)
    terminal.raw("\r")
    terminal.until_left()


def test_a_hostile_paste(terminal):
    terminal.start()
    terminal.call("set-buffer", "one\r\n\x1b[31mtwo\x1b]0;owned\x07\x03\x1b\rthree")
    terminal.call("paste-buffer", "-p", "-r")
    terminal.until(lambda: "three" in terminal.screen)
    assert terminal.read() == []
    assert terminal.call("display-message", "-p", "#{pane_title}").strip() != "owned"
    terminal.raw("\r")
    terminal.until(lambda: len(terminal.read()) == 2)
    assert terminal.read()[0].text == "one\n[31mtwo]0;owned\nthree"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_saves_and_gives_the_terminal_back(terminal, number):
    terminal.start()
    terminal.ask("Will you remember this")
    interface, engine = terminal.processes
    seen = terminal.last()
    os.kill(interface, number)
    terminal.until(lambda: not lives(interface) and not lives(engine), 5)
    question, answer = terminal.read()
    assert (question.text, question.state) == ("Will you remember this", "done")
    assert answer.state in ("stopped", "interrupted")
    assert answer.text.startswith(seen.text)
    terminal.until_left()

    terminal.start()
    terminal.reopen()
    terminal.until(lambda: "Will you remember this" in terminal.screen)
    assert terminal.last().text == answer.text


def test_an_interrupt_from_outside_keeps_what_was_said(terminal):
    terminal.start()
    terminal.ask("Hold on")
    interface, _ = terminal.processes
    os.kill(interface, signal.SIGINT)  # Python raises it wherever the program is
    terminal.until(lambda: not lives(interface) or terminal.last().state == "stopped", 5)
    assert terminal.read()[0].text == "Hold on"
    assert len(terminal.last().text) > 20


def test_two_instances(terminal):
    terminal.start()
    terminal.ask("The first one writes")
    terminal.keys("Escape")
    terminal.until(lambda: terminal.last().state == "stopped")
    terminal.call("split-window", "-v", "-l", "14", "sh")
    terminal.start(wanted="read-only")
    terminal.keys("-l", "May I?")
    terminal.until(lambda: "May I?" in terminal.screen)
    terminal.keys("Enter")
    time.sleep(0.3)
    assert [message.text for message in terminal.read()[:1]] == ["The first one writes"]
    assert len(terminal.read()) == 2
