"""Actions about models: the page of them, choosing one by name, quantising."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import local_models, resolve

from ..views import one_line

if TYPE_CHECKING:
    from ..screens.chat import ChatScreen


async def models(chat: ChatScreen, argument: str) -> None:
    """The page of models, or the model called ``argument`` at once."""
    from ..screens.models import ModelsScreen

    name = argument.strip()
    if name:
        await use(chat, name)
    elif not isinstance(chat.app.screen, ModelsScreen):
        chat.app.push_screen(ModelsScreen(chat), partial(_chosen, chat))


async def quantize(chat: ChatScreen, argument: str) -> None:
    """The dialog for quantising ``argument``, over the page of models."""
    from ..screens.models import ModelsScreen

    screen = ModelsScreen(chat, quantise=argument.strip())
    chat.app.push_screen(screen, partial(_chosen, chat))


async def use(chat: ChatScreen, name: str) -> None:
    """Load ``name``: as the list of models calls it, an alias, or a folder."""
    try:
        chosen = await asyncio.to_thread(_listed_name, name)
    except MlxqwenError as error:
        chat.say(one_line(str(error)), "error")
        return
    chat.session.choose_model(chosen)


def _listed_name(name: str) -> str:
    """The library's own name for what ``name`` means; a folder is its path."""
    path = resolve(name)
    return next((model.name for model in local_models() if model.path == path), str(path))


def _chosen(chat: ChatScreen, name: str | None) -> None:
    if name:
        chat.session.choose_model(name)
    chat.spawn(chat.read_models())
