"""Terminal input as it comes, byte by byte if it must: pastes, keys, and what is neither."""

from __future__ import annotations

import inspect
import os
import pty
import random
import select
import subprocess
import sys
import textwrap
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path

import pytest
from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from tui.app import MlxqwenApp
from tui.driver import Input, Pastes, TerminalDriver, plain
from tui.store import Store

START, END = "\x1b[200~", "\x1b[201~"
HOSTILE = "a\x1b[31mred\x1b\rb\r\nc\x1b\x1b[Ad\te\x00\x9b2Jf\x7f"
TAKEN = "a[31mred\nb\nc[Ad\te2Jf"


def told(pieces):
    """Pieces with what was typed in a row joined, pastes as one-tuples."""
    result = []
    for piece in pieces:
        if isinstance(piece, events.Paste):
            result.append((piece.text,))
        elif result and isinstance(result[-1], str):
            result[-1] += piece
        else:
            result.append(piece)
    return result


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_a_paste_is_one_event_however_it_is_cut(step):
    text = f"x\x1b[A{START}{HOSTILE}{END}y{START}{END}\x1b[200z{START}\x1b[20{END}"
    pastes = Pastes()
    pieces = [piece for at in range(0, len(text), step) for piece in pastes.feed(text[at:][:step])]
    assert told(pieces) == ["x\x1b[A", (TAKEN,), "y", ("",), "\x1b[200z", ("[20",)]
    assert pastes.patience is None


def test_a_lone_escape_is_passed_on_soon_and_may_still_begin_a_paste():
    pastes = Pastes()
    assert list(pastes.feed("\x1b")) == []
    assert pastes.patience < 0.1
    assert pastes.give_up() == "\x1b"
    assert pastes.patience is None
    assert told(pastes.feed(f"[200~one{END}")) == [("one",)]
    assert list(pastes.feed("\x1b")) == []
    assert pastes.give_up() == "\x1b"
    assert told(pastes.feed("[A")) == ["[A"]
    assert told(pastes.feed("\x1b[20")) == []
    assert pastes.give_up() == "\x1b[20"
    assert told(pastes.feed("9x")) == ["9x"]


def test_a_lone_escape_is_a_key_in_time_to_stop_an_answer():
    source = Input()
    began = time.monotonic()
    assert [*source.feed(b"\x1b"), *source.tick()] == []
    assert source.waiting
    time.sleep(source.patience)
    found = [*source.give_up()]
    while not found:
        assert source.waiting
        assert time.monotonic() - began < 1
        time.sleep(0.005)
        found += source.tick()
    assert [event.key for event in found] == ["escape"]
    assert not source.waiting
    # The rest of a sequence that comes in time makes it none.
    assert [event.key for event in (*source.feed(b"\x1b"), *source.give_up())] == []
    assert [event.key for event in source.feed(b"[A")] == ["up"]


def test_a_paste_without_an_end_does_not_keep_the_keyboard():
    pastes = Pastes()
    assert list(pastes.feed(f"{START}some\x1b[20")) == []
    assert pastes.patience > 1
    assert told([pastes.give_up()]) == [("some[20",)]
    assert told(pastes.feed("typed")) == ["typed"]


def test_line_ends_and_controls():
    assert plain("a\r\nb\rc\n\r\td\x85\x9b\x1b\x7f") == "a\nb\nc\n\n\td"
    assert plain("perché 量子 🙂") == "perché 量子 🙂"


def test_bytes_that_are_no_text_are_shown_as_such():
    source = Input()
    found = [*source.feed(b"a\xff\xc3"), *source.feed(b"\xa9\xe2\x82z")]
    assert "".join(event.character for event in found) == "a\ufffdé\ufffdz"


@pytest.mark.parametrize("seed", range(5))
def test_no_input_ends_the_reading(seed):
    draw = random.Random(seed)
    source = Input()
    pieces = [b"\x1b", b"[", b";", b":", b"9", b"99999999999", b"u", b"~", b"m", b"<", b"\xff"]
    for _ in range(300):
        for _message in source.feed(b"".join(draw.choices(pieces, k=30))):
            pass
        for _message in source.feed(draw.randbytes(50)):
            pass
    for _message in source.feed(END.encode() * 2 + b"\x18"):
        pass
    assert [event.key for event in source.feed(b"q")][-1] == "q"


def test_what_is_private_to_textual_is_still_there():
    """The loop replaced is the one the base class runs in its thread, and reads what it reads."""
    starter = inspect.getsource(LinuxDriver.start_application_mode)
    assert "self._run_input_thread" in starter
    assert "self.run_input_thread()" in inspect.getsource(LinuxDriver._run_input_thread)
    replaced = inspect.getsource(LinuxDriver.run_input_thread)
    for name in ("self.fileno", "self.exit_event", "XTermParser(self._debug)", "process_message"):
        assert name in replaced
    parser = XTermParser(False)
    assert [event.key for event in parser.feed("a\x1b[A")] == ["a", "up"]
    assert (parser.mouse_pixels, parser.terminal_size) == (False, None)
    assert parser.terminal_pixel_size is None
    assert [*parser.feed("\x1b")] == []
    assert 0 < parser._timeout_time - time.monotonic() < 1
    assert MlxqwenApp("guide").driver_class is TerminalDriver


