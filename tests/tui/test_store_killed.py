"""SIGKILL in mid-answer: the user's message is there, and at most the last 300 ms are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tui.store import Store

WRITER = """
import sys, time
from pathlib import Path
from tui.store import Store

store = Store.open(Path(sys.argv[1]))
conversation = store.create(model="guide")
user = store.add_user(conversation.id, None, "the question")
reply = store.start_answer(conversation.id, user.id, model="guide")
began = saved = time.monotonic()
text = ""
while True:                       # a hundred tokens a second, each the time it was made
    time.sleep(0.01)
    text += f"{time.time():.3f} "
    if time.monotonic() - saved >= 0.25:
        store.flush(reply.id, text, "")
        saved = time.monotonic()
        print("flushed", flush=True)
"""


def test_sigkill_loses_at_most_the_last_flush(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(4):
        assert writer.stdout.readline() == "flushed\n"
    time.sleep(0.1)
    os.kill(writer.pid, signal.SIGKILL)
    killed = time.time()
    writer.wait()
    writer.stdout.close()

    store = Store.open(path)
    assert store.recovered == 1
    (conversation,) = store.conversations()
    user, reply = store.branch(conversation.leaf_id)
    assert (user.text, user.state) == ("the question", "done")
    assert reply.state == "interrupted"
    # A quarter of a second between flushes, and some for a busy machine to write one.
    assert killed - float(reply.text.split()[-1]) < 0.3 + 0.2
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
