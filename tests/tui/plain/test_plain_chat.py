"""The linear chat through a terminal, over the stand-in for the engine."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from tui.actions.table import ACTIONS
from tui.plain import commands
from tui.store import Store

TERMS = ["xterm-256color", "dumb"]
READLINE = re.compile(rb"\x1b\[\?2004(?:h|l\r?)")


@pytest.mark.parametrize("term", TERMS)
def test_ask_and_leave(plain, term):
    chat = plain(TERM=term)
    assert "Nothing you write here leaves this machine." in chat.text
    assert "Model: guide." in chat.text
    assert chat.ask("Hello there").strip("\n").endswith("guide:\nYou said: Hello there")
    assert re.search(
        r"guide:\nThought for \d\.\d s\.\nYou said: think hard\n$", chat.ask("think hard")
    )
    chat.type("\x04")
    chat.expect("Everything is saved. Goodbye.\n")
    chat.expect("textual: False")
    assert chat.end() == 0
    assert chat.branch() == [
        ("user", "Hello there", "done"),
        ("assistant", "You said: **Hello there** ", "done"),
        ("user", "think hard", "done"),
        ("assistant", "You said: **think hard** ", "done"),
    ]


def test_a_dumb_terminal_gets_plain_lines_only(plain):
    chat = plain(TERM="dumb")
    for line in ("Hello", "think", "garbage", "/help", "/stats", "/theme", "/open"):
        chat.type(line + "\r")
        chat.expect(": " if line == "/open" else "You: ")
    chat.type("\r")
    chat.expect("You: ")
    chat.type("slow\r")
    chat.expect("word3")
    chat.type("\x03")
    chat.expect("Stopped; what came is kept.")
    chat.type("\x04")
    chat.end()
    assert b"\x1b" not in chat.bytes
    assert b"\r" not in chat.bytes.replace(b"\r\n", b"")
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", chat.bytes)


def test_elsewhere_readline_alone_writes_sequences(plain):
    chat = plain()
    chat.ask("Hello")
    chat.ask("think")
    chat.ask("/help")
    rest = READLINE.sub(b"", chat.bytes)
    assert b"\x1b" not in rest
    assert b"\x07" not in rest


@pytest.mark.parametrize("term", TERMS)
def test_ctrl_c_stops_an_answer_and_keeps_it(plain, term):
    chat = plain(TERM=term)
    chat.type("slow\r")
    chat.expect("guide:\n")
    time.sleep(0.5)
    chat.type("\x03")
    before = chat.expect("\nStopped; what came is kept.\n")
    chat.expect("You: ")
    deadline = time.monotonic() + 5
    while chat.branch()[-1][2] == "streaming" and time.monotonic() < deadline:
        time.sleep(0.02)  # it is said first and stored then
    kept = chat.branch()[-1]
    assert kept[2] == "stopped"
    assert kept[1].startswith("word0 word1 ")
    # Without a full stop nothing was a sentence: it is said when it is over, once.
    assert before.replace("^C\n", "").split() == kept[1].split()
    assert chat.ask("history").endswith(f"guide:\nslow/{kept[1]}/history\n")


def test_ctrl_c_at_the_prompt_clears_and_twice_leaves(plain):
    chat = plain()
    chat.type("not this")
    chat.expect("not this")
    time.sleep(0.2)  # Python's readline misses a signal between a letter's echo and its next wait
    chat.type("\x03")
    assert chat.expect("You: ").lstrip("^C") == "\n"
    time.sleep(0.1)
    assert chat.ask("but this").endswith("You said: but this\n")
    chat.type("\x03")
    chat.expect("Ctrl+C again within two seconds leaves.\n")
    chat.expect("You: ")
    time.sleep(2.2)
    chat.type("\x03")
    chat.expect("Ctrl+C again within two seconds leaves.\n")
    chat.expect("You: ")
    chat.type("\x03")
    chat.expect("Everything is saved. Goodbye.")
    assert chat.end() == 0
    assert [text for role, text, _ in chat.branch() if role == "user"] == ["but this"]


def test_a_paste_of_several_lines_is_one_message(plain):
    chat = plain()
    chat.type("\x1b[200~first\rsecond\r\rfourth\x1b[201~")
    chat.expect("fourth")
    time.sleep(0.2)
    assert not chat.database.exists() or chat.branch() == []
    chat.type("\r")
    chat.expect("You: ")
    assert chat.branch()[0] == ("user", "first\nsecond\n\nfourth", "done")


def test_a_paste_on_a_dumb_terminal_is_one_message_too(plain):
    chat = plain(TERM="dumb")
    chat.type("first\rsecond\r\rfourth\r")
    chat.expect("You said")
    chat.expect("You: ")
    assert chat.branch()[0] == ("user", "first\nsecond\n\nfourth", "done")


@pytest.mark.parametrize("term", TERMS)
def test_lines_that_go_on(plain, term):
    chat = plain(TERM=term)
    chat.type("one \\\r")
    chat.expect("more: ")
    chat.type("two\r")
    chat.expect("You: ")
    assert chat.branch()[0][1] == "one \ntwo"
    chat.type('"""a\r')
    chat.expect("more: ")
    chat.type("/b \\\r")
    chat.expect("more: ")
    chat.type('c"""\r')
    chat.expect("You: ")
    assert chat.branch()[2][1] == "a\n/b \\\nc"
    chat.type("given \\\r")
    chat.expect("more: ")
    time.sleep(0.1)
    chat.type("\x03")
    chat.expect("You: ")
    assert chat.ask("//usr is text").endswith("You said: /usr is text\n")
    assert "given" not in "".join(text for _, text, _ in chat.branch())


