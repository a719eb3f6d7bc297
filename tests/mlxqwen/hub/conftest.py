"""A machine with nothing on it: every folder that the library reads lies in ``tmp_path``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}

MakeModel = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home, our folder and the hub cache, all empty; also the working folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


@pytest.fixture
def make_model() -> MakeModel:
    """Writes a folder that looks like a model: its configuration and weight files of some size."""

    def make(path: Path, *, size: int = 100, shards: int = 1, **config: Any) -> Path:
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(SMALL | config))
        if shards == 1:
            (path / "model.safetensors").write_bytes(b"\0" * size)
            return path
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        for name in names:
            (path / name).write_bytes(b"\0" * size)
        weight_map = {f"layer.{i}": name for i, name in enumerate(names)}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return path

    return make


@pytest.fixture
def cached(machine: Path, make_model: MakeModel) -> MakeModel:
    """Puts a model into the hub cache as the hub's own library lays it out, links included."""

    def make(hub_id: str, *, revision: str = "a" * 40, main: bool = True, **how: Any) -> Path:
        repository = machine / "hub" / ("models--" + hub_id.replace("/", "--"))
        snapshot = make_model(repository / "snapshots" / revision, **how)
        blobs = repository / "blobs"
        blobs.mkdir(exist_ok=True)
        for file in list(snapshot.iterdir()):
            blob = blobs / f"{revision[:4]}-{file.name}"
            file.rename(blob)
            file.symlink_to(blob)
        if main:
            (repository / "refs").mkdir(exist_ok=True)
            (repository / "refs" / "main").write_text(revision)
        return snapshot

    return make
