"""Settings, help and doctor under a person's hands: what is set takes effect, and stays."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from textual.command import CommandPalette
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from tui import checkup
from tui.screens.ask import Ask
from tui.screens.ask_key import AskKey
from tui.screens.doctor import DoctorScreen
from tui.screens.help import HelpScreen
from tui.screens.settings import SettingsScreen
from tui.screens.theme_picker import ThemePicker
from tui.settings import Settings, read_settings
from tui.widgets.bars import StatusBar
from tui.widgets.prompt import Prompt
from tui.widgets.sidebar import Sidebar
from tui.widgets.welcome import Welcome


def text_of(widget):
    return widget.visual.plain if isinstance(widget.visual, Content) else str(widget.visual)


def notices(chat):
    return [notice.message for notice in chat.app._notifications]


async def do(chat, name, argument=""):
    chat.app._chat.action_do(name, argument)
    await chat.pilot.pause(0.05)


async def opened(chat):
    """The settings page, as soon as it is there."""
    await do(chat, "settings")
    await chat.until(lambda: isinstance(chat.app.screen, SettingsScreen))
    await chat.pilot.pause()
    return chat.app.screen


async def go_to(chat, row):
    """Move the cursor to a line of the settings."""
    form = chat.app.screen.query_one(OptionList)
    form.highlighted = form.get_option_index(row)
    await chat.pilot.pause()


def line(chat, row):
    prompt = chat.app.screen.query_one(OptionList).get_option(row).prompt
    return " ".join(str(prompt).split())


def saved(chat):
    return read_settings(chat.app.settings_path).settings


async def test_arrows_change_what_is_marked_and_it_is_saved(run_chat):
    async with run_chat() as chat:
        await opened(chat)
        await go_to(chat, "Choices.think")
        assert line(chat, "Choices.think") == "Thinking ◂ up to the model ▸"
        await chat.pilot.press("right")
        assert line(chat, "Choices.think") == "Thinking ◂ on ▸"
        await chat.pilot.press("left", "left")
        assert chat.session.settings.think == "off"
        assert saved(chat) == Settings(think="off")
        await chat.pilot.press("delete")
        assert saved(chat) == Settings()
        await go_to(chat, "Choices.notify")
        await chat.pilot.press("enter", "escape")
        assert not chat.app._chat.settings.notify
        assert not isinstance(chat.app.screen, SettingsScreen)


async def test_a_theme_is_worn_at_once_and_at_the_next_start(run_chat):
    async with run_chat() as chat:
        assert chat.app.theme == "mlxqwen-night"
        await opened(chat)
        await go_to(chat, "Choices.theme")
        await chat.pilot.press("right")
        assert chat.app.theme == "mlxqwen-day"
        await chat.pilot.press("right")
        assert chat.app.theme == "mlxqwen-plain"
        assert chat.app.native_ansi_color
    async with run_chat() as chat:
        assert chat.app.theme == "mlxqwen-plain"
        await do(chat, "theme", "night")
        assert chat.app.theme == "mlxqwen-night"
        await do(chat, "theme", "no such theme")
        assert "There is no theme “no such theme”; mlxqwen-night is used." in notices(chat)


async def test_themes_are_tried_on_in_their_picker(run_chat):
    async with run_chat() as chat:
        await do(chat, "theme")
        await chat.until(lambda: isinstance(chat.app.screen, ThemePicker))
        await chat.pilot.press("down")
        await chat.until(lambda: chat.app.theme == "mlxqwen-day")
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.app.theme == "mlxqwen-night")
        assert saved(chat) == Settings()
        await do(chat, "theme")
        await chat.until(lambda: isinstance(chat.app.screen, ThemePicker))
        await chat.type("plain")
        await chat.pilot.press("enter")
        await chat.until(lambda: not isinstance(chat.app.screen, ThemePicker))
        await chat.until(lambda: chat.app.theme == "mlxqwen-plain")
        assert saved(chat).theme == "mlxqwen-plain"


async def test_another_language_is_spoken_everywhere_at_once(run_chat):
    async with run_chat() as chat:
        await chat.ask("think now")
        chat_screen = chat.app._chat
        await opened(chat)
        await go_to(chat, "Choices.language")
        await chat.pilot.press("left")
        assert saved(chat).language == "it"
        assert chat.app.screen.query_one("#settings").border_title == "Impostazioni"
        assert line(chat, "Choices.theme").startswith("Tema")
        await chat.pilot.press("escape")
        await chat.until(lambda: [view.header for view in chat.views][:1] == ["Tu"])
        assert chat.views[1].header == "guide · 3 tok/s · 1,2 s"
        await chat.until(lambda: "▸ ragionato 3,1 s" in chat.screen_text)
        assert chat_screen.query_one(Prompt).placeholder == "Chiedi qualunque cosa"
        assert chat_screen.query_one(Sidebar).border_title == "Chat"
        assert chat_screen.query_one(StatusBar).left.plain == "pronto"
        assert "F1 aiuto" in chat_screen.query_one(StatusBar).right.plain
        await do(chat, "new")
        await chat.until(
            lambda: "Nulla di ciò che scrivi" in text_of(chat_screen.query_one(Welcome))
        )
    async with run_chat() as chat:
        assert chat.app._chat.query_one(Prompt).placeholder == "Chiedi qualunque cosa"
        await do(chat, "language", "en")
        assert chat.app._chat.query_one(Prompt).placeholder == "Ask anything"
        await do(chat, "language", "klingon")
        assert "“klingon” is not spoken here: en or it." in notices(chat)
        await do(chat, "language", "Italiano")
        assert saved(chat).language == "it"


async def test_thoughts_are_hidden_and_come_back(run_chat):
    async with run_chat() as chat:
        await chat.ask("think now")
        await chat.until(lambda: "thought 3.1 s" in chat.screen_text)
        chat.app.change(thoughts=False)
        await chat.until(lambda: "thought" not in chat.screen_text)
        assert chat.views[1].thinking == "Let me see."
        chat.app.change(thoughts=True)
        await chat.until(lambda: "thought 3.1 s" in chat.screen_text)


async def test_numbers_are_checked_with_one_sentence(run_chat):
    async with run_chat() as chat:
        await opened(chat)
        await go_to(chat, "Number.top_p")
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(chat.app.screen, Ask))
        ask = chat.app.screen
        for wrong, sentence in [
            ("2", "It must be between 0 and 1."),
            ("much", "“much” is not a number."),
            ("nan", "It must be between 0 and 1."),
        ]:
            ask.query_one(Input).value = wrong
            await chat.pilot.press("enter")
            assert text_of(ask.query_one("#wrong", Static)) == sentence
        ask.query_one(Input).value = "0,25"
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(chat.app.screen, SettingsScreen))
        assert saved(chat).sampling == {"top_p": 0.25}
        assert chat.session.settings.sampling == {"top_p": 0.25}
        assert line(chat, "Number.top_p") == "Top p 0.25"
        await chat.pilot.press("backspace")
        assert saved(chat).sampling == {}


async def test_model_and_context_at_the_start(run_chat):
    async with run_chat() as chat:
        chat.app.change(model="qwen/Qwen3-4B-4bit", context=2048)
    async with run_chat(None) as chat:
        assert chat.session.loaded.model == "qwen/Qwen3-4B-4bit"
        assert chat.session.loaded.context == 2048
    async with run_chat("guide") as chat:  # what the command line says goes first
        assert chat.session.loaded.model == "guide"


async def test_a_key_is_given_to_an_action(run_chat):
    async with run_chat() as chat:
        await opened(chat)
        await go_to(chat, "Key.settings")
        assert line(chat, "Key.settings") == "Settings none"
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(chat.app.screen, AskKey))
        wrong = chat.app.screen.query_one("#wrong", Static)
        for key, sentence in [
            ("ctrl+n", "Ctrl+N already means “New chat”."),
            ("ctrl+b", "tmux keeps Ctrl+B for itself."),
            ("g", "G will not do: take Ctrl and a letter, or a function key."),
        ]:
            await chat.pilot.press(key)
            assert text_of(wrong) == sentence
        await chat.pilot.press("f6")
        await chat.until(lambda: isinstance(chat.app.screen, SettingsScreen))
        assert line(chat, "Key.settings") == "Settings F6"
        await chat.pilot.press("escape", "f6")
        await chat.until(lambda: isinstance(chat.app.screen, SettingsScreen))
        assert saved(chat).keys == {"settings": "f6"}
    async with run_chat() as chat:
        await chat.pilot.press("f6")
        await chat.until(lambda: isinstance(chat.app.screen, SettingsScreen))
        await go_to(chat, "Key.settings")
        await chat.pilot.press("delete", "escape", "f6")
        await chat.pilot.pause(0.1)
        assert not isinstance(chat.app.screen, SettingsScreen)
        assert saved(chat).keys == {}


async def test_a_key_taken_away_does_nothing_and_its_new_one_is_named(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        chat.app.change(keys={"new": "f7", "help": "f2"})
        assert "F2 help" in chat.app._chat.query_one(StatusBar).right.plain
        await chat.pilot.press("ctrl+n")
        await chat.pilot.pause(0.1)
        assert len(chat.views) == 2
        await chat.pilot.press("f7")
        await chat.until(lambda: not chat.views)
        await chat.pilot.press("f2")
        await chat.until(lambda: isinstance(chat.app.screen, HelpScreen))
        await chat.pilot.pause(0.1)
        page = text_of(chat.app.screen.query_one("#help-page Static"))
        assert "F7" in page
        assert "Ctrl+N" not in page
        await chat.pilot.press("f2")
        await chat.until(lambda: not isinstance(chat.app.screen, HelpScreen))


async def test_a_damaged_file_is_told_and_the_chat_goes_on(run_chat, tmp_path):
    (tmp_path / "settings.toml").write_text("theme = [")
    async with run_chat() as chat:
        assert chat.app.theme == "mlxqwen-night"
        await chat.until(lambda: any("cannot be read" in notice for notice in notices(chat)))
        chat.app.change(theme="mlxqwen-day")
        assert chat.app.theme == "mlxqwen-day"  # for now, though it cannot be saved
        await chat.until(lambda: any("nothing was saved" in notice for notice in notices(chat)))
        assert (tmp_path / "settings.toml").read_text() == "theme = ["


async def test_what_the_file_asks_in_vain_is_told(run_chat, tmp_path):
    (tmp_path / "settings.toml").write_text(
        'theme = "plaid"\nthink = "no"\nfuture = 1\n[keys]\nfork = "ctrl+s"\npin = "f9"\n'
    )
    async with run_chat() as chat:
        told = " ".join(notices(chat))
        assert "There is no theme “plaid”; mlxqwen-night is used." in told
        assert "think = 'no' is not usable" in told
        assert "The key for “Fork” is left out: Ctrl+S halts the output" in told
        chat.app.change(notify=False)
        assert "future = 1" in (tmp_path / "settings.toml").read_text()
        assert saved(chat).keys == {"fork": "ctrl+s", "pin": "f9"}


async def test_help_is_searched(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("f1")
        await chat.until(lambda: isinstance(chat.app.screen, HelpScreen))
        await chat.pilot.pause(0.1)
        page = chat.app.screen.query_one("#help-page Static")
        assert "/regen" in text_of(page)
        await chat.pilot.press(*"undo")
        await chat.until(lambda: "/regen" not in text_of(page))
        assert "/undo" in text_of(page)
        await chat.pilot.press(*"zzz")
        await chat.until(lambda: "Nothing is called so." in text_of(page))
        await chat.pilot.press("escape")
        assert not isinstance(chat.app.screen, HelpScreen)


async def test_the_palette_speaks_the_language_and_names_keys(run_chat):
    async with run_chat() as chat:
        await do(chat, "language", "it")
        commands = {item.title: item.help for item in chat.app.get_system_commands(chat.app.screen)}
        assert commands["Nuova chat"] == "Comincia una conversazione vuota   Ctrl+N  /new"
        await chat.pilot.press("ctrl+p")
        await chat.until(lambda: isinstance(chat.app.screen, CommandPalette))
        assert chat.app.screen.query_one(Input).placeholder == "Che cosa fare…"
        await chat.pilot.press("escape")


@pytest.fixture
def examined(monkeypatch):
    """A machine with one problem, looked at without loading anything."""
    findings = [
        {"name": "memory", "value": "16 GB", "state": "ok", "remedy": ""},
        {"name": "device", "value": "no [GPU]", "state": "problem", "remedy": "Buy one."},
        {"name": "terminal", "value": "no terminal", "state": "note", "remedy": ""},
    ]
    report = json.dumps({"healthy": False, "findings": findings})
    command = (sys.executable, "-c", f"import sys; print({report!r}); sys.exit(1)")
    monkeypatch.setattr(checkup, "DOCTOR", command)


async def test_the_doctor_looks_at_files_and_machine(run_chat, examined):
    async with run_chat() as chat:
        await chat.ask("hello")
        await do(chat, "doctor")
        await chat.until(lambda: isinstance(chat.app.screen, DoctorScreen))
        page = chat.app.screen.query_one(Static)
        await chat.until(lambda: "Looking…" not in text_of(page))
        text = " ".join(text_of(page).split())  # however long the paths of this machine are
        assert "One problem." in text
        assert "conversations.sqlite3: " in text
        assert ", sound" in text
        assert "this mlxqwen writes" in text
        assert "1 model, 2.3 GB" in text
        assert "no [GPU]" in text
        assert "→ Buy one." in text
        assert "no terminal" not in text
        chat.app.settings_path.write_text("theme = 1\n")
        await chat.pilot.press("r")
        await chat.until(lambda: "theme = 1 is not usable" in text_of(page))


async def test_leaving_the_doctor_ends_its_process(run_chat, monkeypatch):
    started = []
    spawn = asyncio.create_subprocess_exec

    async def noted(*command, **options):
        started.append(await spawn(*command, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    sleeping = (sys.executable, "-c", "import time; time.sleep(60)")
    monkeypatch.setattr(checkup, "DOCTOR", sleeping)
    async with run_chat() as chat:
        await do(chat, "doctor")
        await chat.until(lambda: started)
        await chat.pilot.press("escape")
        await chat.until(lambda: started[0].returncode is not None)
