"""Settings, help and doctor as they are drawn, in both languages.

After an intended change, run with ``--snapshot-update`` and look at the pictures.
"""

from __future__ import annotations

import json
import sys

import pytest

from tui import checkup
from tui.checkup import Finding
from tui.units import size as size_of
from tui.words import say

SMALL = (80, 24)


def settled(app):
    """What to do before the picture: wait for the model."""

    async def run(pilot):
        while app._chat.session.loaded is None:
            await pilot.pause(0.02)
        await app.workers.wait_for_complete()

    return run


PAGES = ("help", "settings", "doctor")


@pytest.fixture
def examined(monkeypatch):
    """The same machine and the same files wherever this runs."""
    findings = [
        {"name": "system", "value": "macOS 26.0", "state": "ok", "remedy": ""},
        {"name": "MLX", "value": "0.32.4 on metal", "state": "ok", "remedy": ""},
        {
            "name": "memory",
            "value": "8.0 GB, of which a model may take 5.3 GB",
            "state": "note",
            "remedy": "Enough for models up to about 4B in 4 bits.",
        },
    ]
    report = json.dumps({"healthy": True, "findings": findings})
    monkeypatch.setattr(checkup, "DOCTOR", (sys.executable, "-c", f"print({report!r})"))
    monkeypatch.setattr(
        checkup,
        "files",
        lambda *places: [
            Finding(say("doctor.conversations"), say("doctor.sound", size=size_of(129_000_000))),
            Finding(say("doctor.backups"), say("doctor.no_backups")),
        ],
    )


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("page", PAGES)
def test_pages(snap_compare, make_app, examined, page, language):
    app = make_app()

    async def run(pilot):
        await settled(app)(pilot)
        app.change(language=language)
        app._chat.action_do(page)
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=SMALL, run_before=run)


@pytest.mark.parametrize("page", PAGES)
def test_pages_in_a_tiny_window_in_plain_colours(snap_compare, make_app, examined, page):
    app = make_app()

    async def run(pilot):
        await settled(app)(pilot)
        app.change(theme="mlxqwen-plain")
        app._chat.action_do(page)
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=(40, 10), run_before=run)
