"""Actions on the program itself: how it looks, speaks and is set, and whether it is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..themes import theme_called, theme_names
from ..words import LANGUAGES, say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def settings(chat: ChatScreen, argument: str) -> None:
    """Everything that can be set, on one page."""
    from ..screens.settings import SettingsScreen

    chat.app.push_screen(SettingsScreen(chat))


async def theme(chat: ChatScreen, argument: str) -> None:
    """Wear the theme that was named; without a name, try them on."""
    if argument.strip():
        name = theme_called(argument, chat.app.available_themes)
        if name is None:
            used = chat.settings.theme
            chat.say(say("settings.no_theme", name=argument.strip(), used=used), "warning")
        else:
            chat.change(theme=name)
        return
    from ..screens.theme_picker import ThemePicker

    def chosen(name: str | None) -> None:
        if name:
            chat.change(theme=name)

    chat.app.push_screen(ThemePicker(theme_names(chat.app.available_themes)), chosen)


async def language(chat: ChatScreen, argument: str) -> None:
    """Speak the language that was named; without a name, the next one."""
    known = list(LANGUAGES)
    wanted = argument.strip().lower()
    if wanted:
        by_name = {name.lower(): code for code, name in LANGUAGES.items()}
        code = by_name.get(wanted, wanted)
    else:
        from ..words import language as spoken

        code = known[(known.index(spoken()) + 1) % len(known)]
    if code in LANGUAGES:
        chat.change(language=code)
    else:
        chat.say(say("settings.no_language", name=argument.strip()), "warning")


async def doctor(chat: ChatScreen, argument: str) -> None:
    """What this machine is, and whether the files are sound."""
    from ..screens.doctor import DoctorScreen

    chat.app.push_screen(DoctorScreen(chat))
