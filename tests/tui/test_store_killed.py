"""SIGKILL in mid-answer: the user's messages are there, and at most the last 300 ms are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


BRANCHES = """
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_branches import desk
from tui.bridge import Streamed
from mlxqwen.engine.events import Text
from tui.records import Attachment, Draft

async def main():
    async with desk(Path(sys.argv[1])) as here:
        session = here.session
        first, _ = await here.ask("first", attachments=[Attachment("a.txt", "attached")])
        await session.edit(first.id, "edited")
        await here.settle()
        await session.fork()
        here.view.box = Draft("unsent", (Attachment("paste 1", "pasted"),))
        session.drafted()
        await asyncio.sleep(0.5)
        here.engine.waits = True
        await session.edit(session.branch[0].id, "edited in the copy")
        saved = 0.0
        while True:
            await asyncio.sleep(0.01)
            said = Text(f"{time.time():.3f} ")
            here.engine.events.append(Streamed(session.answer.request, said))
            session.pump()
            if time.monotonic() - saved >= 0.25:
                await session.flush()
                saved = time.monotonic()
                print("flushed", flush=True)

asyncio.run(main())
"""


def test_sigkill_loses_no_branch_no_fork_and_no_draft(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    writer = subprocess.Popen(
        [sys.executable, "-c", BRANCHES, str(path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(4):
        assert writer.stdout.readline() == "flushed\n"
    os.kill(writer.pid, signal.SIGKILL)
    killed = time.time()
    writer.wait()
    writer.stdout.close()

    store = Store.open(path)
    assert store.recovered == 1
    copy, original = store.conversations()
    assert (original.title, copy.title) == ("first", "first (2)")
    edited, answer = store.branch(original.leaf_id)
    assert (edited.text, answer.state) == ("edited", "done")
    first = store.message(store.siblings(edited.id)[0])
    assert (first.text, first.attachments[0].text) == ("first", "attached")
    question, cut = store.branch(copy.leaf_id)
    assert (question.text, cut.state) == ("edited in the copy", "interrupted")
    assert question.attachments[0].text == "attached"
    assert killed - float(cut.text.split()[-1]) < 0.3 + 0.2
    kept = store.draft(copy.id)
    assert (kept.text, kept.attachments[0].text) == ("unsent", "pasted")
    assert store.history() == ["edited in the copy", "edited", "first"]
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
