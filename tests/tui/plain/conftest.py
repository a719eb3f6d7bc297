"""A terminal of its own for the linear chat: typed at by bytes, read as bytes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tui.store import Store

FAKE = Path(__file__).parents[1] / "fake_worker.py"
# Readline has pastes marked while it reads a line.
READLINE = re.compile(rb"\x1b\[\?2004(?:h|l\r?)")
OVER_FAKE = """
import sys
from pathlib import Path
from tui.bridge import Bridge
from tui.plain.run import run

try:
    run("guide", conversations=Path(sys.argv[1]), settings=Path(sys.argv[2]),
        bridge=Bridge((sys.executable, sys.argv[3])))
finally:
    print("textual:", "textual" in sys.modules)
"""


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, command, home, **environment):
        self.home = home
        self.database = home / "conversations.sqlite3"
        self.bytes = b""
        self._seen = 0
        self.process, self._fd = pty.fork()
        if not self.process:
            here = {
                "MLXQWEN_HOME": str(home),
                "HF_HUB_CACHE": str(home),
                "TERM": "xterm-256color",
                "LC_ALL": "C.UTF-8",
                "INPUTRC": "/dev/null",
            }
            os.environ.update(here | environment)
            os.chdir(home)
            os.execv(sys.executable, [sys.executable, *command])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    @property
    def text(self):
        """All that was written, its line ends as ``\\n``, without readline's own switches."""
        return READLINE.sub(b"", self.bytes).decode(errors="replace").replace("\r\n", "\n")

    @property
    def new(self):
        """What was written after what the last ``expect`` found."""
        return self.text[self._seen :]

    def read(self, seconds=0.05):
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                part = os.read(self._fd, 65_536)
            except OSError:  # the other end is closed
                part = b""
            self.bytes += part
            return bool(part)
        return True

    def expect(self, text, seconds=20.0):
        """Wait for ``text`` after what was found last; returns what stood before it."""
        deadline = time.monotonic() + seconds
        while text not in self.new:
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.new}"
            assert self.read() or text in self.new, f"ended without {text!r}:\n{self.new}"
        before, _, _ = self.new.partition(text)
        self._seen += len(before) + len(text)
        return before

    def type(self, text):
        os.write(self._fd, text.encode())

    def ask(self, text, prompt="You: "):
        """Type a line and return all that comes until the next prompt."""
        self.type(text + "\r")
        self.expect(text)
        return self.expect(prompt)

    def end(self, seconds=10.0):
        """Wait for the process; returns its exit status, or minus the signal."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read()
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                self.process = 0
                while self.read(0.1) and select.select([self._fd], [], [], 0)[0]:
                    pass
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"still running:\n{self.new}")

    def branch(self):
        store = Store.open(self.database)
        try:
            found = store.conversations(1)
            branch = store.branch(found[0].leaf_id) if found else []
            return [(message.role, message.text, message.state) for message in branch]
        finally:
            store.close()

    def close(self):
        if self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self._fd)


@pytest.fixture
def terminals():
    opened = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.fixture
def plain(tmp_path, terminals):
    """``plain()``: the chat over the stand-in for the engine, at its first prompt."""

    def start(*, prompt="You: ", home=tmp_path, **environment):
        database, settings = home / "conversations.sqlite3", home / "settings.toml"
        command = ["-c", OVER_FAKE, str(database), str(settings), str(FAKE)]
        terminal = Terminal(command, home, **environment)
        terminals.append(terminal)
        terminal.expect(prompt)
        return terminal

    return start


@pytest.fixture
def real(home, tmp_path, terminals):
    """``real("--plain")``: the program itself, with a model that writes gibberish without end."""
    (tmp_path / "models").symlink_to(home / "models")

    def start(*arguments, **environment):
        terminal = Terminal(["-m", "tui.cli", *arguments], tmp_path, **environment)
        terminals.append(terminal)
        return terminal

    return start
