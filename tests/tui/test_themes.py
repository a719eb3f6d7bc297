"""The plain theme's colours are the terminal's own, and NO_COLOR leaves none."""

from __future__ import annotations

import pytest
from rich.color import ColorType

from tui.themes import DAY, NIGHT, OURS, PLAIN, short_name, theme_called, theme_names

PAGES = (None, "settings", "help", "search", "theme")


def colours(app):
    """Every colour on the screen, as it goes to the terminal."""
    found = set()
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            if segment.style is not None and segment.text.strip():
                found |= {segment.style.color, segment.style.bgcolor}
    return found - {None}


async def shown(chat, page):
    await chat.ask("think about `code`\n\n```python\nx = 1  # one\n```")
    if page:
        chat.app._chat.action_do(page)
    await chat.pilot.pause(0.4)


@pytest.mark.parametrize("page", PAGES)
async def test_the_plain_theme_uses_the_sixteen_colours_of_the_terminal(run_chat, page):
    async with run_chat() as chat:
        chat.app.change(theme=PLAIN.name)
        await shown(chat, page)
        if page == "theme":
            await chat.until(lambda: chat.app.theme == PLAIN.name)
        kinds = {colour.type for colour in colours(chat.app)}
        assert kinds <= {ColorType.DEFAULT, ColorType.STANDARD}
        assert ColorType.STANDARD in kinds


async def test_the_night_has_colours_of_its_own(run_chat):
    async with run_chat() as chat:
        await shown(chat, None)
        assert {colour.type for colour in colours(chat.app)} == {ColorType.TRUECOLOR}


@pytest.mark.parametrize("theme", [NIGHT, PLAIN])
async def test_no_color_leaves_none(run_chat, monkeypatch, theme):
    monkeypatch.setenv("NO_COLOR", "1")
    async with run_chat() as chat:
        chat.app.change(theme=theme.name)
        await shown(chat, "settings")
        assert {colour.type for colour in colours(chat.app)} == {ColorType.DEFAULT}


def luminance(colour):
    """Relative luminance after WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [NIGHT, DAY], ids=lambda theme: theme.name)
@pytest.mark.parametrize(
    ("part", "enough"),
    [
        ("foreground", 7.0),
        ("primary", 4.5),
        ("secondary", 4.5),
        ("accent", 4.5),
        ("success", 4.0),
        ("warning", 4.0),
        ("error", 4.5),
        ("text-muted", 4.0),
    ],
)
def test_text_stands_out_from_its_background(theme, part, enough):
    fields = {name: getattr(theme, name) for name in ("foreground", "primary", "secondary")}
    fields |= {name: getattr(theme, name) for name in ("accent", "success", "warning", "error")}
    colour = {**fields, **theme.variables}[part]
    ends = sorted((luminance(colour), luminance(theme.background)))
    assert (ends[1] + 0.05) / (ends[0] + 0.05) >= enough


def test_themes_by_their_short_names():
    known = [theme.name for theme in OURS] + ["nord", "textual-ansi"]
    assert theme_called("night", known) == "mlxqwen-night"
    assert theme_called(" Nord ", known) == "nord"
    assert theme_called("mlxqwen-day", known) == "mlxqwen-day"
    assert theme_called("dusk", known) is None
    assert short_name("mlxqwen-plain") == "plain"
    assert theme_names(known) == ["mlxqwen-night", "mlxqwen-day", "mlxqwen-plain", "nord"]
