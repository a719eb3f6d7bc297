"""The chat as it is drawn: small and large, empty, in the middle of things, and after a failure.

After an intended change, run with ``--snapshot-update`` and look at the pictures.
"""

from __future__ import annotations

import pytest

from tui.records import Statistics
from tui.store import Store

SMALL, MIDDLE, LARGE = (80, 24), (120, 36), (200, 60)
ANSWER = """\
Because air scatters **short waves** more than long ones; the effect grows with the fourth power
of the frequency.

| colour | wavelength |
|--------|-----------:|
| blue   |     450 nm |
| red    |     700 nm |

```python
def scattering(wavelength: float) -> float:
    return wavelength ** -4  # Rayleigh
```

- [x] 天空是蓝色的
- [ ] il tramonto è rosso
"""


@pytest.fixture
def stored(tmp_path):
    """Four conversations of which one is worth looking at."""
    now = iter([1_699_900_000.0 + 7000 * step for step in range(40)])
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: next(now))
    for title in ("Ricetta per il pane", "量子化とは何か", "A plan for the garden"):
        store.create(title=title, model="guide")
    chat = store.create(title="Why is the sky blue?", model="guide")
    user = store.add_user(chat.id, None, "Why is the sky blue?\nBriefly, please.")
    reply = store.start_answer(chat.id, user.id, model="guide")
    figures = Statistics(n_prompt=800, n_gen=1800, ttft_ms=210.0, tok_s=61.0, thinking_ms=3100.0)
    last = store.finish(
        reply.id, "done", ANSWER, "Rayleigh, then. Keep it short.", statistics=figures
    )
    user = store.add_user(chat.id, last.id, "And at sunset?")
    reply = store.start_answer(chat.id, user.id, model="guide")
    store.finish(reply.id, "stopped", "Then light takes the longer way", "", statistics=figures)
    store.close()
    return chat.id


def settled(app, conversation=None, *keys):
    """What to do before the picture: wait for the model, open, press."""

    async def run(pilot):
        while app._chat.session.loaded is None:
            await pilot.pause(0.02)
        if conversation is not None:
            await app._chat.open(conversation)
        await app.workers.wait_for_complete()
        await pilot.press(*keys)
        await pilot.pause(0.2)
        await app.workers.wait_for_complete()
        while app._chat.session.outlook.asking:
            await pilot.pause(0.02)

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_welcome(snap_compare, make_app, size):
    app = make_app()
    assert snap_compare(app, terminal_size=size, run_before=settled(app))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE])
def test_conversation(snap_compare, make_app, stored, size):
    app = make_app()
    assert snap_compare(app, terminal_size=size, run_before=settled(app, stored))


def test_conversation_by_day(snap_compare, make_app, stored):
    app = make_app()

    async def run(pilot):
        await settled(app, stored)(pilot)
        app.theme = "mlxqwen-day"
        await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=MIDDLE, run_before=run)


@pytest.mark.parametrize("key", ["f1"])
def test_dialogs(snap_compare, make_app, stored, key):
    app = make_app()
    assert snap_compare(app, terminal_size=SMALL, run_before=settled(app, stored, key))


def test_a_dead_engine(snap_compare, make_app):
    app = make_app()

    async def run(pilot):
        await settled(app)(pilot)
        await app._chat.session.send("die")
        while app._chat.session._branch[-1].state != "error":
            await pilot.pause(0.02)
        await settled_again(pilot, app)

    async def settled_again(pilot, app):
        await app.workers.wait_for_complete()
        await pilot.pause(0.3)

    assert snap_compare(app, terminal_size=SMALL, run_before=run)
