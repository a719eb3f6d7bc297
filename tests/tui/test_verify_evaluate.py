"""``mlxqwen verify`` and ``mlxqwen evaluate``: what they say, and their exit status."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from tui.commands.root import app


@pytest.fixture
def own(home, tmp_path, monkeypatch):
    """Our folder of models, with ``tiny`` and the same in 4 bits."""
    models = tmp_path / "own" / "models"
    models.mkdir(parents=True)
    shutil.copytree(home / "models" / "tiny", models / "tiny")
    monkeypatch.setenv("MLXQWEN_HOME", str(models.parent))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MLXQWEN_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["quantize", "tiny"]).exit_code == 0
    return models


@pytest.fixture
def run(own):
    def call(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return call


def test_a_whole_model(run, own):
    for name in ("tiny-4bit", own / "tiny-4bit"):
        done = run("verify", name)
        assert done.exit_code == 0, done.stderr
        assert "is whole." in done.stdout
        assert "2 layers, every number finite" in done.stdout
    record = json.loads(run("verify", "tiny-4bit", "--json").stdout)
    assert record["ok"]
    assert record["problems"] == []
    assert record["manifest"]


def test_one_flipped_bit(run, own):
    weights = own / "tiny-4bit" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-10] ^= 1
    weights.write_bytes(data)
    done = run("verify", "tiny-4bit")
    assert done.exit_code == 1
    assert "model.safetensors is damaged" in done.stderr
    assert "is whole" not in done.stdout
    found = run("verify", "tiny-4bit", "--json")
    assert found.exit_code == 1
    assert not json.loads(found.stdout)["ok"]


def test_what_is_missing(run, own):
    (own / "tiny-4bit" / "model.safetensors").unlink()
    done = run("verify", "tiny-4bit")
    assert done.exit_code == 1
    assert "model.safetensors" in done.stderr
    assert run("verify", "none").exit_code == 1


def test_what_is_not_finished(run, own):
    from quantize.partial import PartialFolder

    with PartialFolder(own / "next") as folder:
        folder.source.mkdir()
        for name in (own / "next", own / "next.partial"):
            done = run("verify", name)
            assert done.exit_code == 1
            assert "is not finished" in done.stderr
            assert "mlxqwen quantize" in done.stderr


def test_a_model_that_others_made(run, own):
    done = run("verify", "tiny")
    assert done.exit_code == 0
    assert "loads and computes." in done.stdout
    assert "is whole" not in done.stdout
    assert "would not be noticed" in done.stderr


@pytest.mark.parametrize("columns", [40, 100])
def test_an_evaluation(run, own, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    picture = tmp_path / "picture.svg"
    options = ["--against", "tiny", "--tokens", "128", "--plot", picture]
    done = run("evaluate", "tiny-4bit", *options)
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    for words in ("tiny-4bit against tiny", "KL from", "Perplexity", "PART", "embedding", "nats"):
        assert words in told, words
    assert max(cell_len(line) for line in done.stdout.splitlines()) <= columns
    assert xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert str(picture) in done.stderr


def test_figures_for_programs(run, own, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("Some words that nobody calibrated on. " * 20)
    done = run("evaluate", "tiny-4bit", "--against", "tiny", "--text", text, "--json")
    record = json.loads(done.stdout)
    assert record["text"] == str(text)
    assert record["bits"] < 16
    assert record["source_bits"] == 32
    assert record["kl"]["value"] > 0
    assert record["parts"]
    same = json.loads(run("evaluate", "tiny", "--against", "tiny", "-n", "64", "--json").stdout)
    assert same["kl"]["value"] == 0


def test_what_cannot_be_evaluated(run, own, tmp_path):
    for options, status, words in (
        ([], 2, "--against"),
        (["--against", "none"], 1, "none"),
        (["--against", "tiny", "--tokens", "1"], 2, "tokens"),
        (["--against", "tiny", "--plot", "picture.png"], 2, ".svg"),
        (["--against", "tiny", "--text", tmp_path / "none.txt"], 2, "none.txt"),
        (["--against", "guide"], 2, "not forms of one model"),
    ):
        done = run("evaluate", "tiny-4bit", *options)
        assert done.exit_code == status, (options, done.stderr)
        assert words in done.stderr, (options, done.stderr)
        assert done.stdout == ""
