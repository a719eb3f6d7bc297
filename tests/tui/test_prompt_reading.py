"""Reading with the keys: message by message, its code, its versions, and back to writing."""

from __future__ import annotations

import asyncio
import stat
from contextlib import contextmanager

import pytest
from textual import events

from tui.screens import chat as chat_screen
from tui.screens.chat import ChatScreen
from tui.widgets.bars import StatusBar, TitleBar
from tui.widgets.hints import Hints
from tui.widgets.sidebar import Sidebar

CODE = "Code:\n\n```python\nprint('one')\n```\n\ntext\n\n```\ntwo\n```\n\nEnd."


@pytest.fixture
def clipboard(monkeypatch):
    copied = []
    monkeypatch.setattr("tui.app.MlxqwenApp.copy_to_clipboard", lambda _, text: copied.append(text))
    return copied


def told(chat):
    return [note.message for note in chat.app._notifications]


def composer(chat):
    return chat.app._chat.composer


def marked(chat):
    return chat.transcript.marked


async def test_tab_marks_the_last_message_and_keys_move(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("tab")
        assert composer(chat).prompt.has_focus  # there is nothing to read
        await chat.ask("one")
        await chat.ask("two")
        hint = chat.app._chat.query_one(Hints)
        assert not hint.display
        await chat.pilot.press("tab")
        assert (chat.transcript.has_focus, marked(chat), hint.display) == (True, 3, True)
        await chat.pilot.press("k", "up")
        assert marked(chat) == 1
        await chat.pilot.press("j", "down", "j", "j")
        assert marked(chat) == 3
        await chat.pilot.press("home")
        assert marked(chat) == 0
        await chat.pilot.press("end")
        assert marked(chat) == 3
        for key in ("tab", "escape", "enter"):
            await chat.pilot.press(key)
            await chat.until(lambda: composer(chat).prompt.has_focus)
            assert marked(chat) is None
            assert not hint.display
            await chat.pilot.press("tab")
            await chat.until(lambda: chat.transcript.has_focus)


async def test_escape_leaves_reading_before_it_stops_the_answer(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        await chat.pilot.press("tab", "escape")
        await chat.until(lambda: composer(chat).prompt.has_focus)
        assert not chat.session.answer.stopping
        await chat.pilot.press("escape")
        await chat.ended(2)
        assert chat.shown[1][2] == "stopped"


async def test_copying_messages_and_code_by_key_and_command(run_chat, clipboard):
    async with run_chat() as chat:
        await chat.type("/copy")
        await chat.pilot.press("escape", "enter")
        await chat.until(lambda: told(chat)[-1:] == ["There is no answer to copy yet."])
        await chat.ask(CODE)
        answer = chat.views[1].text
        await chat.pilot.press("tab", "y", "k", "y", "j", "2", "3")
        await chat.until(lambda: "no code block 3" in told(chat)[-1])
        assert clipboard == [answer, CODE, "two"]
        await chat.pilot.press("enter")
        for argument in ("", " 2", " two", " 9"):
            await chat.type(f"/copy{argument}")
            await chat.pilot.press("escape", "enter")
        await chat.until(lambda: "no code block 9" in told(chat)[-1])
        assert "takes the number of a code block, not two" in told(chat)[-2]
        assert clipboard[3:] == [answer, "two"]


async def test_versions_by_arrows_and_again_by_r(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        await chat.pilot.press("tab", "r")
        await chat.until(lambda: chat.views[1].sibling == (2, 2))
        await chat.until(lambda: chat.session.answer is None and marked(chat) == 1)
        await chat.pilot.press("left")
        await chat.until(lambda: chat.views[1].sibling == (1, 2))
        await chat.until(lambda: marked(chat) == 1)
        await chat.pilot.press("right")
        await chat.until(lambda: chat.views[1].sibling == (2, 2))


async def test_folding_the_thoughts_of_one_message(run_chat):
    async with run_chat() as chat:
        await chat.ask("think one")
        await chat.ask("think two")
        await chat.pilot.press("tab", "k", "k", "o")
        await chat.until(lambda: chat.screen_text.count("Let me see.") == 1)
        await chat.pilot.press("o")
        await chat.until(lambda: "Let me see." not in chat.screen_text)


async def test_forking_at_a_message(run_chat):
    async with run_chat() as chat:
        await chat.ask("one")
        await chat.ask("two")
        first = chat.session.conversation.id
        await chat.pilot.press("tab", "k", "k", "f")
        await chat.until(lambda: chat.session.conversation.id != first)
        await chat.until(lambda: len(chat.views) == 2)


async def test_editing_an_answer_edits_its_question(run_chat):
    async with run_chat() as chat:
        await chat.ask("one")
        await chat.ask("two")
        await chat.pilot.press("tab", "k", "k", "e")
        await chat.until(lambda: composer(chat).prompt.text == "one")
        assert composer(chat).prompt.has_focus
        assert composer(chat).editing == chat.session.branch[0].id


async def test_a_click_leaves_the_keys_with_the_prompt(run_chat):
    async with run_chat() as chat:
        await chat.ask("one")
        await chat.pilot.click("#transcript", offset=(5, 2))
        assert composer(chat).prompt.has_focus


async def test_shift_tab_goes_to_the_list_and_back(run_chat):
    async with run_chat() as chat:
        await chat.ask("one")
        await chat.pilot.press("shift+tab")
        assert chat.app._chat.query_one(Sidebar).has_focus
        await chat.pilot.press("tab")
        await chat.until(lambda: composer(chat).prompt.has_focus)
    async with run_chat(size=(80, 24)) as chat:
        await chat.pilot.press("shift+tab")
        assert composer(chat).prompt.has_focus


# Windows of every size


@pytest.mark.parametrize(
    ("size", "sidebar", "bars", "covered"),
    [
        ((120, 40), True, True, False),
        ((90, 16), True, True, False),
        ((89, 24), False, True, False),
        ((60, 16), False, True, False),
        ((59, 24), False, False, False),
        ((80, 15), False, False, False),
        ((40, 10), False, False, False),
        ((39, 24), False, False, True),
        ((80, 9), False, False, True),
    ],
)
async def test_what_there_is_room_for(run_chat, size, sidebar, bars, covered):
    async with run_chat(size=size) as chat:
        screen = chat.app._chat
        assert screen.query_one(Sidebar).display is sidebar
        assert screen.query_one(TitleBar).display is bars
        assert screen.query_one(StatusBar).display is bars
        assert screen.query_one("#too_small").display is covered


async def test_an_answer_goes_on_through_every_size(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        for size in ((30, 8), (60, 16), (200, 60), (45, 12), (200, 60), (6, 3), (100, 30)):
            before = chat.session.answer.pieces
            await chat.pilot.resize_terminal(*size)
            await chat.until(lambda before=before: chat.session.answer.pieces > before)
        await chat.pilot.press("n", "e", "x", "t", "escape")
        await chat.ended(2)
        assert composer(chat).prompt.text == "next"
        text = chat.shown[1][1].split()
        assert text == [f"word{number}" for number in range(len(text))]


async def test_the_prompt_grows_to_a_third(run_chat):
    async with run_chat(size=(100, 30)) as chat:
        await chat.type("\n".join("line" for _ in range(50)))
        await chat.pilot.pause(0.1)
        assert composer(chat).prompt.outer_size.height in (9, 10)


# Editor and notification


@pytest.fixture
def editor(tmp_path, monkeypatch):
    def make(body):
        script = tmp_path / "my editor"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("VISUAL", f"'{script}' --wait")

    @contextmanager
    def suspend(_):
        yield

    monkeypatch.setattr("tui.app.MlxqwenApp.suspend", suspend)
    return make


async def test_the_draft_goes_to_the_editor_and_back(run_chat, editor):
    editor('test "$1" = --wait && printf " and more\\r\\n\\033[31mred\\n" >> "$2"')
    async with run_chat() as chat:
        await chat.type("draft")
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: composer(chat).prompt.text != "draft")
        assert composer(chat).prompt.text == "draft and more\n[31mred"
        assert composer(chat).prompt.has_focus


async def test_an_answer_goes_on_while_the_editor_is_open(run_chat, editor, tmp_path):
    editor(f"while [ ! -e '{tmp_path}/go' ]; do sleep 0.05; done")
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        await chat.pilot.press("ctrl+g")
        before = chat.session.answer.pieces
        while chat.session.answer.pieces < before + 20:
            await asyncio.sleep(0.02)
        (tmp_path / "go").touch()
        await chat.until(lambda: not chat.app._batch_count)
        await chat.pilot.press("escape")
        await chat.ended(2)


async def test_an_editor_that_fails_or_is_not_there(run_chat, editor, monkeypatch):
    editor("exit 3")
    async with run_chat() as chat:
        await chat.type("draft")
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: told(chat))
        assert "status 3" in told(chat)[-1]
        monkeypatch.setenv("VISUAL", "/no/such/editor")
        monkeypatch.setenv("EDITOR", "'broken")
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: "EDITOR" in told(chat)[-1])
        assert composer(chat).prompt.text == "draft"
        editor("exit 0")
        monkeypatch.setattr("tempfile.tempdir", "/no/room/here")
        await chat.pilot.press("ctrl+g")
        await chat.until(lambda: "No such file or directory" in told(chat)[-1])
        assert composer(chat).prompt.text == "draft"


@pytest.mark.parametrize(
    ("away", "long", "wanted", "said"),
    [(True, True, True, 1), (False, True, True, 0), (True, False, True, 0), (True, True, False, 0)],
)
async def test_a_long_answer_that_nobody_sees_is_told(
    run_chat, monkeypatch, away, long, wanted, said
):
    heard = []
    monkeypatch.setattr(
        "tui.app.MlxqwenApp.on_chat_screen_answered", lambda _, event: heard.append(event.text)
    )
    monkeypatch.setattr(chat_screen, "LONG_SECONDS", 0.0 if long else 60.0)
    async with run_chat() as chat:
        chat.app.change(notify=wanted)
        if away:
            chat.app.post_message(events.AppBlur())
            await chat.app._chat.session.send("a\x1b]0;evil\x07 title " + "x" * 200)
        else:
            await chat.ask("hello")
        await chat.ended(2)
        await chat.pilot.pause(0.1)
        assert len(heard) == said
        for text in heard:
            assert text.startswith("mlxqwen has answered: a␛]0;evil")
            assert text.isprintable()
            assert len(text) < 100


async def test_what_the_terminal_gets_to_hear(run_chat, monkeypatch):
    written = []
    async with run_chat() as chat:
        monkeypatch.setattr(type(chat.app), "is_headless", False)
        monkeypatch.setattr(chat.app._driver, "write", written.append)
        chat.app.on_chat_screen_answered(ChatScreen.Answered("done"))
        monkeypatch.undo()
    assert written == ["\x1b]9;done\x07", "\07"]
