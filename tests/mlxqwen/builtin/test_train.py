"""The training program: options, checkpoint layout, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.builtin import train
from mlxqwen.builtin.export import checkpoint_tensors, hf_config, initial_parameters
from mlxqwen.model.config import ModelConfig


def options(output: Path) -> list[str]:
    small = [
        "--steps",
        "4",
        "--rows",
        "4",
        "--length",
        "24",
        "--warmup",
        "2",
        "--save-every",
        "2",
        "--show-every",
        "4",
    ]
    return ["--output", str(output), *small]


@pytest.fixture(autouse=True)
def one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_QUESTIONS", ("Ciao!",))


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "mlxqwen quantize" in text
    for option in ("--output", "--steps", "--round-from", "--long-from", "--seed"):
        assert option in text


def test_a_stopped_run_ends_where_an_unstopped_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main(options(whole)) == 0
    assert "Ciao!" in capsys.readouterr().out

    advance = train.Training.advance

    def interrupted(self: train.Training, *arguments: object) -> tuple[float, float]:
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "advance", interrupted)
        assert train.main(options(parts)) == 130
    assert train.main(options(parts)) == 0

    ours, theirs = (mx.load(str(folder / "model.safetensors")) for folder in (parts, whole))
    assert ours.keys() == theirs.keys()
    assert all(bool(mx.array_equal(ours[name], theirs[name])) for name in ours)

    config = json.loads((whole / "config.json").read_text())
    tokenizer = json.loads((whole / "tokenizer_config.json").read_text())
    assert tokenizer["added_tokens_decoder"][str(config["eos_token_id"])]["content"] == "<|im_end|>"
    assert not list(whole.glob("*.partial*"))


def test_checkpoint_has_hugging_faces_names() -> None:
    config = ModelConfig.parse(hf_config())
    tensors = checkpoint_tensors(initial_parameters(config, 0))
    assert tensors["model.layers.3.mlp.experts.7.down_proj.weight"].shape == (256, 128)
    assert tensors["model.layers.0.mlp.gate.weight"].shape == (8, 256)
    assert "lm_head.weight" not in tensors
    assert all(value.dtype == mx.bfloat16 for value in tensors.values())
    assert not any("switch_mlp" in name for name in tensors)
    assert sum(value.size for value in tensors.values()) == 4_991_744
