"""Reading for the library: what matches, in which order, page by page, from which branch."""

from __future__ import annotations

import time

import pytest

from mlxqwen.errors import OutputError
from tui import findings
from tui.marks import mark_folded
from tui.screens.branches import LEVELS, grow
from tui.screens.library_rows import PASSAGES, arrange, flat
from tui.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "conversations.sqlite3"


@pytest.fixture
def store(path):
    store = Store.open(path)
    yield store
    store.close()


def talk(store, question, answer, title=""):
    conversation = store.create(title=title, model="guide")
    user = store.add_user(conversation.id, None, question)
    reply = store.start_answer(conversation.id, user.id, model="guide")
    return conversation, user, store.finish(reply.id, "done", answer, "")


def plain(passage):
    return "".join(run for run, _ in passage)


def matches(passage):
    return [run for run, match in passage if match]


@pytest.mark.parametrize(
    ("wanted", "text", "marked"),
    [
        ("perche", "Dimmi perché il cielo è blu", ["perché"]),
        ("PERCHÉ", "dimmi perche no", ["perche"]),
        ("cielo bl", "il cielo è blu", ["cielo", "blu"]),
        ("天空是", "为什么天空是蓝色的?", ["天空是"]),
        ("天空", "为什么天空是蓝色的?", ["天空"]),
        ("x[4", "def f(x): return x[42:]", ["x[4"]),
        ("c+", "I like C++ most", ["C+"]),
        ("100%", "it is 100% sure", ["100%"]),
    ],
)
def test_what_matches_is_marked(store, path, wanted, text, marked):
    _, user, _ = talk(store, text, "nothing of the sort")
    page = findings.search(path, wanted)
    assert [find.message_id for find in page.finds] == [user.id]
    assert matches(page.finds[0].passage) == marked
    shown = findings.surroundings(path, user.id, page.expression)
    assert matches(shown[0].text) == marked
    assert plain(shown[0].text) == text


def test_any_text_may_be_searched_for(store, path):
    talk(store, "something", "else")
    for wanted in ("", " ", '"', "'", "*", "AND", "NEAR(", "%", "_", "\x00", "\\", "()", "\ud83d"):
        assert findings.search(path, wanted).finds == ()


def test_pages_follow_each_other_newest_first(store, path):
    conversation = store.create()
    ids = []
    for number in range(findings.PAGE * 2 + 5):
        ids.append(store.add_user(conversation.id, ids[-1] if ids else None, f"sky {number}").id)
    page, found = findings.search(path, "sky"), []
    while True:
        found += [find.message_id for find in page.finds]
        if page.after is None:
            break
        page = findings.more(path, page.expression, page.after)
    assert found == ids[::-1]


def test_a_search_without_an_index_goes_on_stretch_by_stretch(store, path, monkeypatch):
    monkeypatch.setattr(findings, "SCAN", 3)
    _, first, _ = talk(store, "天空", "no")
    for _ in range(5):
        talk(store, "nothing", "here")
    page, steps = findings.search(path, "天空"), 0
    while not page.finds:
        assert page.after is not None
        page = findings.more(path, page.expression, page.after)
        steps += 1
    assert page.finds[0].message_id == first.id
    assert steps >= 3


def test_deleted_conversations_are_found_only_among_the_deleted(store, path):
    gone, user, _ = talk(store, "the sky", "is blue")
    talk(store, "the sea", "is blue")
    store.delete(gone.id)
    assert len(findings.search(path, "blue").finds) == 1
    assert [find.message_id for find in findings.search(path, "sky", deleted=True).finds] == [
        user.id
    ]
    assert [entry.id for entry in findings.entries(path, deleted=True)] == [gone.id]
    store.restore(gone.id)
    assert findings.entries(path, deleted=True) == []
    assert len(findings.search(path, "blue").finds) == 2


def test_surroundings_are_those_of_the_message_s_own_branch(store, path):
    conversation, user, first = talk(store, "root", "first answer")
    second = store.start_answer(conversation.id, user.id, model="guide")
    store.finish(second.id, "done", "second answer", "")
    after = store.add_user(conversation.id, first.id, "after the first")
    shown = findings.surroundings(path, first.id)
    assert [item.message_id for item in shown] == [user.id, first.id, after.id]
    assert findings.on_open_branch(path, first.id)
    assert not findings.on_open_branch(path, second.id)


