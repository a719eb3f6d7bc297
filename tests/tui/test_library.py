"""The library and the tree of branches under a person's hands, and as they are drawn.

After an intended change, run with ``--snapshot-update`` and look at the pictures.
"""

from __future__ import annotations

import pytest
from textual.widgets import Input, Static

from mlxqwen.errors import OutputError
from tui import findings
from tui.records import Statistics
from tui.screens.branches import BranchesScreen
from tui.screens.library import LibraryScreen
from tui.screens.picker import Picker
from tui.store import Store
from tui.widgets.rows import Rows
from tui.words import use

SMALL, LARGE, TINY = (80, 24), (200, 60), (40, 10)
FIGURES = Statistics(n_prompt=80, n_gen=180, ttft_ms=210.0, tok_s=61.0, thinking_ms=3100.0)


@pytest.fixture
def shelf(tmp_path):
    """Conversations by title: pinned, forked, Chinese, code, untrusted and deleted ones."""
    now = iter([1_699_700_000.0 + 2500 * step for step in range(80)])
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: next(now))
    ids: dict[str, int] = {}

    def talk(title, question, answer):
        ids[title] = store.create(title=title, model="guide").id
        user = store.add_user(ids[title], None, question)
        reply = store.start_answer(ids[title], user.id, model="guide")
        return user, store.finish(reply.id, "done", answer, "", statistics=FIGURES)

    talk("Ricetta per il pane", "Quanta acqua?", "**650 g**. Perché la farina forte ne assorbe.")
    talk("量子化とは何か", "量子化とは何ですか", "量子化は重みを4ビットで表すことです。")
    user, first = talk("Perché 4 bit?", "Perché 4 bit?", "La memoria è il limite.")
    more = store.add_user(ids["Perché 4 bit?"], first.id, "E a 3 bit?")
    other = store.start_answer(ids["Perché 4 bit?"], user.id, model="qwen/Qwen3-4B-4bit")
    store.finish(other.id, "stopped", "Perché la banda comanda.", "", statistics=FIGURES)
    store.set_leaf(ids["Perché 4 bit?"], more.id)
    store.pin(ids["Perché 4 bit?"], True)
    ids |= {"first": first.id, "other": other.id, "more": more.id, "question": user.id}
    talk("Garden", "Where do tomatoes go?", "In the sun:\n\n```python\nsun = x[42:]\n```")
    talk("[bold]x[/] \x1b[31mred", "[@click=app.quit]y[/]", "\x1b]0;owned\x07 zebra")
    talk("Old thing", "an old question", "an old zebra")
    store.delete(ids["Old thing"])
    store.close()
    return ids


def library(chat):
    assert isinstance(chat.app.screen, LibraryScreen)
    return chat.app.screen


def lines(chat):
    rows = chat.app.screen.query_one(Rows)
    return [rows.text(row) for row in range(len(rows.names))]


async def opened(chat, wanted=""):
    chat.app._chat.action_do("search", wanted)
    await chat.until(lambda: isinstance(chat.app.screen, LibraryScreen))
    await chat.until(lambda: chat.app.screen.query(Rows) and chat.app.screen.query_one(Rows).names)


async def branches(chat):
    chat.app._chat.action_do("branches")
    await chat.until(lambda: isinstance(chat.app.screen, BranchesScreen))
    await chat.until(lambda: chat.app.screen.query(Rows) and chat.app.screen.query_one(Rows).names)


async def in_list(chat, *keys):
    await chat.pilot.press("down")
    assert chat.app.screen.query_one(Rows).has_focus
    await chat.pilot.press(*keys)


async def to_row(chat, name):
    rows = chat.app.screen.query_one(Rows)
    await chat.until(lambda: name in rows.names)
    rows.focus()
    rows.cursor = list(rows.names).index(name)
    await chat.pilot.pause()


def stored(shelf, chat):
    return {entry.id: entry for entry in findings.entries(chat.app._archive._path)}


