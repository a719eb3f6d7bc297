"""What the screen of models, its dialogs, long work and the first run say."""

from __future__ import annotations

MODELS: dict[str, tuple[str, str]] = {
    "jobs.cannot_run": ("The command cannot be run: {error}.", "Il comando non parte: {error}."),
}
