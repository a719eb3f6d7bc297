"""The chat as the tests see it: the real application over a stand-in for the engine's process."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual import events

from mlxqwen.hub.library import LocalModel
from tui.app import MlxqwenApp
from tui.bridge import Bridge
from tui.screens import chat as chat_screen
from tui.store import Store
from tui.widgets.transcript import Transcript

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
NOW = 1_700_000_000.0


@dataclass
class Chat:
    """A running application with what a test asks of it."""

    app: MlxqwenApp
    pilot: Any

    @property
    def session(self):
        return self.app._chat.session

    @property
    def transcript(self):
        return self.app._chat.query_one(Transcript)

    @property
    def views(self):
        return [self.transcript.view(key) for key in self.transcript.keys]

    @property
    def shown(self):
        return [(view.role, view.text, view.state) for view in self.views]

    @property
    def screen_text(self):
        """What the transcript paints, line by line."""
        lines = range(self.transcript.size.height)
        return "\n".join(self.transcript.render_line(y).text for y in lines)

    async def until(self, wanted, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, f"not within {seconds} s; shown: {self.shown}"
            await self.pilot.pause(0.01)

    async def type(self, text):
        """Paste ``text`` where the cursor is: one event instead of one for every key."""
        self.app.post_message(events.Paste(text))
        await self.pilot.pause()

    async def ask(self, text):
        """Type ``text``, send it, and wait until its answer has ended and is stored."""
        before = len(self.session._branch)
        await self.type(text)
        await self.pilot.press("enter")
        await self.ended(before + 2)

    async def ended(self, messages):
        await self.until(
            lambda: (
                len(self.session._branch) == messages
                and self.session._branch[-1].state != "streaming"
            )
        )

    def stored(self):
        """What a second process reads of the open conversation while this one runs."""
        store = Store.open(self.app._archive._path)
        try:
            assert store.read_only
            leaf = store.conversation(self.session.conversation.id).leaf_id
            return [(m.role, m.text, m.state) for m in store.branch(leaf)]
        finally:
            store.close()


@pytest.fixture
def models(monkeypatch):
    """Two models on the machine, without a file of theirs."""

    def model(name, source, size):
        return LocalModel(name, Path(f"/models/{name}"), source, size, 4.0, "qwen3_moe", 0.0)

    found = [
        model("guide", "builtin", 3_900_000),
        model("qwen/Qwen3-4B-4bit", "ours", 2_300_000_000),
    ]
    monkeypatch.setattr(chat_screen, "local_models", lambda: found)
    return found


@pytest.fixture
def make_app(tmp_path, models):
    def make(model="guide", worker=FAKE):
        path = tmp_path / "conversations.sqlite3"
        return MlxqwenApp(model, conversations=path, bridge=Bridge(worker), clock=lambda: NOW)

    return make


@pytest.fixture
def run_chat(make_app):
    """``async with run_chat() as chat``: started, with the model loaded unless told otherwise."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def run(model="guide", size=(100, 30), *, loaded=True, worker=FAKE):
        app = make_app(model, worker)
        async with app.run_test(size=size) as pilot:
            chat = Chat(app, pilot)
            try:
                await chat.until(lambda: chat.session.loaded or not loaded)
                yield chat
            finally:
                await asyncio.wait_for(app.action_quit(), 10)

    return run


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A data folder with one model, ``tiny``, that answers gibberish until it is stopped."""
    folder = tmp_path_factory.mktemp("home")
    model = folder / "models" / "tiny"
    model.mkdir(parents=True)
    engine = runpy.run_path(str(Path(__file__).parents[1] / "mlxqwen" / "engine" / "conftest.py"))
    engine["_write_tokenizer"](model)
    engine["_write_weights"](model)
    config = {**engine["CONFIG"], "max_position_embeddings": 16_384}
    (model / "config.json").write_text(json.dumps(config))
    settings = model / "tokenizer_config.json"
    endless = {**json.loads(settings.read_text()), "eos_token": None}
    settings.write_text(json.dumps(endless))
    return folder
