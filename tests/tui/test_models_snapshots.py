"""The page of models, its dialogs and the first run as they are drawn.

After an intended change, run with ``--snapshot-update`` and look at the pictures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxqwen.engine.memory import Plan
from mlxqwen.hub.catalogue import MODELS
from mlxqwen.hub.library import LocalModel
from mlxqwen.hub.unfinished import Unfinished
from tui.job import Job, Task
from tui.job_events import Failure, Progress
from tui.screens import first_run, models
from tui.screens.models_facts import Facts, Here, Offer, Part

GB = 1_000_000_000
SIZES = [(40, 10), (80, 24), (200, 60)]


def plan(name, weights, context):
    cache = context * 100_000
    return Plan(name, context, weights, cache, GB // 2, 12 * GB, stored=weights)


def offer(known, context):
    if known.parameters is None:
        return Offer(known, known.hub_id, None, None, "", context)
    amount = known.parameters * 9 // 16
    fetched = (*known.mlx_ids, known.hub_id)[0]
    reached = min(context, known.context or context)
    return Offer(known, fetched, amount, plan(known.alias, amount, reached), "", context)


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    """A machine that is the same everywhere."""

    def found(context):
        def here(name, source, amount, bits):
            model = LocalModel(name, Path("/m") / name, source, amount, bits, "qwen3", 0.0)
            return Here(model, plan(name, amount, context), "", context)

        return Facts(
            context=context,
            here=(
                here("guide", "builtin", 2_800_000, 4.0),
                here("Qwen3-8B-balanced", "ours", 4_900_000_000, 4.0),
                here("mlx-community/Qwen3-4B-4bit", "hub cache", 2_263_022_417, 4.0),
                here("Qwen/Qwen3-14B", "LM Studio", 29_536_614_400, 16.0),
            ),
            parts=(Part(Unfinished("Qwen/Qwen3-8B", Path("/m/8"), "download", 5 * GB)),),
            offers=tuple(offer(known, context) for known in MODELS),
            memory=16 * GB,
            budget=12 * GB,
            free=84 * GB,
            cache_free=84 * GB,
        )

    monkeypatch.setattr(models, "gather", found)
    monkeypatch.setattr(first_run, "gather", found)


def working(app):
    """One job of each kind that there is to see."""
    jobs = [
        Job(Task("pull", "mlx-community/Qwen3-30B-A3B-4bit", ("x",), network=True), "running"),
        Job(Task("quantize", "Qwen3-8B", ("y",)), "paused"),
        Job(Task("verify", "Qwen3-4B-4bit", ("z",)), "waiting"),
        Job(Task("pull", "owner/gated", ("w",), network=True), "failed"),
    ]
    jobs[0].progress = Progress("fetch", 0.34, 6 * GB, 17 * GB, 118e6, 97.0)
    jobs[1].progress = Progress("quantise", 0.71)
    jobs[3].failure = Failure("HubError", "owner/gated is gated.", "Ask its owner for access.")
    app._chat.jobs._listed = jobs
    app._chat.jobs._now = jobs[0]


def pressed(app, *keys, work=False, **settings):
    async def run(pilot):
        while app._chat.session.loaded is None:
            await pilot.pause(0.02)
        app.change(**settings)
        if work:
            working(app)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        await pilot.pause(0.2)
        app._chat.jobs._now = None

    return run


@pytest.mark.parametrize("size", SIZES)
def test_models(snap_compare, make_app, size):
    app = make_app()
    run = pressed(app, "ctrl+l", "down", "down", work=True)
    assert snap_compare(app, terminal_size=size, run_before=run)


def test_models_in_italian_by_day(snap_compare, make_app):
    app = make_app()
    run = pressed(app, "ctrl+l", work=True, language="it", theme="day")
    assert snap_compare(app, terminal_size=(120, 36), run_before=run)


def test_models_plain(snap_compare, make_app):
    app = make_app()
    run = pressed(app, "ctrl+l", theme="plain")
    assert snap_compare(app, terminal_size=(80, 24), run_before=run)


def test_the_question_before_a_download(snap_compare, make_app):
    app = make_app()
    keys = ("ctrl+l", *("down",) * 6, "d")
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressed(app, *keys))


@pytest.mark.parametrize(("size", "language"), [(SIZES[0], "it"), (SIZES[1], "en")])
def test_first_run(snap_compare, make_app, size, language):
    app = make_app()

    async def run(pilot):
        await pressed(app, language=language)(pilot)
        app.push_screen(first_run.FirstRun(app._chat.jobs))
        await pilot.pause(0.5)

    assert snap_compare(app, terminal_size=size, run_before=run)
