"""Every screen in three sizes, three themes and two languages: what must hold of whatever it shows.

Pictures of the most telling ones are compared elsewhere. Here no line may be wider than the screen,
no sentence of the other language may show, something must have the focus, and whatever is written
must be told from what is behind it.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from rich.cells import cell_len
from textual.color import Color

from tui.screens.doctor import DoctorScreen
from tui.store import Store
from tui.words import TABLES

SIZES = [(120, 40), (80, 24), (40, 10)]
THEMES = ["mlxqwen-night", "mlxqwen-day", "mlxqwen-plain"]
PAGES = ("empty", "conversation", "completion", "reading", "library", "branches", "models",
         "quantize", "settings", "help", "doctor", "theme", "palette")  # fmt: skip
LEAST = 1.5  # of hints and headings that are meant to be quiet; first rank has far more


@pytest.fixture
def stored(tmp_path):
    store = Store.open(tmp_path / "conversations.sqlite3", clock=lambda: 1_699_990_000.0)
    chat = store.create(title="量子化とは", model="guide")
    user = store.add_user(chat.id, None, "量子化とは何ですか")
    for text in (
        "**4** `bit`.\n\n| 値 | # |\n|---|--:|\n| 1 | 2 |\n\n```python\nx = 1\n```",
        "> 量子",
    ):
        reply = store.start_answer(chat.id, user.id, model="guide")
        store.finish(reply.id, "done", text, "")
    store.close()
    return chat.id


@cache
def foreign(language):
    """Sentences of two words and more that only the other language has."""
    other, own = (0, 1) if language == "it" else (1, 0)
    pairs = [pair for table in TABLES for pair in table.values()]
    spoken = " ".join(pair[own] for pair in pairs)
    fixed = {re.split(r"[{<]", pair[other])[0].strip() for pair in pairs}
    return [text for text in fixed if text.count(" ") >= 2 and text not in spoken]


def rows(app):
    """The screen as it is, line by line, as strips of styled text."""
    compositor = app.screen._compositor
    return compositor.render_strips()


def contrast_of(style):
    def luminance(colour):
        def linear(value):
            value /= 255
            return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4

        return 0.2126 * linear(colour.r) + 0.7152 * linear(colour.g) + 0.0722 * linear(colour.b)

    if style is None or style.color is None or style.bgcolor is None:
        return None
    colours = [Color.from_rich_color(one) for one in (style.color, style.bgcolor)]
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


async def go(chat, page, stored):
    screen = chat.app._chat
    if page in ("conversation", "completion", "reading", "branches"):
        await screen.open(stored)
    if page == "completion":
        await chat.pilot.press("/", "s")
    elif page == "reading":
        await chat.pilot.press("tab")
    elif page == "palette":
        chat.app.action_command_palette()
    elif page not in ("empty", "conversation"):
        screen.action_do("search" if page == "library" else page)
    await chat.pilot.pause(0.15)
    await chat.pilot.pause()


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("page", PAGES)
async def test_every_screen(run_chat, stored, page, language):
    """One start for all sizes and themes: what changes is what a person can change any time."""
    async with run_chat(size=SIZES[0]) as chat:
        chat.app.change(language=language)
        await go(chat, page, stored)
        for size in SIZES:
            await chat.pilot.resize_terminal(*size)
            for theme in THEMES:
                chat.app.theme = theme
                await chat.pilot.pause()
                look(chat.app, size, language)
                if theme != "mlxqwen-plain":  # its colours are the terminal's own
                    for _ in range(20):  # a theme is put on step by step
                        if not faint(chat.app):
                            break
                        await chat.pilot.pause(0.02)
                    assert faint(chat.app) == set(), theme


def look(app, size, language):
    strips = rows(app)
    assert len(strips) == size[1]
    lines = [strip.text for strip in strips]
    for line in lines:
        assert cell_len(line) == size[0], line
        assert not re.search("[\x00-\x1f\x7f-\x9f]", line), line
    whole = " ".join(" ".join(lines).split())
    assert whole.strip(" ─│╭╮╰╯")
    if not isinstance(app.screen, DoctorScreen):  # what it found comes from outside, in English
        assert [text for text in foreign(language) if text in whole] == []
    assert app.focused is not None


def faint(app):
    """What is written in colours too near to those behind it; behind a dialog it may be dim."""
    if app.screen.is_modal:
        return set()
    return {
        (segment.text.strip(), round(found, 1))
        for strip in rows(app)
        for segment in strip
        if re.search(r"\w{2}", segment.text)
        and (found := contrast_of(segment.style)) is not None
        and found < LEAST
    }
