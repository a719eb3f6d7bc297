"""Exports: nothing lost in JSON, nothing alive in HTML, nothing overwritten anywhere."""

from __future__ import annotations

import html.parser
import json
import re
import sqlite3
from contextlib import closing

import pytest

from mlxqwen.errors import OutputError
from tui import export as exports
from tui.export import Order, export, order
from tui.export.markdown import contained
from tui.export.page import POLICY, markup
from tui.export.source import COLUMNS
from tui.export.write import file_name
from tui.records import Attachment, Statistics
from tui.store import Store

NOW = 1_700_000_000.0
HOSTILE = """\
<script>alert(1)</script><img src=x onerror=alert(2)> </p></body></html>
![track](https://evil.example/pixel.png) [run](javascript:alert(3)) [web](https://example.org/?a=1&b="2")
[data](data:text/html,x) <https://auto.example> [ref][r]
\x1b[31mred\x1b]0;owned\x07 \u202eback

| a | b |
|---|--:|
| 1 | 2 |

```html" onmouseover="x
<b>code</b>
```

[r]: vbscript:x
"""


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: NOW)
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def filled(store, title="Why?", text="Because **so**.", question="Why?\n<b>really</b>"):
    """Two answers to one question, the first of them gone on with; the second branch is open."""
    conversation = store.create(title=title, model="qwen/Qwen3-4B", system="Be <brief>.")
    user = store.add_user(
        conversation.id, None, question, [Attachment("a<b>.txt", "attached\n</details>")]
    )
    figures = Statistics(n_prompt=8, n_gen=90, ttft_ms=210.0, tok_s=61.5, thinking_ms=3100.0)
    first = store.start_answer(
        conversation.id, user.id, model="qwen/Qwen3-4B", params={"temperature": 0.7}, seed=7
    )
    store.finish(first.id, "done", "the first", "hm </details> ``` hm", statistics=figures)
    store.add_user(conversation.id, first.id, "gone on with")
    second = store.start_answer(conversation.id, user.id, model="qwen/Qwen3-4B")
    store.finish(second.id, "stopped", text, "thought\n</details>", statistics=figures)
    return conversation.id


def written(store, number, kind, folder, file=""):
    path = export(store.path, number, kind, file, folder=folder, now=NOW)
    return path, path.read_text(encoding="utf-8")


def test_json_holds_the_whole_tree(store, folder):
    number = filled(store)
    _, text = written(store, number, "json", folder)
    data = json.loads(text)
    assert (data["format"], data["version"]) == ("mlxqwen-conversation", 1)
    assert (data["title"], data["system"], data["pinned"]) == ("Why?", "Be <brief>.", False)
    with closing(sqlite3.connect(store.path)) as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM message ORDER BY id")
        stored = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    for message, row in zip(data["messages"], stored, strict=True):
        row["params"] = json.loads(row.pop("params_json"))
        attachments = message.pop("attachments")
        assert message == row
        assert bool(attachments) is (message["parent_id"] is None)
    assert data["leaf_id"] == data["messages"][-1]["id"]
    assert data["messages"][1]["params"] == {"temperature": 0.7}


def test_json_goes_round(store, folder, tmp_path):
    """What was exported, put into an empty file, exports to the same bytes."""
    number = filled(store, text=HOSTILE)
    _, text = written(store, number, "json", folder)
    data = json.loads(text)
    path = tmp_path / "again.sqlite3"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO conversation (id, title, leaf_id, model_id, system, params_json, pinned, "
            "updated_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (
                data["title"],
                data["leaf_id"],
                data["model"],
                data["system"],
                json.dumps(data["params"]),
                data["pinned"],
                data["updated_at"],
            ),
        )
        for message in data["messages"]:
            message["params_json"] = json.dumps(message["params"])
            marks = ", ".join("?" * len(COLUMNS))
            connection.execute(
                f"INSERT INTO message (conversation_id, {', '.join(COLUMNS)}) VALUES (1, {marks})",
                [message[name] for name in COLUMNS],
            )
            for place, part in enumerate(message["attachments"]):
                connection.execute(
                    "INSERT INTO blob (sha256, text) VALUES (?, ?)", (part["sha256"], part["text"])
                )
                connection.execute(
                    "INSERT INTO attachment (message_id, place, sha256, name, mime) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (message["id"], place, part["sha256"], part["name"], part["mime"]),
                )
    again = export(path, 1, "json", "again.json", folder=folder, now=NOW)
    assert again.read_text(encoding="utf-8") == text


