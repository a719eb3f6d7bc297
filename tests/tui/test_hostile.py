"""Whatever a model says, nothing of it acts on the terminal: the bytes written to one are read.

The real application runs in a pseudo-terminal; every escape sequence that it writes must be one
that it also writes in a chat about nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest

from tui.store import Store

PROGRAM = Path(__file__).with_name("chat_in_terminal.py")
SECRET = "UFdORUQ="
HOSTILE = {
    "clipboard": f"a\x1b]52;c;{SECRET}\x07b\x1b]52;c;{SECRET}\x1b\\c",
    "clipboard in C1": f"a\x9d52;c;{SECRET}\x9cb\x9d52;c;{SECRET}\x07c",
    "link": "a\x1b]8;;http://pwned.example/\x1b\\here\x1b]8;;\x1b\\b",
    "markdown link": "[a](http://pwned.example/) <http://pwned.example/> ![x](file:///etc/passwd)",
    "title": "a\x1b]0;PWNED\x07b\x1b]2;PWNED\x07c",
    "notice": "a\x1b]9;PWNED\x07b\x1b]777;notify;PWNED\x07",
    "screen": "a\x1b[2J\x1b[Hb\x1b[?1049lc\x1b[31mred\x1b[6n\x1b[c\x1b[5i\x1b[?1000h\x1bc\x1b(0",
    "C1": "a\x9b2Jb\x9b31mc\x90PWNED\x9cd\x85e\x8df",
    "device control": "a\x1bP+q544e\x1b\\b\x1bPq#0;2;0;0;0~-\x1b\\c",
    "other strings": "a\x1b_PWNED\x1b\\b\x1b^PWNED\x1b\\c\x1bXPWNED\x1b\\",
    "single controls": "a\x00b\x07c\x08\x08\x08d\x0be\x0cf\rg\x0eh\x0fi\x7fj\x1b",
    "bidi": "a\u202eevil\u202c b\u2066c\u2069 d\u200fe\u061cf\u200eg \u2028h\u2029i",
    "invisible": "a\u200b\u200c\ufeff\u2060b\U000e0041\U000e007fc\ufe0f\u00ad",
    "marks": "a" + "\u0301" * 300 + " Z" + "\u0489" * 300,
    "surrogates": "a\ud800b\udfffc\udce8d",
    "markup": "[red]a[/red] [@click=app.quit]quit[/] [link=http://pwned.example]x[/link] [/] [$x ]",
    "code": "```\x1b]52;c;x\x07\n\x1b[31m[red]\u202e\n```\n",
    "table": "|a\x1b[2J|b\x9b|\n|-|-|\n|\x1b]0;x\x07|[red]|\n",
    "half": "a\x1b",
    "other half": "]52;c;UFdORUQ=\x07b",
}
SEQUENCE = re.compile(
    r"\x1b\[(?P<csi>[0-?]*[ -/]*[@-~])"
    r"|\x1b(?P<string>[\]PX^_].*?(?:\x07|\x1b\\))"
    r"|\x1b(?P<other>[ -/]*[0-~])",
    re.DOTALL,
)


class Terminal:
    """A pseudo-terminal with the chat in it."""

    def __init__(self, folder, model="guide", size=(100, 30)):
        self.database = folder / "conversations.sqlite3"
        self.written = bytearray()
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), json.dumps(model)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environment, "MLXQWEN_HOME": str(folder), "HF_HUB_CACHE": str(folder)},
        )
        os.close(slave)
        self._master = master
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.until(lambda: b"ready" in self.written)

    def _read(self):
        while True:
            try:
                piece = os.read(self._master, 1 << 16)
            except OSError:
                return  # the program has closed its end
            if not piece:
                return
            self.written += piece

    def until(self, wanted, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, bytes(self.written[-3000:])
            assert self.process.poll() is None, bytes(self.written[-3000:])
            time.sleep(0.02)

    def keys(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self._master, data[:512]) :]
            time.sleep(0.01)

    def answers(self):
        """(state, text) of every answer, the newest last, as another process reads them."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(
                "SELECT state, text FROM message WHERE role = 'assistant' ORDER BY id"
            ).fetchall()

    def ask(self, text):
        before = len(self.answers())
        self.keys(f"\x1b[200~{text}\x1b[201~")
        time.sleep(0.1)
        self.keys("\r")
        self.until(lambda: len(self.answers()) > before and self.answers()[-1][0] != "streaming")
        time.sleep(0.2)  # the last of it is painted
        return self.answers()[-1]

    def close(self):
        self.keys("\x03")
        time.sleep(0.1)
        self.keys("\x03")
        status = self.process.wait(15)
        self._reader.join(2)
        os.close(self._master)
        return status

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(model="guide", **options):
        opened.append(Terminal(tmp_path, model, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.kill()


def acts(written):
    """What the bytes do to a terminal beside painting: kinds of sequences, and bare controls."""
    text = bytes(written).decode("utf-8")  # strictly: a terminal must never see half a character
    found = set()
    for match in SEQUENCE.finditer(text):
        if (csi := match["csi"]) is not None:
            # Colours and positions differ from one paint to the next; modes do not.
            found.add(f"CSI {csi[-1]}" if csi[-1] in "mH" and csi[0] != "?" else f"CSI {csi}")
        else:
            found.add(f"ESC {match['string'] or match['other']}")
    rest = SEQUENCE.sub("", text)
    for character in rest:
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs") or unicodedata.bidirectional(character) in BIDI:
            found.add(f"U+{ord(character):04X}")
    return found


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """What a chat about nothing does to its terminal."""
    terminal = Terminal(tmp_path_factory.mktemp("harmless"))
    try:
        terminal.ask("think about it")
        terminal.ask("fail")
        terminal.ask("die")
        terminal.keys("\x06")  # find
        time.sleep(0.5)
        terminal.keys("\x1b")
        time.sleep(0.5)
        assert terminal.close() == 0
    finally:
        terminal.kill()
    return acts(terminal.written)


def test_what_is_looked_for_would_be_found():
    for name in (
        "clipboard",
        "link",
        "notice",
        "screen",
        "C1",
        "device control",
        "single controls",
        "bidi",
    ):
        assert acts(HOSTILE[name].encode()) - {"CSI m", "CSI H", "U+0007"}, name
    with pytest.raises(UnicodeDecodeError):
        acts(HOSTILE["surrogates"].encode("utf-8", "surrogatepass"))


def test_nothing_a_model_says_acts(terminal, harmless):
    chat = terminal()
    for name, text in HOSTILE.items():
        state, said = chat.ask(f"raw {json.dumps(text)}")
        assert state == "done", name
        assert said, name
    chat.keys("\x14")  # unfold thoughts
    time.sleep(0.5)
    chat.keys("\x06")  # the library, with the titles
    time.sleep(1)
    chat.keys("\x1b")
    time.sleep(0.5)
    assert chat.close() == 0
    assert acts(chat.written) <= harmless


def test_nor_do_errors_names_and_titles(terminal, harmless, tmp_path):
    evil = "evil\x1b]52;c;UFdORUQ=\x07[red]\u202e\x9b2J\ud800 model"
    store = Store.open(tmp_path / "conversations.sqlite3")
    kept = store.create(title=f"Title {evil}", model=evil, system=evil)
    question = store.add_user(kept.id, None, evil)
    answer = store.start_answer(kept.id, question.id, model=evil)
    store.finish(answer.id, "error", evil, evil, note=evil)
    store.close()
    chat = terminal(evil)
    assert b"evil" in chat.written
    for name in ("clipboard", "C1", "bidi", "markup", "surrogates", "single controls"):
        assert chat.ask(f"sentence {json.dumps(HOSTILE[name])}")[0] == "error", name
    chat.keys("\x06")
    time.sleep(1)
    chat.keys("\r")
    time.sleep(1)
    chat.keys("/model\r")
    time.sleep(1)
    chat.keys("\x1b")
    time.sleep(0.5)
    assert chat.close() == 0
    assert acts(chat.written) <= harmless


def test_a_flood_in_one_line_is_survived(terminal, harmless):
    chat = terminal()
    assert len(chat.ask("flood")[1]) > 1_150_000
    assert chat.ask("and then")[1].startswith("You said")
    assert chat.close() == 0
    assert acts(chat.written) <= harmless
