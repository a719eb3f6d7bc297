"""Actions about models: the page of them, choosing one by name, quantising."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.catalogue import find
from mlxqwen.hub.library import local_models, resolve
from mlxqwen.hub.places import GUIDE

from ..views import one_line

if TYPE_CHECKING:
    from ..job import Job
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

    shown = chat.app.screen
    if isinstance(shown, ModelsScreen):
        shown.ask_quantising(argument.strip())
        return
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


async def greet(chat: ChatScreen) -> None:
    """The first run, once, where there is no model but the tiny one."""
    if chat.settings.greeted or set(chat.models) - {GUIDE}:
        return
    from ..job import Task
    from ..screens.first_run import FirstRun
    from ..screens.models import ModelsScreen

    def chosen(result: Task | str | None) -> None:
        chat.change(greeted=True)
        match result:
            case Task():
                chat.jobs.add(result)
                chat.app.push_screen(ModelsScreen(chat), partial(_chosen, chat))
            case str(folder):
                chat.session.choose_model(folder)
            case None:
                pass

    chat.app.push_screen(FirstRun(chat.jobs), chosen)


async def offer(chat: ChatScreen, name: str) -> None:
    """Ask what answers in a chat whose model ``name`` is not on this machine."""
    try:
        await asyncio.to_thread(resolve, name)
    except MlxqwenError:
        pass
    else:
        return  # a folder, or an alias: the list has another name for it
    from ..screens.models import ModelsScreen
    from ..screens.models_missing import MissingModel

    def chosen(result: tuple[str, str] | None) -> None:
        match result:
            case ("use", folder):
                chat.session.choose_model(folder)
            case ("download", wanted):
                page = ModelsScreen(chat, wanted, download=True)
                chat.app.push_screen(page, partial(_chosen, chat))
            case ("pick", _):
                chat.app.push_screen(ModelsScreen(chat), partial(_chosen, chat))
            case _:
                pass

    known = find(name) is not None or (name.count("/") == 1 and not name.startswith((".", "~")))
    chat.app.push_screen(MissingModel(name, known=known), chosen)


def tell(chat: ChatScreen, job: Job) -> None:
    """Say what has become of a job that has just ended."""
    from ..job_words import notice

    if job.forgotten:
        return
    said = notice(job)
    if said is not None:
        text, bad = said
        chat.say(text, "error" if bad else "information")
    if job.state == "done":
        chat.spawn(chat.read_models())


def _listed_name(name: str) -> str:
    """The library's own name for what ``name`` means; a folder is its path."""
    path = resolve(name)
    return next((model.name for model in local_models() if model.path == path), str(path))


def _chosen(chat: ChatScreen, name: str | None) -> None:
    if name:
        chat.session.choose_model(name)
    chat.spawn(chat.read_models())