CHAT = """
    import sys
    from pathlib import Path
    from tui.app import MlxqwenApp
    from tui.bridge import Bridge
    app = MlxqwenApp("guide", conversations=Path(sys.argv[1]), bridge=Bridge(sys.argv[2:]))
    app.run()
    sys.exit(app.return_code)
"""


class Pane:
    """The chat over the stand-in engine, on a terminal of which every byte is ours."""

    def __init__(self, path, typed=b""):
        self.path = path
        self.shown = b""
        self.master, child = pty.openpty()
        if typed:
            tty.setraw(child)  # or the terminal itself would show what is typed
            self.type(typed)
        fake = Path(__file__).with_name("fake_worker.py")
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(CHAT),
            str(path),
            sys.executable,
            str(fake),
        ]
        env = {**os.environ, "TERM": "xterm-256color", "MLXQWEN_HOME": str(path.parent)}
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=env, start_new_session=True
        )
        os.close(child)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.until(lambda: b"ready" in self.shown)

    def _read(self):
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.master, 65_536)
                except OSError:
                    return

    def type(self, data):
        while data:
            data = data[os.write(self.master, data[:1024]) :]

    def until(self, wanted, seconds=15.0):
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.shown[-2000:]}"
            time.sleep(0.01)

    def leave(self):
        """Ctrl+C as often as it takes: it also stops an answer, and clears a selection."""

        def left():
            with suppress(OSError):
                self.type(b"\x03")
            time.sleep(0.2)
            return self.process.poll() is not None

        self.until(left)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        os.close(self.master)

    def questions(self):
        return [message.text for message in self.asked()]

    def asked(self):
        store = Store.open(self.path)
        try:
            found = store.conversations(1)
            branch = store.branch(found[0].leaf_id) if found and found[0].leaf_id else []
            return [message for message in branch if message.role == "user"]
        finally:
            store.close()


@pytest.fixture
def pane(tmp_path):
    pane = Pane(tmp_path / "conversations.sqlite3")
    yield pane
    pane.close()


def test_what_is_typed_before_the_start_is_not_lost(tmp_path):
    pane = Pane(tmp_path / "conversations.sqlite3", typed=b"before anything was there")
    pane.until(lambda: b"there" in pane.shown)
    pane.type(b"\r")
    pane.until(pane.questions)
    assert pane.questions() == ["before anything was there"]
    pane.close()


def test_a_hostile_paste_arrives_whole_and_is_not_sent(pane):
    pane.type(f"before {START}{HOSTILE}{END} after".encode())
    pane.until(lambda: b"after" in pane.shown)
    assert pane.questions() == []
    pane.type(b"\xff\xc3(\r")
    pane.until(pane.questions)
    assert pane.questions() == [f"before {TAKEN} after\ufffd\ufffd("]
    pane.leave()
    assert pane.process.returncode == 0


def test_a_hundred_kilobytes_of_escapes_are_taken_at_once(pane):
    line = "\x1b[1;31mlong and coloured\x1b[0m\r\n\x1b\x1b["
    text = line * (100_000 // len(line))
    began = time.perf_counter()
    pane.type(f"{START}{text}{END} after".encode())
    pane.until(lambda: b"after" in pane.shown, 30)
    taken = time.perf_counter() - began
    pane.type(b"\r")
    pane.until(pane.questions)
    (asked,) = pane.asked()
    assert asked.text == " after"
    assert [part.text for part in asked.attachments] == [plain(text)]
    assert taken < 2.0  # a minute where Textual's parser reads it


def test_a_terminal_that_is_gone_ends_the_chat(pane):
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, pane.master)  # closes the terminal, and keeps the number taken
    os.close(nothing)
    # Python itself makes 120 of it where it cannot flush its streams into the dead terminal.
    assert pane.process.wait(10) in (1, 120)


EDITOR = """#!/bin/sh
printf 'the editor has the terminal'
cat "$1" > "{seen}"
while [ ! -e "{seen}.go" ]; do sleep 0.05; done
printf 'written elsewhere' > "$1"
"""


def test_the_editor_has_the_terminal_and_gives_it_back(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    script = tmp_path / "editor"
    script.write_text(EDITOR.format(seen=seen))
    script.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(script))
    pane = Pane(tmp_path / "conversations.sqlite3")
    try:
        pane.type(b"slow\r")
        pane.until(lambda: b"word3" in pane.shown)
        pane.type(b"draft\x07")
        pane.until(lambda: b"the editor has the terminal" in pane.shown)
        begun = len(pane.shown)
        time.sleep(0.5)
        assert len(pane.shown) == begun  # an answer is coming, and paints over nothing
        assert seen.read_text() == "draft"
        (tmp_path / "seen.go").touch()
        pane.until(lambda: b"elsewhere" in pane.shown[begun:])
        pane.type(b" and here\x1b")
        pane.until(lambda: b"stopped" in pane.shown)
        pane.type(b"\r")
        pane.until(lambda: len(pane.questions()) == 2)
        assert pane.questions()[1] == "written elsewhere and here"
        pane.leave()
    finally:
        pane.process.kill()
        pane.process.wait()
        pane.reader.join(5)
        os.close(pane.master)
