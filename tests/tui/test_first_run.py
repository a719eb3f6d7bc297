"""The first run, where nothing is here but the tiny model; and a chat whose model is gone."""

from __future__ import annotations

import shutil
import socket

import pytest
from textual.widgets import Input, Static

from tui.screens import models_facts
from tui.screens.ask import Ask
from tui.screens.first_run import FirstRun
from tui.screens.models import ModelsScreen
from tui.screens.models_choose import Choosing
from tui.screens.models_confirm import Confirm
from tui.screens.models_missing import MissingModel
from tui.screens.models_quantise import QuantiseDialog
from tui.settings import Settings, read_settings, write_settings
from tui.store import Store

NAME = "mlx-community/Qwen3-0.6B-4bit"


@pytest.fixture
def models(monkeypatch, tmp_path):
    """Nothing on the machine but the guide."""
    monkeypatch.setattr(models_facts, "memory_budget", lambda: 12_000_000_000)
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "own" / "models"


def page(chat):
    return chat.app.screen


async def greeted(chat):
    await chat.until(lambda: isinstance(page(chat), FirstRun))
    await chat.until(lambda: page(chat)._facts is not None)
    await chat.pilot.pause()
    return page(chat)


def saved(chat):
    return read_settings(chat.app.settings_path).settings.greeted


async def test_it_works_with_no_network_at_all(run_chat, monkeypatch):
    asked = []

    def refuse(self, address):
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: refuse(None, "a name"))
    async with run_chat(model=None) as chat:
        screen = await greeted(chat)
        about = str(screen.query_one("#first-about", Static).content)
        assert "12.0 GB of it for models" in about
        await chat.pilot.press("escape")
        await chat.until(lambda: not isinstance(page(chat), FirstRun))
        assert chat.session.model == "guide"
        await chat.ask("Hello")
        assert chat.session.branch[-1].state == "done"
        assert saved(chat)
    assert asked == []


async def test_it_is_seen_once(run_chat, tmp_path):
    write_settings(tmp_path / "settings.toml", Settings(greeted=True))
    async with run_chat(model=None) as chat:
        await chat.pilot.pause(0.2)
        assert not isinstance(page(chat), FirstRun)


async def test_not_where_a_model_is_here_or_was_named(run_chat, models, home):
    async with run_chat(model="guide") as chat:
        await chat.pilot.pause(0.2)
        assert not isinstance(page(chat), FirstRun)
    shutil.copytree(home / "models" / "tiny", models / "mine")
    async with run_chat(model=None) as chat:
        await chat.pilot.pause(0.2)
        assert not isinstance(page(chat), FirstRun)


async def test_what_fits_follows_the_context_and_one_is_suggested(run_chat):
    async with run_chat(model=None) as chat:
        screen = await greeted(chat)
        choices = screen.query_one(Choosing)

        def offered():
            return [option.id for option in choices.options if option.id]

        first = offered()
        assert first[:3] == ["try", "use", "quantise"]
        assert choices.highlighted_option.id in first[3:]
        assert "suggested" in str(choices.highlighted_option.prompt)
        for _ in range(4):
            await chat.pilot.press("left")
        await chat.until(lambda: screen._facts.context == 4096)
        await chat.pilot.pause()
        assert set(first) < set(offered())
        for _ in range(6):
            await chat.pilot.press("right")
        await chat.until(lambda: screen._facts.context == 262_144)
        await chat.until(lambda: offered() == ["try", "use", "quantise"])
        assert choices.highlighted_option.id == "try"


async def test_a_download_is_asked_about_then_watched(run_chat, hub_double):
    hub_double.publish_checkpoint(NAME)
    async with run_chat(model=None) as chat:
        screen = await greeted(chat)
        choices = screen.query_one(Choosing)
        choices.highlighted = choices.get_option_index("qwen3-0.6b")
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        assert hub_double.asked == []
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), ModelsScreen))
        (job,) = chat.app._chat.jobs.listed
        assert job.task.network
        await chat.until(lambda: job.state == "done", 30)
        assert saved(chat)


async def test_a_folder_that_is_none_is_refused_with_the_reason(run_chat, home):
    async with run_chat(model=None) as chat:
        screen = await greeted(chat)
        choices = screen.query_one(Choosing)
        choices.highlighted = choices.get_option_index("use")
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), Ask))
        await chat.type("/nowhere/at/all")
        await chat.pilot.press("enter")
        await chat.until(lambda: "no folder" in str(page(chat).query_one("#wrong", Static).content))
        page(chat).query_one(Input).value = str(home / "models" / "tiny")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.model == str(home / "models" / "tiny"))
        assert saved(chat)


async def test_a_checkpoint_can_be_quantised_first(run_chat, home, tmp_path):
    async with run_chat(model=None) as chat:
        screen = await greeted(chat)
        choices = screen.query_one(Choosing)
        choices.highlighted = choices.get_option_index("quantise")
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), QuantiseDialog))
        await chat.type(str(home / "models" / "tiny"))
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), ModelsScreen))
        (job,) = chat.app._chat.jobs.listed
        await chat.until(lambda: job.state == "done", 60)
        assert (tmp_path / "own" / "models" / "tiny-4bit" / "config.json").is_file()


@pytest.fixture
def orphan(tmp_path):
    """A stored chat with a model that is not here."""
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: 1.0)
    chat = store.create(title="Old", model=NAME)
    user = store.add_user(chat.id, None, "Still there?")
    reply = store.start_answer(chat.id, user.id, model=NAME)
    store.finish(reply.id, "done", "Yes.", "")
    store.close()
    return chat.id


async def missing(chat, number):
    chat.app._chat.spawn(chat.app._chat.open(number))
    await chat.until(lambda: isinstance(page(chat), MissingModel))
    await chat.pilot.pause()
    return page(chat)


async def test_a_chat_without_its_model_is_readable(run_chat, orphan):
    async with run_chat(model="guide") as chat:
        screen = await missing(chat, orphan)
        assert NAME in str(screen.query_one("#missing-about", Static).content)
        await chat.pilot.press("escape")
        await chat.until(lambda: not isinstance(page(chat), MissingModel))
        assert [text for _, text, _ in chat.shown] == ["Still there?", "Yes."]


async def test_another_model_is_picked_for_it(run_chat, orphan):
    async with run_chat(model="guide") as chat:
        await missing(chat, orphan)
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), ModelsScreen))
        await chat.until(lambda: page(chat)._facts is not None)
        await chat.pilot.pause()
        page(chat)._list.go_to("here:guide")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.model == "guide")


async def test_its_download_is_asked_about(run_chat, orphan, hub_double):
    async with run_chat(model="guide") as chat:
        await missing(chat, orphan)
        await chat.pilot.press("down", "enter")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        assert "Qwen3-0.6B-4bit" in page(chat)._text.plain
        assert hub_double.asked == []


async def test_its_folder_is_located(run_chat, orphan, home):
    folder = str(home / "models" / "tiny")
    async with run_chat(model="guide") as chat:
        await missing(chat, orphan)
        await chat.pilot.press("down", "down", "enter")
        await chat.until(lambda: isinstance(page(chat), Ask))
        await chat.type(folder)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.model == folder)
        # A folder is in no list, and yet it is here: nothing is asked again.
        await chat.until(lambda: chat.session.loaded_name == folder)
        await chat.app._chat.open(orphan)
        assert not isinstance(page(chat), MissingModel)


def test_those_who_were_greeted_do_not_pay_for_it(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, tui.app\n"
        "slow = {'tui.screens.first_run', 'tui.screens.models', 'mlxqwen.engine.memory', 'typer'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