def test_in_italian(plain):
    chat = plain(prompt="Tu: ", LC_ALL="it_IT.UTF-8", PYTHONUTF8="1")
    assert "Nulla di ciò che scrivi qui lascia questa macchina." in chat.text
    said = chat.ask("think forte", "Tu: ")
    assert re.search(r"guide:\nHa ragionato per \d,\d s\.\nYou said: think forte\n$", said)
    assert "/regen: Un’altra risposta" in chat.ask("/help", "Tu: ")
    assert "The language is English now." in chat.ask("/lang en")
    assert "/regen: Another answer" in chat.ask("/help")
    chat.type("/quit\r")
    chat.expect("Everything is saved.")


def test_thoughts_are_read_when_asked_for(plain):
    chat = plain()
    assert "Thoughts are shown." in chat.ask("/think show")
    said = chat.ask("think")
    assert re.search(
        r"guide:\nThinking:\nLet me see\.\nThought for \d\.\d s\.\nYou said: think\n$", said
    )
    assert "Thoughts are out of sight." in chat.ask("/think hide")
    assert "Let me" not in chat.ask("/read")


def test_versions_branches_and_forks(plain):
    chat = plain()
    chat.ask("first")
    assert "guide, version 2 of 2:\nYou said: first\n" in chat.ask("/regen")
    chat.ask("/edit changed")
    assert [text for role, text, _ in chat.branch() if role == "user"] == ["changed"]
    listed = chat.ask("/branch", "Number, or Enter for none: ")
    assert "3 branches\n1. first; You said: **first**\n" in listed
    assert "3. changed; You said: **changed**, the one open\n" in listed
    assert "guide, version 1 of 2:\nYou said: first\n" in chat.ask("1")
    assert chat.branch()[0][1] == "first"
    assert "There is no number 9 in the list." in chat.ask("/branch", "none: ") + chat.ask("9")
    assert "You are in a copy now: first (2)." in chat.ask("/fork")
    assert "The chat is now called Mine." in chat.ask("/rename Mine")
    assert "1. Mine, now, the one open\n2. first, now\n" in chat.ask("/open", "none: ")
    assert "Mine" not in chat.ask("2")
    assert "Edited" in chat.ask("/edit Edited again")


def test_editing_begins_with_the_last_question(plain):
    chat = plain()
    chat.ask("What is a fish")
    chat.type("/edit\r")
    chat.expect("You: What is a fish")
    chat.type("erman\r")
    chat.expect("You said: What is a fisherman\n")


def test_found_by_its_words_deleted_and_back(plain):
    chat = plain()
    chat.ask("Where do perché birds sleep")
    assert "A new chat." in chat.ask("/new")
    chat.ask("Something else")
    assert "Nothing contains zebra." in chat.ask("/search zebra")
    assert "2 passages:\n1. Where do perché birds sleep: " in chat.ask(
        "/search perche birds", "none: "
    )
    read = chat.ask("1")
    assert "Where do perché birds sleep, 2 messages.\n" in read
    assert "You:\nWhere do perché birds sleep" in read or "guide:\nYou said: Where do" in read
    assert "The chat is deleted." in chat.ask("/delete")
    assert "Where do perché birds sleep is back." in chat.ask("/undo")
    assert "You:\nWhere do perché birds sleep\nguide:\nYou said: " in chat.ask("/read all")


def test_tuned_and_told(plain):
    chat = plain()
    assert "The system prompt holds from the next answer on." in chat.ask("/system Be brief")
    assert chat.ask("history").endswith("guide:\nBe brief/history\n")
    assert "System prompt:\nBe brief\n" in chat.ask("/system")
    assert "temperature is 0.5" in chat.ask("/set temperature 0.5")
    assert "Curt is saved" in chat.ask("/persona save Curt")
    assert "1. Curt\n" in chat.ask("/persona", "none: ")
    assert "Curt answers from now on." in chat.ask("1")
    assert "Messages in this branch: 2\n" in chat.ask("/stats")
    assert "/theme belongs to the graphical chat." in chat.ask("/theme")
    assert "Did you mean /stats?" in chat.ask("/stat")
    for number in ("/read ", "/copy "):
        assert "You:" not in chat.ask(number + "9" * 5000)  # more digits than Python reads


def test_every_command_of_the_table_is_carried_out_or_says_where(plain):
    elsewhere = [a.slash for a in ACTIONS if a.slash and a.name not in commands.HANDLERS]
    chat = plain()
    for command in elsewhere:
        assert f"{command} belongs to the graphical chat." in chat.ask(command)
    assert set(commands.HANDLERS) <= {a.name for a in ACTIONS} | {"open", "read", "editor"}