async def test_it_opens_with_what_was_used_last(run_chat, shelf):
    async with run_chat() as chat:
        await chat.pilot.press("ctrl+f")
        await chat.until(lambda: isinstance(chat.app.screen, LibraryScreen))
        await chat.until(lambda: chat.app.screen.query(Rows) and len(lines(chat)) == 5)
        assert lines(chat)[0].startswith("★ Perché 4 bit?")
        assert "Old thing" not in "".join(lines(chat))
        await chat.pilot.press("escape")
        assert chat.app.screen is chat.app._chat


@pytest.mark.parametrize(
    ("wanted", "title", "passages"),
    [
        ("perche", "Perché 4 bit?", 3),
        ("PERCHÉ la FARINA", "Ricetta per il pane", 1),
        ("量子化", "量子化とは何か", 2),
        ("重み", "量子化とは何か", 1),
        ("x[42", "Garden", 1),
        ("tomatoes", "Garden", 1),
    ],
)
async def test_it_finds_what_is_typed(run_chat, shelf, wanted, title, passages):
    async with run_chat() as chat:
        await opened(chat)
        await chat.type(wanted)
        await chat.until(lambda: len(lines(chat)) > 1 and title in lines(chat)[0])
        rows = chat.app.screen.query_one(Rows)
        await chat.until(lambda: sum(name[0] == "m" for name in rows.names) == passages)


async def test_nothing_found_is_said_and_enter_does_nothing(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "nowhere to be found")
        await chat.until(lambda: lines(chat) == ["Nothing contains “nowhere to be found”."])
        await chat.pilot.press("enter", "down", "enter", "p", "d", "r", "e")
        assert isinstance(chat.app.screen, LibraryScreen)


async def test_a_hit_in_another_branch_opens_that_branch_and_is_marked(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "banda")
        await to_row(chat, f"m{shelf['other']}")
        await chat.pilot.press("enter")
        await chat.until(
            lambda: [view[1] for view in chat.shown][1:] == ["Perché la banda comanda."]
        )
        await chat.until(lambda: chat.transcript.marked == 1)
        assert chat.views[1].sibling == (2, 2)


async def test_a_hit_in_the_open_branch_leaves_that_branch_open(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "memoria")
        await to_row(chat, f"m{shelf['first']}")
        await chat.pilot.press("enter")
        await chat.until(lambda: len(chat.shown) == 3)
        await chat.until(lambda: chat.transcript.marked == 1)


async def test_a_conversation_opens_where_it_was_left(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "garden")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.conversation is not None)
        assert chat.session.conversation.id == shelf["Garden"]


async def test_pinning(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat)
        await to_row(chat, f"c{shelf['Garden']}")
        await chat.pilot.press("p")
        await chat.until(lambda: stored(shelf, chat)[shelf["Garden"]].pinned)
        await chat.until(lambda: sum(line.startswith("★") for line in lines(chat)) == 2)
        assert chat.app.screen.query_one(Rows).current == f"c{shelf['Garden']}"
        await chat.pilot.press("p")
        await chat.until(lambda: not stored(shelf, chat)[shelf["Garden"]].pinned)


async def test_renaming_in_place(run_chat, shelf):
    async with run_chat() as chat:
        await chat.app._chat.open(shelf["Garden"])
        await opened(chat)
        await to_row(chat, f"c{shelf['Garden']}")
        await chat.pilot.press("r")
        name = chat.app.screen.query_one("#library-name", Input)
        assert (name.value, name.has_focus) == ("Garden", True)
        await chat.pilot.press("escape")
        assert not name.display
        await chat.pilot.press("r")
        name.value = "Orto [b]nuovo"
        await chat.pilot.press("enter")
        await chat.until(lambda: stored(shelf, chat)[shelf["Garden"]].title == "Orto [b]nuovo")
        await chat.until(lambda: any("Orto [b]nuovo" in line for line in lines(chat)))
        assert chat.session.conversation.title == "Orto [b]nuovo"


async def test_deleting_undoing_and_restoring(run_chat, shelf):
    async with run_chat() as chat:
        await chat.app._chat.open(shelf["Garden"])
        await opened(chat)
        await to_row(chat, f"c{shelf['Garden']}")
        await chat.pilot.press("d")
        await chat.until(lambda: len(lines(chat)) == 4)
        assert chat.session.conversation is None
        await chat.pilot.press("u")
        await chat.until(lambda: len(lines(chat)) == 5)
        await chat.pilot.press("x")
        await chat.until(lambda: len(lines(chat)) == 1 and "Old thing" in lines(chat)[0])
        assert chat.app.screen.query_one(Rows).border_title == "Deleted chats"
        await chat.pilot.press("enter")
        await chat.until(lambda: lines(chat) == ["No deleted chats."])
        await chat.pilot.press("x")
        await chat.until(lambda: len(lines(chat)) == 6)


