"""Where the interface keeps its files."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of everything mlxqwen keeps: ``MLXQWEN_HOME``, or the user's data folder."""
    override = os.environ.get("MLXQWEN_HOME")
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_data_dir("mlxqwen", appauthor=False))


def conversations_file() -> Path:
    """The SQLite file with all conversations."""
    return home() / "conversations.sqlite3"
