"""The prompt under a person's hands: commands, completion, history, editing, attachments."""

from __future__ import annotations

import asyncio

import pytest
from textual import events

from tui.actions.slash import Command, Text, Unknown, parse
from tui.actions.suggest import choices, commands, paths
from tui.store import Store
from tui.widgets.chips import Chips
from tui.widgets.completion import Completion
from tui.widgets.history import History


def composer(chat):
    return chat.app._chat.composer


def prompt(chat):
    return composer(chat).prompt


def popup(chat):
    return chat.app._chat.query_one(Completion)


def offered(chat):
    return [item.name for item in popup(chat)._suggestions]


def told(chat):
    return [note.message for note in chat.app._notifications]


async def write(chat, text):
    await chat.type(text)
    await chat.pilot.pause()


# What a slash means


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hello", Text("hello")),
        (" /new", Text(" /new")),
        ("//new", Text("/new")),
        ("/usr/bin is a folder", Text("/usr/bin is a folder")),
        ("/xyz", Unknown("/xyz", "")),
        ("/renam x", Unknown("/renam", "/rename")),
        ("/3 of it", Text("/3 of it")),
        ("/", Text("/")),
        ("/ is a slash", Text("/ is a slash")),
        ("/-o", Text("/-o")),
    ],
)
def test_what_a_slash_means(text, meant):
    assert parse(text) == meant


def test_a_command_and_its_argument():
    meant = parse("/System  You are\nterse. ")
    assert isinstance(meant, Command)
    assert (meant.action.name, meant.argument) == ("system", "You are\nterse.")
    assert meant.text == "/system You are\nterse."


def test_commands_that_begin_come_before_those_that_contain():
    names = [item.name for item in commands("/ex", {"export", "regenerate", "stop"})]
    assert names == ["/export"]
    assert [item.name for item in commands("/re", {"rename", "regenerate"})] == [
        "/regen",
        "/rename",
    ]
    assert [item.name for item in commands("/tem", {"system"})] == ["/system"]
    assert not commands("/stop", {"stop"})  # a key, but no command
    (export,) = commands("/exp", {"export"})
    assert (export.text, export.argument, export.runs) == (
        "/export ",
        "md|json|html [FILE]",
        False,
    )
    assert commands("/export", {"export"})[0].runs


def test_what_may_follow_a_command():
    assert [item.text for item in choices("/lang ", {})] == ["/lang en", "/lang it"]
    assert [item.text for item in choices("/export j", {})] == ["/export json"]
    assert [item.name for item in choices("/think o", {})] == ["on", "off", "show", "auto"]
    found = choices("/model 4b", {"models": ["guide", "Qwen3-4B", "a\x1bb4b"]})
    assert [item.name for item in found] == ["Qwen3-4B", "a␛b4b"]
    assert choices("/lang", {}) == []
    assert choices("/nothing x", {}) == []


def test_paths_are_completed(tmp_path, monkeypatch):
    (tmp_path / "notes.md").touch()
    (tmp_path / "Nested").mkdir()
    (tmp_path / "Nested" / "deep.txt").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [item.text for item in paths("/attach n")] == ["/attach Nested/", "/attach notes.md"]
    assert [item.runs for item in paths("/attach n")] == [False, True]
    assert [item.text for item in paths(f"/attach {tmp_path}/Nested/")] == [
        f"/attach {tmp_path}/Nested/deep.txt"
    ]
    assert [item.text for item in paths("/attach ~/no")] == ["/attach ~/notes.md"]
    assert [item.name for item in paths("/attach .")] == [".hidden"]
    assert paths("/attach nothing/at/all") == []
    assert paths("/attach ~nobody-of-that-name/") == []
    assert paths("/attach \x00") == []


def test_history_keeps_what_is_not_sent():
    history = History()
    assert history.older("x") is None
    history.fill(["one", "two"])
    history.add("two")
    history.add("three")
    assert [history.older("draft"), history.older("three"), history.older("two")] == [
        "three",
        "two",
        "one",
    ]
    assert history.older("one") is None
    assert history.draft == "draft"
    assert [history.newer("one"), history.newer("two"), history.newer("three")] == [
        "two",
        "three",
        "draft",
    ]
    assert history.newer("draft") is None
    assert history.older("draft") == "three"
    assert history.newer("three, changed") is None
    assert history.older("three, changed") == "three"  # a new text, to come back to
    assert history.newer("three") == "three, changed"
    assert [history.older("three, changed"), history.older("three")] == ["three", "draft"]


