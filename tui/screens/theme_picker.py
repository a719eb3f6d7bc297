"""A picker of themes that wears each one as the cursor comes to it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList

from ..themes import short_name
from ..words import say
from .picker import Choice, Picker


class ThemePicker(Picker):
    """Leaves with a theme's name; left without one, the old theme is worn again."""

    def __init__(self, themes: Sequence[str]) -> None:
        async def found(wanted: str) -> list[Choice]:
            return [
                Choice(name, Content(short_name(name)))
                for name in sorted(themes, key=lambda name: name != self._before)
                if wanted.lower() in short_name(name)
            ]

        super().__init__(say("theme.title"), say("theme.wanted"), found)
        self._before = ""

    async def on_mount(self) -> None:
        """Remember what is worn."""
        self._before = self.app.theme
        await super().on_mount()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Try it on."""
        if event.option_id:
            self.app.theme = event.option_id

    async def action_dismiss(self, result: str | None = None) -> None:
        """Leave without a choice."""
        self.app.theme = self._before
        await super().action_dismiss(result)
