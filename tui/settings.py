"""Where the interface keeps its files."""

from __future__ import annotations

from pathlib import Path

from mlxqwen.hub.library import data_folder


def conversations_file() -> Path:
    """The SQLite file with all conversations, in the folder of everything mlxqwen keeps."""
    return data_folder() / "conversations.sqlite3"