# Commands


async def test_a_list_opens_over_the_prompt_and_follows_what_is_typed(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("/")
        await chat.until(lambda: popup(chat).is_open)
        assert "/regen" in offered(chat)
        assert popup(chat).chosen is None
        assert popup(chat).region.bottom == prompt(chat).region.y
        await chat.pilot.press("n", "e", "w")
        await chat.until(lambda: offered(chat) == ["/new"])
        await chat.pilot.press("escape")
        await chat.until(lambda: not popup(chat).is_open)
        assert prompt(chat).text == "/new"
        assert not popup(chat).display
        await chat.pilot.press("backspace")
        await chat.until(lambda: popup(chat).is_open)
        await chat.pilot.press("ctrl+u", "x")
        await chat.until(lambda: not popup(chat).is_open)


async def test_enter_runs_the_marked_command(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        await chat.pilot.press("/", "n", "e")
        await chat.until(lambda: offered(chat) == ["/new"])
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.shown == [])
        assert prompt(chat).text == ""
        assert chat.session.conversation is None


async def test_tab_completes_and_arrows_choose(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press("/", "e", "d")
        await chat.until(lambda: offered(chat) == ["/edit"])
        await chat.pilot.press("tab")
        assert prompt(chat).text == "/edit"
        await chat.pilot.press("ctrl+u", "/", "l", "a", "n", "g", "space")
        await chat.until(lambda: offered(chat) == ["en", "it"])
        await chat.pilot.press("down", "down")
        assert popup(chat).chosen.text == "/lang it"
        await chat.pilot.press("up", "tab")
        assert prompt(chat).text == "/lang en"


async def test_an_unknown_command_stays_with_the_nearest_named(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press(*"/hepl", "enter")
        await chat.until(lambda: told(chat))
        assert told(chat) == ["There is no command /hepl. Did you mean /help?"]
        assert prompt(chat).text == "/hepl"
        assert chat.session.conversation is None


async def test_two_slashes_send_one_and_paths_are_text(run_chat):
    async with run_chat() as chat:
        await chat.ask("//new is a command")
        await chat.ask("/usr/bin is a folder")
        assert [view.text for view in chat.views[::2]] == [
            "/new is a command",
            "/usr/bin is a folder",
        ]


async def test_completing_costs_no_key_of_a_fast_typist(run_chat):
    async with run_chat() as chat:
        for key in (*"/new", "enter", *"next"):
            character = key if len(key) == 1 else None
            chat.app.post_message(events.Key("slash" if key == "/" else key, character))
        await chat.until(lambda: prompt(chat).text == "next")
        await chat.pilot.pause(0.1)
        assert not popup(chat).is_open


async def test_enter_takes_no_completion_for_what_was_typed_before(run_chat):
    async with run_chat() as chat:
        await chat.pilot.press(*"/the")
        await chat.until(lambda: offered(chat) == ["/theme"])
        assert popup(chat).chosen

        async def slow(line):
            await asyncio.sleep(60)

        prompt(chat)._suggest = slow  # as a folder on a disk that has to wake up
        await chat.pilot.press("r", "e", "space", "i", "s", "tab", "enter")
        await chat.until(lambda: told(chat))
        assert told(chat)[0].startswith("There is no command /there")
        assert prompt(chat).text == "/there is"
        assert prompt(chat).has_focus


# What was sent before


async def test_up_walks_what_was_sent_in_any_chat(run_chat):
    async with run_chat() as chat:
        await chat.ask("first\nwith two lines")
        await chat.pilot.press("ctrl+n")
        await chat.until(lambda: chat.shown == [])
        await write(chat, "draft")
        await chat.pilot.press("up")
        assert prompt(chat).text == "first\nwith two lines"
        await chat.pilot.press("up", "up")
        assert prompt(chat).cursor_location == (0, 0)
        assert prompt(chat).text == "first\nwith two lines"
        await chat.pilot.press("down", "down")
        assert prompt(chat).text == "draft"
    async with run_chat() as chat:  # another day
        await chat.until(lambda: prompt(chat).text == "draft")
        await chat.pilot.press("up")
        assert prompt(chat).text == "first\nwith two lines"


async def test_a_draft_waits_in_its_conversation(run_chat):
    async with run_chat() as chat:
        await chat.ask("hello")
        first = chat.session.conversation.id
        await write(chat, "half a thought")
        await chat.pilot.press("ctrl+n")
        await chat.until(lambda: chat.shown == [])
        assert prompt(chat).text == ""
        await chat.app._chat.open(first)
        assert prompt(chat).text == "half a thought"


async def test_up_in_an_empty_prompt_edits_the_last_question(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        await chat.ask("second")
        await chat.pilot.press("up")
        assert prompt(chat).text == "second"
        assert prompt(chat).has_class("-editing")
        assert "Esc" in prompt(chat).border_title
        await chat.pilot.press("up")
        assert prompt(chat).text == "first"
        await chat.pilot.press("up")
        assert not prompt(chat).has_class("-editing")
        await chat.pilot.press("ctrl+u", "up", "escape")
        assert prompt(chat).text == ""
        assert not prompt(chat).has_class("-editing")
        await chat.pilot.press("up", *" time", "enter")
        await chat.ended(4)
        assert [view.text for view in chat.views[::2]] == ["first", "second time"]
        assert chat.views[2].sibling == (2, 2)
        assert prompt(chat).text == ""


async def test_editing_gives_back_what_was_being_written(run_chat):
    async with run_chat() as chat:
        await chat.ask("/usr/bin ?")
        await write(chat, "draft")
        await chat.pilot.press("tab", "e")
        await chat.until(lambda: prompt(chat).text == "/usr/bin ?")
        await chat.pilot.press("escape")
        assert prompt(chat).text == "draft"
        await chat.pilot.press("tab", "e")
        await chat.until(lambda: prompt(chat).text == "/usr/bin ?")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.views[0].sibling == (2, 2))
        assert prompt(chat).text == "draft"
        assert chat.shown[0][1] == "/usr/bin ?"


# What goes with it


async def test_a_long_paste_is_a_chip_and_goes_with_the_message(run_chat):
    text = "line\n" * 5000
    async with run_chat() as chat:
        chips = chat.app._chat.query_one(Chips)
        assert not chips.display
        await write(chat, text)
        assert prompt(chat).text == ""
        assert [part.text for part in composer(chat).attachments] == [text]
        assert chips.display
        assert "paste 1  25.0 kB · ~6.2k tokens" in chips.render().plain
        await chat.pilot.press(*"sum", "enter")
        await chat.ended(2)
        assert composer(chat).attachments == []
        assert not chips.display
        (question, _) = chat.session.branch
        assert [(part.name, part.text) for part in question.attachments] == [("paste 1", text)]
        assert "line\nline" in chat.views[1].text
        await chat.pilot.press("tab", "home")
        await chat.until(lambda: "↳ paste 1 · 25.0 kB" in chat.screen_text)


async def test_a_dragged_file_is_a_chip_and_backspace_takes_it_off(run_chat, tmp_path):
    path = tmp_path / "my notes.md"
    path.write_text("remember")
    async with run_chat() as chat:
        await chat.type(str(path).replace(" ", "\\ "))
        await chat.until(lambda: composer(chat).attachments)
        assert [part.name for part in composer(chat).attachments] == ["my notes.md"]
        assert prompt(chat).text == ""
        await chat.pilot.press("x", "backspace")
        assert composer(chat).attachments
        await chat.pilot.press("backspace")
        await chat.until(lambda: not composer(chat).attachments)
        picture = tmp_path / "a.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
        await chat.type(str(picture))
        await chat.until(lambda: prompt(chat).text == str(picture))
        assert "is an image" in told(chat)[-1]
        await write(chat, " and /etc/passwd too")
        assert prompt(chat).text.endswith("passwd too")


async def test_attach_by_command_with_its_path_completed(run_chat, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("print(1)")
    (tmp_path / "project" / "b.bin").write_bytes(b"\x00\x01")
    monkeypatch.chdir(tmp_path)
    async with run_chat() as chat:
        await chat.pilot.press(*"/attach pro")
        await chat.until(lambda: offered(chat) == ["project/"])
        await chat.pilot.press("tab")
        await chat.until(lambda: offered(chat) == ["a.py", "b.bin"])
        await chat.pilot.press("enter")
        await chat.until(lambda: composer(chat).attachments)
        (folder,) = composer(chat).attachments
        assert (folder.name, folder.files) == ("project/", 1)
        assert "Left out of project/: b.bin is not text" in told(chat)[-1]
        await write(chat, "/attach nothing.txt")
        await chat.pilot.press("enter")
        await chat.until(lambda: "nothing.txt cannot be read" in told(chat)[-1])
        await write(chat, "/attach")
        await chat.pilot.press("escape", "enter")
        await chat.until(lambda: "Which one" in told(chat)[-1])


async def test_a_click_on_its_cross_removes_a_chip(run_chat):
    async with run_chat() as chat:
        await write(chat, "a" * 30_000)
        await write(chat, "b" * 30_000)
        chips = chat.app._chat.query_one(Chips)
        await chat.pilot.pause(0.1)
        cross = chips.render().plain.index("×")
        await chat.pilot.click(Chips, offset=(cross + 1, 0))
        await chat.until(lambda: len(composer(chat).attachments) == 1)
        assert composer(chat).attachments[0].text[0] == "b"
        assert prompt(chat).has_focus


async def test_attachments_alone_can_be_sent_and_come_back_when_refused(run_chat):
    async with run_chat() as chat:
        await write(chat, "slow")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.answer and chat.session.answer.pieces > 3)
        await write(chat, "z" * 30_000)
        await chat.pilot.press("enter")
        await chat.until(lambda: told(chat))
        assert len(composer(chat).attachments) == 1
        await chat.pilot.press("escape")
        await chat.ended(2)
        await chat.pilot.press("enter")
        await chat.ended(4)
        assert composer(chat).attachments == []


async def test_a_hostile_paste_is_only_text(run_chat):
    text = "[red]x[/red] \x1b]0;title\x07 /quit\n/new"
    async with run_chat() as chat:
        await write(chat, text)
        await chat.pilot.press("enter")
        await chat.ended(2)
        assert len(chat.shown) == 2
        assert "\x1b" not in chat.screen_text


async def test_chips_that_do_not_fit_are_counted(run_chat):
    async with run_chat(size=(60, 24)) as chat:
        for number in range(12):
            await chat.type(f"{number}" * 30_000)
        chips = chat.app._chat.query_one(Chips)
        await chat.until(lambda: chips.size.height == 3)
        rows = chips.render().plain.split("\n")
        assert len(rows) == 3
        assert rows[-1].strip().endswith("more")


async def test_sent_prompts_survive_and_commands_too(run_chat, tmp_path):
    async with run_chat() as chat:
        await chat.ask("hello")
        await write(chat, "/copy")
        await chat.pilot.press("escape", "enter")
        await chat.until(lambda: told(chat))
    store = Store.open(tmp_path / "conversations.sqlite3")
    assert store.history() == ["/copy", "hello"]
    store.close()


async def test_editing_keeps_what_was_attached_unless_it_is_taken_off(run_chat):
    async with run_chat() as chat:
        await write(chat, "a" * 30_000)
        await chat.ask("first")
        await write(chat, "b" * 30_000)
        await write(chat, "draft")
        await chat.pilot.press("tab", "e")
        await chat.until(lambda: prompt(chat).text == "first")
        assert [part.text[0] for part in composer(chat).attachments] == ["a"]
        assert composer(chat).draft.text == "draft"
        assert [part.text[0] for part in composer(chat).draft.attachments] == ["b"]
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.views[0].sibling == (2, 2))
        assert [part.text[0] for part in chat.session.branch[0].attachments] == ["a"]
        assert prompt(chat).text == "draft"
        assert [part.text[0] for part in composer(chat).attachments] == ["b"]


async def test_what_is_written_survives_a_death(run_chat, tmp_path):
    async with run_chat() as chat:
        await write(chat, "a" * 30_000)
        await write(chat, "half a question")
        await chat.pilot.pause(0.6)
        store = Store.open(tmp_path / "conversations.sqlite3")  # as it is on the disk now
        try:
            draft = store.draft(None)
        finally:
            store.close()
        assert draft.text == "half a question"
        assert [part.name for part in draft.attachments] == ["paste 1"]


def draft_on_disk(tmp_path, conversation=None):
    store = Store.open(tmp_path / "conversations.sqlite3")
    try:
        return store.draft(conversation).text
    finally:
        store.close()


async def test_what_is_made_of_an_old_prompt_is_a_draft(run_chat, tmp_path):
    async with run_chat() as chat:
        await chat.ask("first")
        await chat.pilot.press("ctrl+n")
        await chat.until(lambda: chat.shown == [])
        await write(chat, "unsent")
        await chat.pilot.press("up", *" again")
        assert prompt(chat).text == "first again"
    assert draft_on_disk(tmp_path) == "unsent\nfirst again"


async def test_what_was_being_written_comes_back_when_an_old_prompt_is_sent(run_chat):
    async with run_chat() as chat:
        await chat.ask("first")
        await write(chat, "unsent")
        await chat.pilot.press("up", "enter")
        await chat.ended(4)
        assert prompt(chat).text == "unsent"
        await chat.pilot.press("ctrl+u", *"/stats", "enter")
        await chat.until(lambda: len(chat.app.screen_stack) > 2)
        await chat.pilot.press("escape")
        await write(chat, "unsent")
        await chat.pilot.press("up", "enter")
        await chat.until(lambda: len(chat.app.screen_stack) > 2)
        assert prompt(chat).text == "unsent"


async def test_a_changed_version_that_is_not_sent_is_a_draft(run_chat, tmp_path):
    async with run_chat() as chat:
        await chat.ask("first")
        number = chat.session.conversation.id
        await chat.pilot.press("up")
        assert composer(chat).draft.text == ""
        await chat.pilot.press(*" of all", "ctrl+n")
        await chat.until(lambda: chat.shown == [])
        assert prompt(chat).text == ""
        await chat.app._chat.open(number)
        assert prompt(chat).text == "first of all"
        await chat.pilot.press("ctrl+u", "up", *" /x", "escape")
        assert prompt(chat).text == ""
        await chat.app._chat.new()
        await chat.pilot.press("up")
        assert prompt(chat).text == "first /x"
        await chat.app._chat.open(number)
        await chat.pilot.press("up", *", and last")
    assert draft_on_disk(tmp_path, number) == "first, and last"


async def test_a_message_on_its_way_is_a_draft_until_it_is_stored(run_chat, tmp_path, monkeypatch):
    async def doubt(*_):
        await asyncio.sleep(60)

    async with run_chat() as chat:
        monkeypatch.setattr(chat.session.outlook, "refusal", doubt)
        await chat.type("//new to me")
        await chat.pilot.press("enter")
        await chat.until(lambda: prompt(chat).text == "")
        await write(chat, "and")
        await chat.pilot.pause(0.5)
        assert draft_on_disk(tmp_path) == "//new to me\nand"
    assert draft_on_disk(tmp_path) == "//new to me\nand"
    async with run_chat() as chat:
        assert prompt(chat).text == "//new to me\nand"
        await chat.pilot.press("enter")
        await chat.ended(2)
        await write(chat, "next")
        await chat.pilot.pause(0.5)
        assert draft_on_disk(tmp_path) == ""
        assert draft_on_disk(tmp_path, chat.session.conversation.id) == "next"
    async with run_chat() as chat:
        await chat.until(lambda: composer(chat).history.older("") is not None)
        composer(chat).history.stop()
        assert composer(chat).history.older("") == "//new to me\nand"


async def test_a_window_without_a_column_for_the_prompt(run_chat):
    async with run_chat() as chat:
        prompt = chat.app._chat.composer.prompt
        prompt.styles.width = 0
        await chat.pilot.pause()
        assert prompt.content_size.width == 0
        assert prompt.render_line(0).cell_length == prompt.size.width