async def test_searching_among_the_deleted(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "zebra")
        await chat.until(lambda: len(lines(chat)) == 2)
        await in_list(chat, "x")
        await chat.until(lambda: "Old thing" in lines(chat)[0])
        assert len(lines(chat)) == 2


async def test_exporting_from_the_list(run_chat, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with run_chat() as chat:
        await opened(chat, "garden")
        await in_list(chat, "e")
        await chat.until(lambda: isinstance(chat.app.screen, Picker))
        await chat.type("html")
        await chat.pilot.press("enter")
        await chat.until((tmp_path / "garden.html").exists)


async def test_export_by_command(run_chat, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with run_chat() as chat:
        said = []
        monkeypatch.setattr(chat.app._chat, "say", lambda text, severity: said.append(text))
        chat.app._chat.action_do("export", "md")
        await chat.until(lambda: said)
        assert said.pop() == "There is nothing to export: no chat is open."
        await chat.app._chat.open(shelf["Garden"])
        chat.app._chat.action_do("export", "json out.json")
        await chat.until(lambda: said)
        assert said.pop() == f"Exported to {tmp_path / 'out.json'}"
        chat.app._chat.action_do("export", "pdf")
        await chat.until(lambda: said)
        assert said.pop().startswith("“pdf” is no format")
        chat.app._chat.action_do("export", "md no/such/folder.md")
        await chat.until(lambda: said)
        assert "cannot be written: No such file or directory." in said.pop()


async def test_moving_between_search_and_list(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat)
        await chat.until(lambda: len(lines(chat)) == 5)
        wanted = chat.app.screen.query_one("#library-wanted", Input)
        assert wanted.has_focus
        await in_list(chat, "down")
        rows = chat.app.screen.query_one(Rows)
        assert rows.cursor == 1
        await chat.pilot.press("end")
        assert rows.cursor == 4
        await chat.pilot.press("home", "up")
        assert wanted.has_focus
        await in_list(chat, "slash")
        assert wanted.has_focus
        assert wanted.value == ""


async def test_the_mouse_chooses(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "tomatoes")
        await chat.until(lambda: len(lines(chat)) == 2)
        await chat.pilot.click(Rows, offset=(10, 2))
        await chat.until(lambda: chat.app.screen is chat.app._chat)
        await chat.until(lambda: chat.session.conversation is not None)
        await chat.until(lambda: chat.transcript.marked == 0)


async def test_the_rest_of_many_passages_unfolds(run_chat, shelf, tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3")
    number, parent = store.create(title="Many").id, None
    for count in range(findings.PAGE + 30):
        parent = store.add_user(number, parent, f"heron {count}").id
    store.close()
    async with run_chat() as chat:
        await opened(chat, "heron")
        await chat.until(lambda: lines(chat)[-1].strip() == "… 86 more here")
        await to_row(chat, f"x{number}")
        await chat.pilot.press("enter")
        await chat.until(lambda: len(lines(chat)) == findings.PAGE + 31)
        assert "90 passages" in str(chat.app.screen.query_one(Rows).border_subtitle)


async def test_the_preview_shows_the_neighbours(run_chat, shelf):
    async with run_chat(size=LARGE) as chat:
        await opened(chat, "banda")
        await to_row(chat, f"m{shelf['other']}")
        pane = chat.app.screen.query_one("#library-preview Static", Static)
        await chat.until(lambda: "▸ Qwen3-4B-4bit\nPerché la banda" in str(pane.render()))
        assert str(pane.render()).startswith("You\nPerché 4 bit?")


async def test_untrusted_titles_and_passages_stay_text(run_chat, shelf):
    async with run_chat(size=LARGE) as chat:
        await opened(chat, "zebra")
        await chat.until(lambda: len(lines(chat)) == 2)
        assert "[bold]x[/] ␛[31mred" in lines(chat)[0]
        assert not any(character in "".join(lines(chat)) for character in "\x1b\x07")
        await in_list(chat, "e")
        await chat.until(lambda: isinstance(chat.app.screen, Picker))
        assert "[bold]x[/]" in chat.app.screen.query_one("#picker")._border_title.plain


async def test_branches_switch(run_chat, shelf):
    async with run_chat() as chat:
        await chat.app._chat.open(shelf["Perché 4 bit?"])
        await branches(chat)
        rows = chat.app.screen.query_one(Rows)
        assert list(rows.names) == [
            str(shelf[key]) for key in ("question", "first", "more", "other")
        ]
        assert rows.current == str(shelf["more"])
        assert "2/2" in lines(chat)[3]
        assert "Qwen3-4B-4bit" in lines(chat)[3]
        await chat.pilot.press("tab")
        assert rows.current == str(shelf["other"])
        await chat.pilot.press("enter")
        await chat.until(lambda: len(chat.shown) == 2)
        await chat.until(lambda: chat.transcript.marked == 1)
        leaf = await chat.app._archive.call(Store.conversation, shelf["Perché 4 bit?"])
        assert leaf.leaf_id == shelf["other"]


async def test_a_message_of_the_open_branch_is_only_looked_at(run_chat, shelf):
    async with run_chat() as chat:
        await chat.app._chat.open(shelf["Perché 4 bit?"])
        await branches(chat)
        await to_row(chat, str(shelf["question"]))
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.transcript.marked == 0)
        assert len(chat.shown) == 3


async def test_an_empty_chat_has_no_branches(run_chat):
    async with run_chat() as chat:
        chat.app._chat.action_do("branches")
        await chat.pilot.pause(0.1)
        assert chat.app.screen is chat.app._chat


async def test_the_cursor_begins_at_the_passage_unless_the_title_says_it(run_chat, shelf):
    async with run_chat() as chat:
        await opened(chat, "banda")
        rows = chat.app.screen.query_one(Rows)
        await chat.until(lambda: rows.current == f"m{shelf['other']}")
        chat.app._chat.action_do("search", "garden")
        await chat.until(lambda: rows.current == f"c{shelf['Garden']}")


async def test_a_file_that_cannot_be_read_is_said(run_chat, shelf, monkeypatch):
    def refuse(path, *, deleted=False):
        raise OutputError("The conversations could not be read: disk I/O error.", "Look.")

    async with run_chat() as chat:
        said = []
        monkeypatch.setattr(chat.app._chat, "say", lambda text, severity: said.append(text))
        monkeypatch.setattr(findings, "entries", refuse)
        await chat.pilot.press("ctrl+f")
        await chat.until(lambda: said)
        assert "disk I/O error" in said[0]
        await chat.pilot.press("escape")
        assert chat.app.screen is chat.app._chat


async def test_italian(run_chat, shelf):
    async with run_chat() as chat:
        use("it")
        try:
            await opened(chat, "xyzzy")
            await chat.until(lambda: lines(chat) == ["“xyzzy” non c’è da nessuna parte."])
            assert "indietro" in str(chat.app.screen.query_one("#library-keys", Static).render())
        finally:
            use("en")


def drawn(app, shelf, *steps):
    async def run(pilot):
        while app._chat.session.loaded is None:
            await pilot.pause(0.02)
        await app._chat.open(shelf["Perché 4 bit?"])
        for name, argument in steps:
            app._chat.action_do(name, argument)
        while not app.screen.query(Rows) or not app.screen.query_one(Rows).names:
            await pilot.pause(0.02)
        await app.workers.wait_for_complete()
        await pilot.press("down")
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()

    return run


@pytest.mark.parametrize("size", [TINY, SMALL, LARGE])
def test_library_is_drawn(snap_compare, make_app, shelf, size):
    app = make_app()
    run = drawn(app, shelf, ("search", "perche"))
    assert snap_compare(app, terminal_size=size, run_before=run)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_branches_are_drawn(snap_compare, make_app, shelf, size):
    app = make_app()
    assert snap_compare(app, terminal_size=size, run_before=drawn(app, shelf, ("branches", "")))
