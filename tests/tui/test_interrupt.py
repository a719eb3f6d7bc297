"""Ctrl-C in real processes: in Python code, in code that will not stop, and twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

# ``deaf`` is a computation that Python cannot interrupt, without its lock, as one of MLX.
PROGRAM = """
import hashlib, sys, time
from tui.commands.interrupt import ending_on_ctrl_c

def deaf():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 40_000_000)

def words():
    print("last words", file=sys.stderr, flush=True)

with ending_on_ctrl_c(lambda: print("first", flush=True), words):
    print("running", flush=True)
    {work}
print("after", flush=True)
"""


@pytest.fixture
def started():
    processes = []

    def start(work):
        code = textwrap.dedent(PROGRAM).replace("{work}", work)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what readline read beyond its line, communicate would not give
        )
        processes.append(process)
        assert process.stdout.readline() == b"running\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ended(process, patience=10):
    began = time.perf_counter()
    out, err = process.communicate(timeout=patience)
    return process.returncode, out.decode(), err.decode(), time.perf_counter() - began


def test_nothing_happens_without_it(started):
    status, out, err, _ = ended(started("pass"))
    assert (status, out, err) == (0, "after\n", "")


def test_python_code_ends_at_once(started):
    process = started("time.sleep(30)")
    process.send_signal(signal.SIGINT)
    status, out, err, seconds = ended(process)
    assert (status, err) == (130, "last words\n")
    assert out in ("", "first\n")
    assert seconds < 0.9


def test_what_will_not_stop_is_left_after_a_second(started):
    process = started("deaf()")
    time.sleep(0.2)  # until it has gone deaf
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"first\n"
    status, _, err, seconds = ended(process)
    assert (status, err) == (130, "last words\n")
    assert 0.5 < seconds < 3


def test_a_second_one_leaves_at_once(started):
    process = started("deaf()")
    time.sleep(0.2)  # until it has gone deaf
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"first\n"
    process.send_signal(signal.SIGINT)
    status, _, err, seconds = ended(process)
    assert (status, err) == (130, "last words\n")
    assert seconds < 0.5


def test_errors_pass(started):
    status, out, err, _ = ended(started("raise ZeroDivisionError"))
    assert status == 1
    assert out == ""
    assert "ZeroDivisionError" in err
    assert "last words" not in err
