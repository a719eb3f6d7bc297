"""Fixtures that every package's tests may use."""

from __future__ import annotations

import importlib.util
import lzma
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def qwen3_tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published tokenizer files of Qwen3, as beside a checkpoint's weights."""
    folder = tmp_path_factory.mktemp("qwen3")
    packed = (DATA / "qwen3" / "tokenizer.json.xz").read_bytes()
    (folder / "tokenizer.json").write_bytes(lzma.decompress(packed))
    shutil.copy(DATA / "qwen3" / "tokenizer_config.json", folder)
    return folder


def _module(name: str) -> ModuleType:
    """A module beside this file, which lies on no import path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running ``HubDouble`` that is the hub for this process and its children; an empty cache."""
    import huggingface_hub

    module = sys.modules.get("hub_double") or _module("hub_double")
    double = module.HubDouble()
    monkeypatch.setenv("HF_ENDPOINT", double.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    yield double
    double.close()
    huggingface_hub.close_session()