def test_a_long_message_is_cut_around_its_match(store, path):
    _, user, _ = talk(store, "word " * 5000 + "needle " + "word " * 5000, "no")
    page = findings.search(path, "needle")
    assert matches(page.finds[0].passage) == ["needle"]
    shown = findings.surroundings(path, user.id, page.expression)[0]
    assert matches(shown.text) == ["needle"]
    assert len(plain(shown.text)) < 5000
    assert plain(shown.text).startswith("…")


def test_reading_sees_what_was_saved_and_refuses_a_file_that_is_none(store, path, tmp_path):
    talk(store, "now", "saved")
    assert len(findings.entries(path)) == 1
    other = tmp_path / "other.sqlite3"
    other.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(OutputError, match="could not be read"):
        findings.entries(other)


def test_titles_are_marked_without_case_and_accents():
    assert mark_folded("Perché no? PERCHE si", "perché") == (
        ("Perché", True),
        (" no? ", False),
        ("PERCHE", True),
        (" si", False),
    )
    assert mark_folded("Straße", "strasse") == (("Straße", True),)
    assert mark_folded("abc", "") == (("abc", False),)


def test_rows_group_passages_and_hold_back_most(store, path):
    conversation, user, _ = talk(store, "sky 0", "no", title="Weather")
    parent = user.id
    for number in range(1, PASSAGES + 3):
        parent = store.add_user(conversation.id, parent, f"sky {number}").id
    other, *_ = talk(store, "nothing", "at all", title="About the SKY")
    page, entries = findings.search(path, "sky"), findings.entries(path)
    rows = arrange(entries, page.finds, "sky")
    assert [row.name for row in rows[:2]] == [f"c{other.id}", f"c{conversation.id}"]
    assert [bool(row.find) for row in rows[2:-1]] == [True] * PASSAGES
    assert rows[-1].rest == 3
    unfolded = arrange(entries, page.finds, "sky", frozenset({conversation.id}))
    assert sum(row.find is not None for row in unfolded) == PASSAGES + 3


def test_a_passage_on_one_line_shows_its_match_in_little_room():
    text = (("a long way to go before\nthe ", False), ("needle", True), (" in\tthe hay", False))
    shown = flat(text, 20)
    line = plain(shown)
    assert line.index("needle") + len("needle") <= 20
    assert "\n" not in line
    assert "\t" not in line


def test_untrusted_text_is_cleaned_for_a_row():
    shown = flat((("\x1b[31mred\x1b]0;title\x07", False), ("hit\u202e", True)), 60)
    assert not any(character in plain(shown) for character in "\x1b\x07\u202e")


def node(number, parent, role="user"):
    return findings.Node(number, parent, role, f"text {number}", "done", "", 0.0)


def test_the_tree_is_straight_where_nothing_forks():
    twigs = grow([node(1, None), node(2, 1), node(3, 2), node(4, 2), node(5, 3), node(6, 4)], 6)
    assert [(twig.node.id, twig.rails, twig.version) for twig in twigs] == [
        (1, "", (1, 1)),
        (2, "", (1, 1)),
        (3, "├ ", (1, 2)),
        (5, "│ ", (1, 1)),
        (4, "└ ", (2, 2)),
        (6, "  ", (1, 1)),
    ]
    assert [twig.node.id for twig in twigs if twig.on_branch] == [1, 2, 4, 6]


def test_a_deep_tree_takes_linear_time_and_bounded_room():
    nodes, parent = [node(1, None)], 1
    for number in range(2, 20_000, 2):
        nodes += [node(number, parent), node(number + 1, parent)]
        parent = number + 1
    began = time.process_time()
    twigs = grow(nodes, parent)
    assert time.process_time() - began < 2.0
    assert len(twigs) == len(nodes)
    assert max(len(twig.rails) for twig in twigs) <= 2 * (LEVELS + 1)
