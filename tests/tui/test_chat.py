"""The chat under a person's hands: what is typed, pressed and clicked, and what then is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from textual import events

from mlxqwen.errors import OutputError
from tui.screens.help import HelpScreen
from tui.screens.picker import Picker
from tui.store import Store
from tui.widgets.bars import StatusBar, TitleBar
from tui.widgets.prompt import Prompt
from tui.widgets.sidebar import Sidebar
from tui.widgets.welcome import Welcome


def prompt(chat):
    return chat.app._chat.query_one(Prompt)


async def test_a_question_and_its_answer(run_chat):
    async with run_chat() as chat:
        await chat.ask("Hello there")
        assert chat.shown == [
            ("user", "Hello there", "done"),
            ("assistant", "You said: **Hello there** ", "done"),
        ]
        assert chat.stored() == chat.shown
        assert prompt(chat).text == ""
        assert "Hello there" in chat.app._chat.query_one(TitleBar).left.plain
        assert "ctx 16/4k" in chat.app._chat.query_one(StatusBar).right.plain
        assert chat.views[1].header == "guide · 3 tok/s · 1.2 s"


async def test_several_lines_key_by_key(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press(*"one", "ctrl+j", *"two", "enter")
        await chat.ended(2)
        assert chat.shown[0] == ("user", "one\ntwo", "done")


async def test_nothing_is_sent_for_nothing(run_chat):
    async with run_chat() as chat:
        await chat.type("  \n ")
        await chat.pilot.press("enter")
        await chat.pilot.pause(0.1)
        assert chat.shown == []
        assert chat.session.conversation is None


async def test_the_engine_hears_the_whole_branch(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        await chat.ask("history")
        assert chat.shown[3][1].strip() == "first/You said: **first** /history"


async def test_thoughts_fold_with_their_duration(run_chat):
    async with run_chat() as chat:
        await chat.ask("think hard")
        view = chat.views[1]
        assert (view.thinking, view.thinking_seconds) == ("Let me see.", 3.1)
        await chat.until(lambda: "▸ thought 3.1 s" in chat.screen_text)
        assert "Let me see." not in chat.screen_text
        await chat.pilot.press("ctrl+t")
        await chat.until(lambda: "Let me see." in chat.screen_text)


async def test_esc_stops_and_keeps_what_came(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 10)
        await chat.pilot.press("escape")
        await chat.ended(2)
        role, text, state = chat.shown[1]
        assert (role, state) == ("assistant", "stopped")
        assert text.startswith("word0 word1 word2 ")
        assert chat.stored()[1] == ("assistant", text, "stopped")
        await chat.ask("again")
        assert chat.shown[3][2] == "done"


async def test_an_answer_is_saved_while_it_comes(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer is not None)
        await chat.until(lambda: chat.stored()[-1][1].startswith("word0"), 3)
        assert chat.stored()[-1][2] == "streaming"
        assert chat.session.answer is not None


async def test_typing_goes_on_while_an_answer_comes(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        await chat.type("next")
        assert prompt(chat).text == "next"
        await chat.pilot.press("enter")
        await chat.until(lambda: prompt(chat).text == "next")  # one at a time: given back
        assert len(chat.session._branch) == 2


async def test_ctrl_c_stops_then_quits(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        await chat.pilot.press("ctrl+c")
        await chat.ended(2)
        assert chat.shown[1][2] == "stopped"
        await chat.pilot.press("ctrl+c")
        assert chat.app._exit is False
        await chat.pilot.press("ctrl+c")
        assert chat.app._exit is True


async def test_the_engine_is_let_go_however_the_interface_ends(make_app):
    app = make_app()
    async with app.run_test() as pilot:
        while app._chat.session.loaded is None:
            await pilot.pause(0.01)
        process = app._chat._bridge._child.process
        app.exit()
    assert process.poll() is not None


async def test_letters_before_enter_are_never_left_behind(run_chat):
    async with run_chat() as chat:
        for key in (*"fast", "enter", *"next"):  # all queued before any is looked at
            chat.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await chat.ended(2)
        assert chat.shown[0] == ("user", "fast", "done")
        assert prompt(chat).text == "next"


async def test_ctrl_q_does_nothing(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("ctrl+q")
        assert chat.app._exit is False


async def test_death_of_the_engine_keeps_the_half_and_the_interface(run_chat):
    async with run_chat() as chat:
        await chat.ask("die now")
        view = chat.views[1]
        assert (view.text, view.state) == ("Half an answer, ", "error")
        assert "killed" in view.detail
        assert "What came is kept" in view.detail
        assert chat.stored()[1] == ("assistant", "Half an answer, ", "error")
        await chat.ask("hello again")
        assert chat.shown[3] == ("assistant", "You said: **hello again** ", "done")


async def test_the_last_words_of_the_engine_are_shown(run_chat):
    async with run_chat() as chat:
        await chat.ask("exit")
        assert "libmetal: assertion failed" in chat.views[1].detail


async def test_death_while_idle_is_said_and_healed(run_chat):
    async with run_chat() as chat:
        os.kill(chat.app._chat._bridge.pid, signal.SIGKILL)
        await chat.until(lambda: chat.session.trouble)
        assert "killed" in chat.app._chat.query_one(StatusBar).left.plain
        await chat.ask("hello")
        assert chat.shown[1][2] == "done"
        assert chat.session.trouble == ""


async def test_an_error_of_the_engine_is_shown_with_its_remedy(run_chat):
    async with run_chat() as chat:
        await chat.ask("fail")
        assert chat.views[1].detail == "Too long. Start a new chat."


async def test_a_deaf_engine_is_ended_by_a_second_esc_but_no_double_tap(run_chat, monkeypatch):
    now = 100.0
    monkeypatch.setattr("tui.answer.monotonic", lambda: now)
    async with run_chat() as chat:
        await chat.type("deaf")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.prefill)
        child = chat.app._chat._bridge._child
        await chat.pilot.press("escape", "escape", "escape")
        bar = chat.app._chat.query_one(StatusBar)
        await chat.until(lambda: bar.left.plain == "stopping…")  # once more would do nothing yet
        now += 0.99
        await chat.pilot.press("escape")
        await chat.pilot.pause(0.2)
        assert child.process.poll() is None
        assert chat.session.answer is not None
        now += 0.01
        await chat.until(lambda: "again ends the engine" in bar.left.plain)
        await chat.pilot.press("escape")
        await chat.ended(2)
        assert child.process.poll() is not None
        assert chat.shown[1][2] == "stopped"


async def test_a_model_that_is_missing_leaves_the_chat_alive(run_chat):
    async with run_chat("missing", loaded=False) as chat:
        await chat.until(lambda: chat.session.trouble)
        assert "missing" in chat.session.trouble
        await chat.ask("hello")
        assert chat.shown[1][2] == "error"
        assert "mlxqwen models" in chat.views[1].detail


async def test_what_was_switched_on_for_a_model_is_told(run_chat):
    async with run_chat("stretched") as chat:
        assert chat.session.loaded.notices == ("YaRN is on with factor 2.",)
        await chat.until(
            lambda: "YaRN is on with factor 2." in [n.message for n in chat.app._notifications]
        )


async def test_regenerating_keeps_both_answers(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        first = chat.session._branch[1].id
        await chat.pilot.press("ctrl+r")
        await chat.until(lambda: chat.session._branch[-1].id != first)
        await chat.ended(2)
        assert chat.views[1].sibling == (2, 2)
        assert await chat.app._archive.call(Store.siblings, first) == [
            first,
            chat.session._branch[1].id,
        ]


async def test_conversations_are_listed_and_opened_again(run_chat):
    async with run_chat(size=(120, 30)) as chat:
        await chat.ask("think first")
        await chat.pilot.press("ctrl+n")
        assert chat.shown == []
        await chat.ask("second")
        sidebar = chat.app._chat.query_one(Sidebar)
        await chat.until(lambda: sidebar.option_count == 2)
        titles = [sidebar.get_option_at_index(index).prompt.plain for index in range(2)]
        index = next(i for i, title in enumerate(titles) if title.startswith("think first"))
        sidebar.focus()
        sidebar.highlighted = index
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.shown and chat.shown[0][1] == "think first")
        assert chat.views[1].thinking_seconds == 3.1
        assert chat.app.focused is prompt(chat)


async def test_an_answer_goes_on_in_the_background(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 5)
        running = chat.session.answer
        await chat.pilot.press("ctrl+n")
        seen = running.pieces
        await chat.until(lambda: running.pieces > seen + 5)
        assert chat.shown == []
        await chat.session.open(running.conversation_id)
        assert chat.views[1].state == "streaming"
        assert chat.views[1].text.startswith("word0 word1 ")
        so_far = len(chat.views[1].text)
        await chat.until(lambda: len(chat.views[1].text) > so_far)
        await chat.pilot.press("escape")
        await chat.ended(2)
        words = chat.shown[1][1].split()
        assert words == [f"word{number}" for number in range(len(words))]


async def test_everything_is_there_after_a_restart(run_chat):
    async with run_chat() as chat:
        await chat.ask("remember me")
        number = chat.session.conversation.id
        before = chat.shown
    async with run_chat() as chat:
        await chat.session.open(number)
        assert chat.shown == before


async def test_quitting_in_mid_answer_keeps_it(run_chat):
    async with run_chat() as chat:
        await chat.type("slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 5)
        number = chat.session.conversation.id
    async with run_chat() as chat:
        await chat.session.open(number)
        assert chat.shown[1][2] == "stopped"
        assert chat.shown[1][1].startswith("word0 word1 ")


async def test_choosing_another_model(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        chat.session.choose_model("qwen/Qwen3-4B-4bit")
        await chat.until(lambda: chat.session.loaded_name == "qwen/Qwen3-4B-4bit")
        await chat.ask("and you?")
        assert chat.views[3].header.startswith("Qwen3-4B-4bit · ")
        assert chat.session._branch[3].model_id == "qwen/Qwen3-4B-4bit"
        number = chat.session.conversation.id
    async with run_chat(None) as chat:  # the model used last is loaded again
        assert chat.session.loaded_name == "qwen/Qwen3-4B-4bit"
        stored = await chat.app._archive.call(Store.conversation, number)
        assert stored.model_id == "qwen/Qwen3-4B-4bit"


async def test_deleting_and_undoing(run_chat):
    async with run_chat() as chat:
        await chat.ask("precious")
        number = chat.session.conversation.id
        chat.app._chat.action_do("delete")
        await chat.until(lambda: chat.session.conversation is None)
        assert await chat.app._archive.call(Store.conversations) == []
        chat.app._chat.action_do("undo")
        await chat.until(lambda: chat.session.conversation is not None)
        assert chat.session.conversation.id == number


async def test_a_second_window_reads_but_does_not_write(run_chat, make_app):
    async with run_chat() as first:
        await first.ask("mine")
        async with run_chat() as second:
            await second.session.open(first.session.conversation.id)
            assert second.shown == first.shown
            await second.type("yours")
            await second.pilot.press("enter")
            await second.until(lambda: prompt(second).text == "yours")
            assert second.shown == first.shown


async def test_a_full_disk_is_said_and_the_answer_saved_later(run_chat, monkeypatch):
    monkeypatch.setattr("tui.saving.SAVE_AGAIN_SECONDS", 0.05)
    finish, refusals = Store.finish, []

    def refuse_twice(self, *args, **kwargs):
        if len(refusals) < 2:
            refusals.append(1)
            raise OutputError("The disk is full.", "Free some space.")
        return finish(self, *args, **kwargs)

    monkeypatch.setattr(Store, "finish", refuse_twice)
    async with run_chat() as chat:
        await chat.ask("hello")
        assert len(refusals) == 2
        assert chat.stored()[1][2] == "done"


async def test_untrusted_text_stays_text(run_chat):
    async with run_chat() as chat:
        await chat.ask("[bold]x[/bold] [@click=app.quit]y[/]")
        assert chat.app._exit is False
        assert "[bold]x[/bold]" in chat.app._chat.query_one(TitleBar).left.plain
        await chat.app._archive.call(Store.rename, chat.session.conversation.id, "a\x1b[31mb\nc")
        await chat.session.open(chat.session.conversation.id)
        left = chat.app._chat.query_one(TitleBar).left.plain
        assert "\x1b" not in left
        assert "\n" not in left


async def test_the_built_in_model_is_called_what_it_is(run_chat):
    async with run_chat() as chat:
        welcome = chat.app._chat.query_one(Welcome)
        assert "tiny demonstration model" in welcome.content.plain
    async with run_chat("qwen/Qwen3-4B-4bit") as chat:
        welcome = chat.app._chat.query_one(Welcome)
        assert "demonstration" not in welcome.content.plain


async def test_copying_reaches_the_clipboard_of_a_mac(run_chat, tmp_path, monkeypatch):
    tool, copied = tmp_path / "pbcopy", tmp_path / "copied"
    tool.write_text(f"#!/bin/sh\nexec cat > {copied}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    async with run_chat() as chat:
        await chat.type("perché no")
        prompt(chat).select_all()
        await chat.pilot.press("ctrl+c")
        await chat.until(copied.exists)
        assert copied.read_text() == "perché no"
        assert prompt(chat).text == "perché no"


@pytest.mark.parametrize("width", [100, 200])
async def test_a_click_acts_on_the_line_under_the_pointer(run_chat, width):
    async with run_chat(size=(width, 30)) as chat:
        await chat.ask("think now")
        await chat.until(lambda: "▸ thought" in chat.screen_text)
        row = chat.screen_text.partition("▸ thought")[0].count("\n")
        corner = chat.transcript.content_region.offset
        await chat.pilot.click(offset=(corner.x + 3, corner.y + row + 1))
        await chat.pilot.pause()
        assert "▾" not in chat.screen_text
        await chat.pilot.click(offset=(corner.x + 3, corner.y + row))
        await chat.until(lambda: "▾ thought" in chat.screen_text)


async def test_the_wheel_moves_the_conversation_beside_the_text_too(run_chat):
    async with run_chat(size=(200, 14)) as chat:
        for text in ("one", "two", "three"):
            await chat.ask(text)
        transcript = chat.transcript
        assert transcript.following
        beside = (transcript.region.right + 4, transcript.region.y + 2)
        for turn, following in ((events.MouseScrollUp, False), (events.MouseScrollDown, True)):
            at = {"x": beside[0], "y": beside[1], "screen_x": beside[0], "screen_y": beside[1]}
            none = {"delta_x": 0, "delta_y": 0, "button": 0}
            flags = {"shift": False, "meta": False, "ctrl": False}
            chat.app.screen._forward_event(turn(None, **at, **none, **flags))
            await chat.until(lambda following=following: transcript.following is following)


async def test_help(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("f1")
        assert isinstance(chat.app.screen, HelpScreen)
        await chat.pilot.press("escape")
        assert not isinstance(chat.app.screen, HelpScreen)


@pytest.mark.parametrize(("width", "there"), [(89, False), (90, True)])
async def test_the_list_hides_where_there_is_no_room(run_chat, width, there):
    async with run_chat(size=(width, 24)) as chat:
        assert bool(chat.app._chat.query_one(Sidebar).display) is there


async def test_no_key_that_terminals_swallow_is_bound(run_chat):
    forbidden = {
        *(f"ctrl+{letter}" for letter in "ibahmzsqyo"),
        *(f"ctrl+{key}" for key in ("space", "tab", "left", "right", "up", "down")),
        "f11",
    }
    async with run_chat() as chat:
        ours = [chat.app, chat.app._chat, HelpScreen(), Picker("", "", lambda _: None)]
        bound = {key for one in ours for key in one._bindings.key_to_bindings}
        assert not bound & forbidden
        assert not {key for key in bound if "alt+" in key}


def test_shift_enter_of_terminal_app_is_a_new_line():
    from textual._xterm_parser import XTermParser

    import tui.widgets.prompt  # noqa: F401  puts the sequence into the table

    keys = [event.key for event in XTermParser(False).feed("\x1b\r")]
    assert keys == ["ctrl+j"]


def test_the_interface_needs_no_mlx():
    code = "import tui.app, sys; print(*{m.split('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"mlx", "mlx_lm", "transformers", "torch", "tokenizers", "huggingface_hub", "numpy"}
    assert not heavy & set(out.stdout.split())
