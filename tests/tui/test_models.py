"""``mlxqwen models`` and ``mlxqwen models rm`` on a machine of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from mlxqwen.errors import UsageError
from tui.commands import models as module
from tui.commands.columns import columns
from tui.commands.models import models

CONFIG = {"model_type": "qwen3", "quantization": {"bits": 4, "group_size": 64}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("mine", "千问模型"):
        folder = tmp_path / "ours" / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "model.safetensors").write_bytes(b"0" * 2_000_000)
    part = tmp_path / "ours" / "models" / "begun.partial"
    part.mkdir()
    (part / ".mlxqwen-partial").touch()
    (part / "model.safetensors").write_bytes(b"0" * 3_000_000)
    return tmp_path


def test_columns_are_aligned_by_cells(home: Path) -> None:
    lines = CliRunner().invoke(models, []).stdout.splitlines()
    where = cell_len(lines[0][: lines[0].index("WHERE")])
    rows = [line for line in lines[1:] if "ours: " in line or "unfinished " in line]
    assert len(rows) == 3
    for line in rows:
        start = min(line.index(word) for word in ("ours: ", "unfinished ") if word in line)
        assert cell_len(line[:start]) == where
    assert any("begun" in line and "unfinished quantisation: ~/ours/" in line for line in rows)
    assert "3.0 MB" in rows[-1]


def test_records_say_what_is_unfinished(home: Path) -> None:
    records = json.loads(CliRunner().invoke(models, ["--json"]).stdout)
    found = {record["name"]: record["unfinished"] for record in records}
    assert found == {"guide": None, "mine": None, "千问模型": None, "begun": "quantisation"}


def test_columns() -> None:
    assert columns([]) == []
    assert columns([("a", "1"), ("千问", "22")], right={1}) == ["a      1", "千问  22"]


def test_rm_shows_what_goes_and_asks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    folder = home / "ours" / "models" / "mine"
    with monkeypatch.context() as patch:
        answers = iter([False, True])
        patch.setattr(module.typer, "confirm", lambda text, err: next(answers))
        patch.setattr(module.sys, "stdin", Terminal)
        module.rm("mine")
        assert folder.exists()
        module.rm("mine")
        assert not folder.exists()


def test_rm_without_anybody_to_ask(home: Path) -> None:
    result = CliRunner().invoke(models, ["rm", "mine"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint == "Give --yes."
    assert str(home / "ours" / "models" / "mine") in result.stderr
    done = CliRunner().invoke(models, ["rm", "begun", "--yes"])
    assert done.exit_code == 0
    assert "an unfinished model" in done.stderr
    assert "3.0 MB are free again" in done.stderr
    assert not (home / "ours" / "models" / "begun.partial").exists()
