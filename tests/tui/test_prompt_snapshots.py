"""The prompt as it is drawn: its list of commands, its chips, a message being edited or read.

After an intended change, run with ``--snapshot-update`` and look at the pictures.
"""

from __future__ import annotations

import pytest
from textual import events

from tui.store import Store

SMALL, MIDDLE = (80, 24), (110, 32)


@pytest.fixture
def stored(tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: 1_699_990_000.0)
    chat = store.create(title="Why is the sky blue?", model="guide")
    user = store.add_user(chat.id, None, "Why is the sky blue?")
    reply = store.start_answer(chat.id, user.id, model="guide")
    last = store.finish(reply.id, "done", "Because air scatters **short waves** more.", "")
    store.add_user(chat.id, last.id, "And at sunset?")
    store.close()
    return chat.id


def drawn(app, conversation, work):
    async def run(pilot):
        while app._chat.session.loaded is None:
            await pilot.pause(0.02)
        await app._chat.open(conversation)
        await app.workers.wait_for_complete()
        await work(pilot)
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()
        await pilot.pause(0.1)

    return run


@pytest.mark.parametrize(("keys", "size"), [("/", SMALL), ("/s", MIDDLE)], ids=["all", "s"])
def test_commands(snap_compare, make_app, stored, keys, size):
    app = make_app()

    async def work(pilot):
        await pilot.press(*keys)
        await pilot.pause(0.2)
        await pilot.press("down")

    assert snap_compare(app, terminal_size=size, run_before=drawn(app, stored, work))


def test_chips(snap_compare, make_app, stored, tmp_path):
    (tmp_path / "project").mkdir()
    for name in ("one.py", "two.py"):
        (tmp_path / "project" / name).write_text("print('hello')\n" * 40)
    app = make_app()

    async def work(pilot):
        app.post_message(events.Paste("word " * 8000))
        app.post_message(events.Paste(str(tmp_path / "project")))
        app.post_message(events.Paste("What is in there?\nBriefly, please."))

    assert snap_compare(app, terminal_size=MIDDLE, run_before=drawn(app, stored, work))


@pytest.mark.parametrize("key", ["up", "tab"])
def test_editing_and_reading(snap_compare, make_app, stored, key):
    app = make_app()

    async def work(pilot):
        await pilot.press(key)

    assert snap_compare(app, terminal_size=SMALL, run_before=drawn(app, stored, work))


def test_too_small(snap_compare, make_app, stored):
    app = make_app()

    async def work(pilot):
        await pilot.pause()

    assert snap_compare(app, terminal_size=(36, 9), run_before=drawn(app, stored, work))
