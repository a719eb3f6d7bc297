"""Fixtures that every package's tests may use."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

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