def test_room_for_the_context(plain, tmp_path):
    chat = plain()
    chat.ask("hello")
    assert "The model has room for 4k tokens" in chat.ask("/context")
    assert "Model: guide." in chat.ask("/context 16k")
    assert "16384" in (tmp_path / "settings.toml").read_text()
    chat.ask("still there")


def test_attached_exported_and_written_in_an_editor(plain, tmp_path):
    (tmp_path / "notes.txt").write_text("remember the milk\n")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor\\nin two lines" > "$1"\n')
    editor.chmod(0o755)
    chat = plain(EDITOR=str(editor), VISUAL="")
    assert "notes.txt goes with the next message." in chat.ask("/attach notes.txt")
    assert "remember the milk" in chat.ask("history")
    assert "You: from the editor\nin two lines\nguide:\n" in chat.ask("/editor", "You said")
    chat.expect("You: ")
    assert "Exported to" in chat.ask("/export md out.md")
    assert "remember" in (tmp_path / "out.md").read_text()
    assert "cannot be written" in chat.ask("/export md /nowhere/x.md")


def test_completion_and_history(plain):
    chat = plain()
    chat.ask("remembered question")
    chat.type("/ren\t")
    chat.expect("/rename ")
    chat.type("New name\r")
    chat.expect("The chat is now called New name.")
    chat.expect("You: ")
    chat.type("\x04")
    chat.end()
    again = plain()
    again.type("\x1b[A")
    again.expect("remembered question")
    again.type("\r")
    again.expect("You said: remembered question")


def test_a_second_instance_reads_only(plain):
    first = plain()
    first.ask("kept")
    second = plain()
    assert "conversations are read-only in this one" in second.text
    assert "1. kept, now" in second.ask("/open", "none: ")
    assert "You said: kept" in second.ask("1")
    assert "Error: " in second.ask("refused")
    assert [text for role, text, _ in first.branch() if role == "user"] == ["kept"]
    second.type("\x15")  # what was refused stands in the line again
    first.ask("and on")


def test_an_answer_that_failed_is_told(plain):
    chat = plain()
    assert "Error: Too long. Start a new chat.\n" in chat.ask("fail")
    told = chat.ask("die")
    assert "Half an answer,\nError: " in told
    assert "/regen asks again" in told
    assert chat.branch()[-1] == ("assistant", "Half an answer, ", "error")
    assert chat.ask("Still there").endswith("You said: Still there\n")


def test_kill_9_in_mid_answer_loses_nothing(plain):
    chat = plain()
    chat.type("slow\r")
    chat.expect("guide:\n")
    time.sleep(1.0)
    os.kill(chat.process, signal.SIGKILL)
    chat.end()
    again = plain()
    assert "Last time one answer was cut off; what had come is kept." in again.text
    assert "1. slow, now" in again.ask("/open", "none: ")
    read = again.ask("1")
    assert "word0 word1 word2" in read
    assert "This answer was cut off; what had come is kept." in read


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal_it_saves_what_came(plain, number):
    chat = plain()
    chat.type("slow\r")
    chat.expect("guide:\n")
    time.sleep(0.5)
    os.kill(chat.process, number)
    assert chat.end() == 128 + number
    assert chat.branch()[-1][1].startswith("word0 word1")
    assert chat.branch()[-1][2] == "stopped"


def test_drafts_of_the_graphical_chat_are_offered(plain, tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3")
    store.keep_draft(None, "half a question")
    store.close()
    chat = plain()
    chat.expect("half a question")
    chat.type(" is whole\r")
    chat.expect("You said: half a question is whole")


HOSTILE = "\x1b]0;owned\x07 \x1b[2J \u202e \x9b31m </think> &#27;[1m"


def test_what_does_not_fit_is_said_and_stays_in_the_line(plain):
    chat = plain()
    chat.ask("hello")
    refused = chat.ask("heavy question", "You: heavy question")
    assert "Not sent: " in refused
    assert "/new" in refused or "/context" in refused or "/model" in refused


@pytest.mark.parametrize("term", TERMS)
def test_nothing_of_hostile_text_reaches_the_terminal(plain, term, tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3")
    kept = store.create(title=HOSTILE, model=HOSTILE)
    question = store.add_user(kept.id, None, f"ask {HOSTILE}")
    answer = store.start_answer(kept.id, question.id, model=f"m/{HOSTILE}")
    store.finish(answer.id, "error", f"# {HOSTILE}\n```{HOSTILE}\n{HOSTILE}", HOSTILE, note=HOSTILE)
    store.close()
    chat = plain(TERM=term)
    chat.ask("/think show")
    chat.ask("/open", "none: ")
    chat.ask("1")
    chat.ask("/read all")
    chat.ask("/branch")
    chat.ask("/search ask", "none: ")
    chat.ask("1")
    chat.ask("/stats")
    rest = READLINE.sub(b"", chat.bytes)
    assert b"\x1b" not in rest
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", rest)
    assert "\x9b" not in chat.text
    assert "\u202e" not in chat.text
    assert "␛[2J" in chat.text
