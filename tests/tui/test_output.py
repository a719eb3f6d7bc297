"""What reaches a terminal from names and words in files, and how the chat ends when it must."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from rich.table import Table

from mlxqwen.errors import TemplateError
from tui.commands import output
from tui.commands.failures import reported

CLI = [sys.executable, "-m", "tui.cli"]
NAME = "bad\x1b[2J\nname"
KIND = "kind\x1b]0;owned\x07\x9b31m"


@pytest.fixture
def env(tmp_path):
    """A machine with one model on it, whose maker means ill."""
    model = tmp_path / "models" / NAME
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"model_type": KIND}))
    (model / "model.safetensors").write_bytes(b"")
    return {
        **{name: value for name, value in os.environ.items() if name != "MLXQWEN_DEBUG"},
        "MLXQWEN_HOME": str(tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "TERM": "xterm-256color",
        "NO_COLOR": "1",
    }


def on_terminal(command, env, **redirected):
    """(exit status, what a terminal was sent)."""
    parent, child = pty.openpty()
    streams = {"stdin": child, "stdout": child, "stderr": child, **redirected}
    process = subprocess.Popen(command, env=env, start_new_session=True, **streams)
    os.close(child)
    seen = b""
    try:
        while piece := os.read(parent, 65_536):
            seen += piece
    except OSError:  # what Linux says at the end of a terminal
        pass
    os.close(parent)
    return process.wait(20), seen.decode().replace("\r\n", "\n")


def test_names_of_models_cannot_act_on_the_terminal(env):
    status, shown = on_terminal([*CLI, "models"], env)
    assert status == 0
    assert "bad␛[2J name" in shown
    assert "kind␛]0;owned␇\ufffd31m" in shown
    assert not set(shown) & set("\x1b\x07\x9b")
    status, shown = on_terminal([*CLI, "models", "show", NAME], env)
    assert status == 1
    assert not set(shown) & set("\x1b\x07\x9b")


def test_json_is_ascii_for_terminals_only(env):
    status, shown = on_terminal([*CLI, "models", "--json"], env)
    assert status == 0
    assert shown.isascii()
    assert "\x1b" not in shown
    assert KIND in {record["model_type"] for record in json.loads(shown)}
    piped = subprocess.run([*CLI, "models", "--json"], env=env, capture_output=True, check=True)
    assert json.loads(piped.stdout) == json.loads(shown)
    assert "\x9b".encode() in piped.stdout


def test_errors_are_harmless(capsys, monkeypatch):
    monkeypatch.delenv("MLXQWEN_DEBUG", raising=False)
    with pytest.raises(SystemExit), reported():
        raise TemplateError("It says \x1b[2J\x9b31m\r\ud800.")
    assert capsys.readouterr().err == "mlxqwen: It says ␛[2J\ufffd31m\ufffd.\n"


def test_notices_are_harmless(capsys):
    output.tell("Tensor \x1b[2J")
    assert capsys.readouterr().err == "Tensor ␛[2J\n"


def test_tables_keep_their_own_styles_only(capsys, monkeypatch):
    table = Table("NAME\x1b[2J", style="red")
    table.add_row("cell\x1b]0;owned\x9b")
    output.show(table)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "cell␛]0;owned\ufffd" in shown
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.show(table)
    shown = capsys.readouterr().out
    assert "\x1b[31m" in shown
    assert "cell␛]0;owned\ufffd" in shown


def test_the_chat_is_not_opened_where_nobody_sees_it(env, tmp_path):
    with (tmp_path / "log").open("w+b") as log:
        status, shown = on_terminal(CLI, env, stderr=log)
        log.seek(0)
        assert (status, shown) == (2, "")
        assert b"standard error, which is not a terminal" in log.read()


BROKEN = """
    import os, sys
    from tui.app import MlxqwenApp
    from tui.commands.root import app
    def on_mount(self):
        raise ValueError("sorry\\x1b[2J")
    def leave(self):
        self.exit(return_code=3)
    MlxqwenApp.on_mount = on_mount if sys.argv.pop(1) == "raise" else leave
    app(prog_name="mlxqwen")
"""


def test_a_mistake_of_the_chat_is_one_sentence(env):
    command = [sys.executable, "-c", textwrap.dedent(BROKEN), "raise"]
    status, shown = on_terminal(command, env)
    assert status == 1
    assert "mlxqwen: The chat ended because of a mistake in it (ValueError: sorry␛[2J)." in shown
    assert "Traceback" not in shown
    status, shown = on_terminal([*command, "--debug"], env)
    assert status == 1
    assert "Traceback" in shown


def test_the_status_of_the_chat_is_that_of_the_process(env):
    command = [sys.executable, "-c", textwrap.dedent(BROKEN), "leave"]
    assert on_terminal(command, env)[0] == 3


def test_json_of_a_path_that_is_no_text_is_json(capfdbinary):
    output.dump_json({"path": os.fsdecode(b"odd\xff"), "word": "perché"})
    output.dump_json({"word": "perché"})
    odd, plain = capfdbinary.readouterr().out.splitlines()
    assert json.loads(odd.decode("ascii")) == {"path": "odd\udcff", "word": "perché"}
    assert "perché" in plain.decode()
