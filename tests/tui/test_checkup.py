"""What the doctor finds in the files, and what it makes of what the machine says."""

from __future__ import annotations

import sys

import pytest

from mlxqwen.hub.library import LocalModel
from tui import checkup
from tui.store import Store


@pytest.fixture
def conversations(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    store = Store.open(path)
    chat = store.create(title="A chat", model="guide")
    parent = None
    for number in range(300):
        parent = store.add_user(chat.id, parent, f"message {number} " * 20).id
    store.close()
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path))
    return tmp_path


def files(conversations, settings="settings.toml", models=()):
    found = checkup.files(conversations, conversations.with_name(settings), models)
    return {finding.name: finding for finding in found}


def test_sound_files(conversations, home):
    (home / "settings.toml").write_text('theme = "nord"\n')
    (home / "conversations.sqlite3.v1.backup").write_bytes(b"x" * 2000)
    model = LocalModel("mine", home, "ours", 5_000_000_000, 4.0, "qwen3", 0.0)
    elsewhere = LocalModel("theirs", home, "hub cache", 1, 4.0, "qwen3", 0.0)
    found = files(conversations, models=[model, elsewhere])
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["conversations"].value.endswith(" kB, sound")
    assert found["backups"].value == "conversations.sqlite3.v1.backup (2.0 kB)"
    assert found["models folder"].value.endswith("models: 1 model, 5.0 GB")


def test_nothing_is_there_yet(home):
    found = files(home / "conversations.sqlite3")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["conversations"].value.endswith("not made yet")


@pytest.mark.parametrize(("offset", "length"), [(0, 100), (4096, 8192), (30_000, 4096)])
def test_a_damaged_file_is_a_problem_with_a_remedy(conversations, home, offset, length):
    with conversations.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * length)
    finding = files(conversations)["conversations"]
    assert finding.state == "problem"
    assert "damaged" in finding.value or "cannot be opened" in finding.value
    assert "backup" in finding.remedy


def test_a_damaged_settings_file(conversations, home):
    (home / "settings.toml").write_text("theme = ")
    finding = files(conversations)["settings"]
    assert (finding.state, finding.remedy) == ("note", "Mend or remove it.")


def test_who_writes(conversations):
    assert checkup.writing(conversations, read_only=False).state == "ok"
    finding = checkup.writing(conversations, read_only=True)
    assert (finding.state, finding.remedy) == ("note", "Close the other one to write here.")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit('no such thing')", "no such thing"),
        ("print('{')", "exit status 0"),
        ('print(\'{"findings": [{"colour": 1}]}\')', "exit status 0"),
    ],
)
async def test_a_machine_that_cannot_be_looked_at(program, told):
    (finding,) = await checkup.machine((sys.executable, "-c", program))
    assert finding.state == "problem"
    assert told in finding.value


async def test_what_the_machine_says():
    found = await checkup.machine()
    names = {finding.name for finding in found}
    assert {"system", "processor", "MLX", "memory"} <= names
    assert not {"terminal", "conversations"} & names
