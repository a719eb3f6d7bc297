"""The chat as the tests see it: the real application over a stand-in for the engine's process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual import events

from mlxqwen.hub.library import LocalModel
from tui import keys, words
from tui.app import MlxqwenApp
from tui.bridge import Bridge
from tui.store import Store
from tui.widgets.transcript import Transcript

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """Whatever a test or its settings do with language and keys, the next one starts anew."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    yield
    words.use("en")
    keys.use({})


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
        before = len(self.session.branch)
        await self.type(text)
        await self.pilot.press("enter")
        await self.ended(before + 2)

    async def ended(self, messages):
        await self.until(
            lambda: (
                len(self.session.branch) == messages
                and self.session.branch[-1].state != "streaming"
                and self.session.saved
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
    monkeypatch.setattr("mlxqwen.hub.library.local_models", lambda: found)
    return found


@pytest.fixture
def make_app(tmp_path, models):
    def make(model="guide", worker=FAKE):
        path = tmp_path / "conversations.sqlite3"
        return MlxqwenApp(
            model,
            conversations=path,
            settings=tmp_path / "settings.toml",
            bridge=Bridge(worker),
            clock=lambda: NOW,
        )

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


CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "head_dim": 32,
    "max_position_embeddings": 16_384,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "vocab_size": 258,
}
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A data folder with one model, ``tiny``, that answers gibberish until it is stopped."""
    import mlx.core as mx
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("home")
    model = folder / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save(str(model / "tokenizer.json"))

    shapes = {"embed_tokens": (258, 64), "norm": (64,)}
    attention = {"q_proj": (64, 64), "k_proj": (32, 64), "v_proj": (32, 64), "o_proj": (64, 64)}
    attention |= {"q_norm": (32,), "k_norm": (32,)}
    mlp = {"gate_proj": (96, 64), "up_proj": (96, 64), "down_proj": (64, 96)}
    for layer in range(2):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"layers.{layer}.{norm}"] = (64,)
        shapes |= {f"layers.{layer}.self_attn.{name}": of for name, of in attention.items()}
        shapes |= {f"layers.{layer}.mlp.{name}": of for name, of in mlp.items()}
    keys = mx.random.split(mx.random.key(11), len(shapes))
    weights = {
        f"model.{name}.weight": mx.random.normal(shape, key=key) * 0.3
        for (name, shape), key in zip(shapes.items(), keys, strict=True)
    }
    mx.save_safetensors(str(model / "model.safetensors"), weights)
    return folder
