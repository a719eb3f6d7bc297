"""The editor that a person has chosen for text."""

from __future__ import annotations

import os
import shlex
import shutil


def editor_command() -> list[str]:
    """``$VISUAL`` or ``$EDITOR`` with its options; [] where none is set, or it is not there."""
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(name, ""))
        except ValueError:
            continue
        if words and shutil.which(words[0]):
            return words
    return []