def test_no_file_holds_what_a_terminal_acts_on(store, folder):
    number = filled(store, title="\x1b]0;x\x07title", text=HOSTILE, question=HOSTILE)
    for kind in exports.FORMATS:
        _, text = written(store, number, kind, folder)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_markdown_is_the_open_branch(store, folder):
    _, text = written(store, filled(store), "md", folder)
    assert text.startswith("# Why?\n")
    assert "## You\n" in text
    assert "## Qwen3-4B · 62 tok/s · 1.7 s · stopped\n" in text
    assert "Because **so**." in text
    assert "<summary>Thought for 3.1 s</summary>" in text
    assert "the first" not in text
    assert "a&lt;b>.txt" in text


@pytest.mark.parametrize(
    "text", ["```python\nopen", "<!-- open", "<details>\n<pre>\nopen", "~~~~\n```", "<script>\nx"]
)
def test_no_message_reaches_beyond_its_end_in_markdown(text):
    kept = contained(text)
    assert kept != text
    assert text in kept
    assert contained(kept) == kept


def test_markdown_that_is_closed_stays_as_it_is():
    for text in (
        "plain",
        "```\nx\n```",
        "- a\n- b\n\n    c",
        "> q",
        "| a |\n|---|\n| b |",
        "a <b>x</b><br>",
    ):
        assert contained(text) == text


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_inert_whatever_the_model_wrote(store, folder):
    number = filled(store, title="<script>1</script>", text=HOSTILE, question=HOSTILE)
    _, text = written(store, number, "html", folder)
    page = Tags()
    page.feed(text)
    page.close()
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "form", "base", "svg"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert "src" not in attributes
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["https://example.org/?a=1&b=%222%22", "https://auto.example"]
    policies = [attributes.get("content") for tag, attributes in page.tags if tag == "meta"]
    assert POLICY in policies
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY


def test_html_shows_the_markdown_of_answers_only(store, folder):
    number = filled(
        store, text="a **bold** word\n\n| a |\n|--:|\n| 1 |", question="a **plain** one"
    )
    _, text = written(store, number, "html", folder)
    assert "<strong>bold</strong>" in text
    assert "a **plain** one" in text
    assert '<td class="right">1</td>' in text


def test_an_image_is_named_and_a_foreign_link_is_text():
    shown = markup("![a cat](http://x.example/c.png) and [mail](mailto:a@b.example)")
    assert "<img" not in shown
    assert "[a cat](http://x.example/c.png)" in shown
    assert "<a " not in shown
    assert "mail" in shown


def test_a_file_that_is_there_is_never_touched(store, folder):
    number = filled(store)
    first, _ = written(store, number, "md", folder)
    first.write_text("mine")
    second, _ = written(store, number, "md", folder)
    third, _ = written(store, number, "md", folder, "why.md")
    assert [path.name for path in (first, second, third)] == ["why.md", "why-2.md", "why-3.md"]
    assert first.read_text() == "mine"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Why is the sky blue?", "why-is-the-sky-blue"),
        ("../../etc/passwd", "etc-passwd"),
        ("/absolute\\path", "absolute-path"),
        ("-rf ~", "rf"),
        (".hidden", "hidden"),
        ("\x00\x1b[0m\n", "0m"),
        ("Perché 量子化", "perché-量子化"),
        ("…", "chat"),
        ("", "chat"),
    ],
)
def test_a_title_becomes_a_harmless_name(title, name):
    assert file_name(title) == name


def test_a_long_title_becomes_a_name_that_file_systems_take():
    assert len(file_name("量" * 500).encode()) <= 120


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("", Order("md")),
        ("html", Order("html")),
        ("JSON", Order("json")),
        ("md my notes.txt", Order("md", "my notes.txt")),
        ('html "a b.html"', Order("html", "a b.html")),
        ("notes/chat.html", Order("html", "notes/chat.html")),
        ("pdf", None),
        ("pdf x.pdf", None),
    ],
)
def test_what_export_understands(argument, wanted):
    assert order(argument) == wanted


def test_a_folder_may_be_named(store, folder):
    path, _ = written(store, filled(store), "md", folder.parent, "out")
    assert path == folder / "why.md"


def test_a_refusal_is_one_sentence_and_leaves_nothing(store, folder):
    number = filled(store)
    with pytest.raises(OutputError, match=r"missing/x\.md cannot be written: No such file"):
        written(store, number, "md", folder, "missing/x.md")
    assert list(folder.iterdir()) == []


def test_what_cannot_be_finished_is_removed(store, folder, monkeypatch):
    def fail(source, now):
        yield "half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tui.export.write._PIECES", {"md": fail})
    with pytest.raises(OutputError, match="No space left on device"):
        written(store, filled(store), "md", folder)
    assert list(folder.iterdir()) == []


def test_a_long_conversation_is_written_piece_by_piece(store, folder):
    conversation = store.create(title="Long")
    parent = None
    for number in range(200):
        parent = store.add_user(conversation.id, parent, f"message {number}").id
    _, text = written(store, conversation.id, "md", folder)
    found = [int(number) for number in re.findall(r"^message (\d+)$", text, re.MULTILINE)]
    assert found == list(range(200))
