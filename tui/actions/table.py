"""Every action once: its name, key, slash command and place in the help.

Names are those of the words (``action.NAME`` and ``action.NAME.help``), of the settings' ``keys``,
and of the handlers that carry them out. Keys that macOS terminals, tmux or screen keep for
themselves are not used: Ctrl+A B H I M Q S Y Z O [ and Space, Ctrl with arrows or Tab, Alt, F11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["write", "read", "go", "keep", "tune"]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        key: The default key, as Textual spells it; "" for none.
        slash: What to type for it, with its slash; "" for none.
        argument: What may follow the slash command, for people to read.
    """

    name: str
    group: Group
    key: str = ""
    slash: str = ""
    argument: str = ""


ACTIONS: tuple[Action, ...] = (
    Action("stop", "write", "escape"),
    Action("regenerate", "write", "ctrl+r", "/regen"),
    Action("continue", "write", "", "/continue"),
    Action("edit", "write", "", "/edit"),
    Action("editor", "write", "ctrl+g"),
    Action("attach", "write", "", "/attach", "FILE"),
    Action("think", "write", "", "/think", "on|off|hide|show|auto|TOKENS"),
    Action("fold", "read", "ctrl+t"),
    Action("copy", "read", "", "/copy", "[N]"),
    Action("stats", "read", "", "/stats"),
    Action("new", "go", "ctrl+n", "/new"),
    Action("search", "go", "ctrl+f", "/search", "WORDS"),
    Action("models", "go", "ctrl+l", "/model", "[NAME]"),
    Action("branches", "go", "", "/branch"),
    Action("fork", "keep", "", "/fork"),
    Action("rename", "keep", "", "/rename", "TITLE"),
    Action("pin", "keep", "", "/pin"),
    Action("export", "keep", "", "/export", "md|json|html [FILE]"),
    Action("delete", "keep", "", "/delete"),
    Action("undo", "keep", "", "/undo"),
    Action("system", "tune", "", "/system", "[TEXT]"),
    Action("persona", "tune", "", "/persona", "[NAME]"),
    Action("set", "tune", "", "/set", "[NAME VALUE]"),
    Action("context", "tune", "", "/context", "[TOKENS]"),
    Action("quantize", "tune", "", "/quantize", "[SOURCE]"),
    Action("language", "tune", "", "/lang", "en|it"),
    Action("theme", "tune", "", "/theme", "[NAME]"),
    Action("settings", "tune", "", "/settings"),
    Action("doctor", "tune", "", "/doctor"),
    Action("help", "go", "f1", "/help"),
    Action("quit", "go", "", "/quit"),
)

BY_NAME = {action.name: action for action in ACTIONS}
BY_SLASH = {action.slash: action for action in ACTIONS if action.slash}
