"""The interface's sentences in the languages it speaks.

A key names a sentence; values fill its places: ``say("chat.code_copied", number=2)``. Numbers that
change the words around them go through ``plural``. Each part of the interface has its table, with
the languages side by side, so that none can be forgotten. The language is one per process, as with
``gettext``; whoever changes it shows anew what is on the screen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from .actions import ACTIONS
from .chat import CHAT
from .doctor import DOCTOR
from .forecast import FORECAST
from .help import HELP
from .keys import KEYS
from .library import LIBRARY
from .models import MODELS
from .plain import PLAIN
from .prompt import PROMPT
from .session import SESSION
from .settings import SETTINGS
from .status import STATUS
from .trouble import TROUBLE

Language = Literal["en", "it"]
LANGUAGES: Mapping[Language, str] = {"en": "English", "it": "Italiano"}

TABLES: tuple[Mapping[str, tuple[str, str]], ...] = (
    ACTIONS,
    CHAT,
    DOCTOR,
    FORECAST,
    HELP,
    KEYS,
    LIBRARY,
    SESSION,
    SETTINGS,
    MODELS,
    PLAIN,
    PROMPT,
    STATUS,
    TROUBLE,
)
"""Key → (English, Italian), by part of the interface."""

_PLACES: tuple[Language, ...] = ("en", "it")
_SENTENCES = {key: pair for table in TABLES for key, pair in table.items()}
_place = 0


def use(language: Language) -> None:
    """Speak ``language`` from now on."""
    global _place
    _place = _PLACES.index(language)


def language() -> Language:
    """The language spoken now."""
    return _PLACES[_place]


def system_language() -> Language:
    """What the environment asks for, as far as it is spoken here; else English."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        wanted = os.environ.get(variable, "")
        if wanted:
            return "it" if wanted.lower().startswith("it") else "en"
    return "en"


def known(key: str) -> bool:
    """Whether there is a sentence ``key``."""
    return key in _SENTENCES


def say(key: str, /, **values: object) -> str:
    """The sentence ``key`` with ``values`` in their places. An unknown key raises KeyError."""
    return _SENTENCES[key][_place].format(**values)


def plural(key: str, number: int, /, **values: object) -> str:
    """``key.one`` or ``key.many`` with ``number`` among the values."""
    return say(f"{key}.one" if number == 1 else f"{key}.many", number=number, **values)
