"""A whole session of the real program, run as a process of its own by ``test_offline``.

It starts, loads a model, chats, opens every page that there is, and leaves. At its end it prints
as JSON what it has seen and which modules it has imported.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tui.app import MlxqwenApp

PAGES = ("search", "branches", "models", "quantize", "settings", "doctor", "help", "stats")


def sockets(process: int) -> list[str]:
    """Open sockets of a process, where the system shows them."""
    folder = Path(f"/proc/{process}/fd")
    if not folder.is_dir():
        return []
    links = []
    for entry in folder.iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue  # closed meanwhile
    return [link for link in links if link.startswith("socket:")]


async def session() -> dict[str, object]:
    """What there is to tell about it."""
    app = MlxqwenApp("tiny")
    pages: list[str] = []
    async with app.run_test(size=(120, 40)) as pilot:
        chat = app._chat

        async def until(wanted):
            for _ in range(3000):
                if wanted():
                    return
                await pilot.pause(0.01)
            raise AssertionError("it did not come to pass")

        await until(lambda: chat.session.loaded)
        await pilot.press(*"hello", "enter")
        await until(lambda: chat.session.answer and chat.session.answer.pieces > 5)
        open_sockets = sockets(chat._bridge.pid)
        await pilot.press("escape")
        await until(lambda: not chat.session.answer and chat.session.saved)
        after_chat = sorted(sys.modules)
        for page in PAGES:
            chat.action_do(page)
            await until(lambda: app.screen is not chat)
            await pilot.pause(0.3)
            pages.append(type(app.screen).__name__)
            for _ in range(3):
                if app.screen is not chat:
                    await pilot.press("escape")
                    await pilot.pause(0.1)
            assert app.screen is chat, pages
        states = [message.state for message in chat.session.branch]
        await app.action_quit()
    return {"pages": pages, "states": states, "sockets": open_sockets, "modules": after_chat}


print(json.dumps(asyncio.run(session())))
