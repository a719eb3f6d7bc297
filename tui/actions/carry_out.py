"""From an action's name to what it does. Handlers are coroutines of ``(chat, argument)``.

They are imported when they are first asked for: nothing of them belongs into the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen

Handler = Callable[["ChatScreen", str], Awaitable[None]]

HANDLERS: Mapping[str, str] = {
    "stop": "answer.stop",
    "edit": "message.edit",
    "copy": "message.copy",
    "attach": "files.attach",
    "editor": "files.editor",
    "regenerate": "answer.regenerate",
    "continue": "answer.continue_",
    "think": "tune.think",
    "fold": "answer.fold",
    "new": "conversation.new",
    "fork": "conversation.fork",
    "rename": "conversation.rename",
    "pin": "conversation.pin",
    "delete": "conversation.delete",
    "undo": "conversation.undo",
    "system": "tune.system",
    "persona": "tune.persona",
    "set": "tune.set_",
    "stats": "tune.stats",
    "search": "library.search",
    "branches": "library.branches",
    "export": "library.export",
    "models": "models.models",
    "quantize": "models.quantize",
    "context": "context.context",
    "theme": "program.theme",
    "language": "program.language",
    "settings": "program.settings",
    "doctor": "program.doctor",
    "help": "go.help",
    "quit": "go.quit",
}
"""Action → the module of this package and its coroutine."""


def handler(name: str) -> Handler:
    """What carries the action ``name`` out. Raises KeyError for one that nothing does."""
    module, _, function = HANDLERS[name].partition(".")
    return cast("Handler", vars(import_module(f".{module}", __package__))[function])


async def carry_out(chat: ChatScreen, name: str, argument: str = "") -> None:
    """Do the action ``name``; ``argument`` is what followed its slash command."""
    await handler(name)(chat, argument)
