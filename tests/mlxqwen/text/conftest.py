from __future__ import annotations

from pathlib import Path

import pytest

from mlxqwen.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(qwen3_tokenizer_dir: Path) -> Tokenizer:
    """The real tokenizer of Qwen3."""
    return Tokenizer.from_directory(qwen3_tokenizer_dir)
