"""Actions that read files: attach them, write in an editor."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from ..driver import plain
from ..editor import editor_command
from ..words import say

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def attach(chat: ChatScreen, argument: str) -> None:
    """Attach a file or a folder to the next message."""
    path = argument.strip()
    if not path:
        chat.say(say("attach.which"), "information")
        return
    if path[0] in "'\"" and path[-1] == path[0]:
        path = path[1:-1]
    await chat.composer.attach_files([Path(path)])


async def editor(chat: ChatScreen, argument: str) -> None:
    """Write what is in the prompt in ``$VISUAL`` or ``$EDITOR``. An answer goes on meanwhile."""
    command = editor_command()
    if not command:
        chat.say(say("editor.none"), "warning")
        return
    try:
        written = await _edited(chat, command)
    except (OSError, SuspendNotSupported) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        chat.say(say("editor.failed", name=command[0], reason=reason), "error")
        return
    finally:
        chat.refresh()
    chat.prompt.put(plain(written).rstrip("\n"))
    chat.prompt.focus()


async def _edited(chat: ChatScreen, command: Sequence[str]) -> str:
    """What somebody makes of the prompt's text in an editor. Raises ``OSError``."""
    with tempfile.TemporaryDirectory(prefix="mlxqwen-") as folder:
        path = Path(folder) / "message.md"
        path.write_text(chat.prompt.text, encoding="utf-8", errors="replace")
        # Nothing may be painted over the editor, whatever the engine says.
        with chat.app.batch_update(), chat.app.suspend():
            process = await asyncio.create_subprocess_exec(*command, str(path))
            status = await process.wait()
        if status:
            raise OSError(say("editor.status", status=status))
        return path.read_text(encoding="utf-8", errors="replace")
