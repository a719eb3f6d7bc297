"""The linear chat's own half: an event loop beside the main thread, which reads the keyboard.

The session lives in the loop, where engine and disk go on while a person writes. The main thread
asks it for one thing at a time and waits; only there can a line be read and Ctrl+C be heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import LocalModel, default_model, local_models

from .. import words
from ..archive import Archive
from ..bridge import Bridge
from ..records import Attachable, Draft
from ..session import Session
from ..settings import Settings, write_settings
from ..store import Store
from ..units import count
from ..views import model_label
from ..words import plural, say
from .interrupts import Interrupts
from .output import Output
from .view import PlainView

T = TypeVar("T")

_BUSY_SECONDS = 1 / 30
_IDLE_SECONDS = 1 / 4
_FLUSH_SECONDS = 1 / 4
_SILENCE_SECONDS = 5.0
"""After so long without a word it is said what goes on; then after twice as long, and so on."""


class PlainChat:
    """Session, store and engine behind calls that wait; use it as a context, in the main thread."""

    def __init__(
        self,
        archive: Archive,
        bridge: Bridge,
        output: Output,
        interrupts: Interrupts,
        settings: Settings,
        settings_path: Path,
    ) -> None:
        self.archive = archive
        self.output = output
        self.interrupts = interrupts
        self.settings = settings
        self.settings_path = settings_path
        self.view = PlainView(output, self._left_unsent)
        self.session = Session(archive, bridge, self.view, settings)
        self.draft = ""
        """What the next line begins with."""
        self.attachments: list[Attachable] = []
        """What goes with the next message."""
        self._bridge = bridge
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="session", daemon=True)

    def __enter__(self) -> PlainChat:
        """Open the conversations; raises ``OutputError`` as ``Store.open`` does."""
        self._thread.start()
        try:
            self.do(self._open())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Save what there is and let the engine go, whatever is pressed meanwhile."""
        try:
            self.do(self._close())
        finally:
            self._end_loop()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the loop do ``work``, and wait for it. Ctrl+C meanwhile stops the answer."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with self.interrupts.busy(partial(self._loop.call_soon_threadsafe, self._stop)):
            done = future.result()
        if self.view.failure:
            raise self.view.failure
        return done

    def answered(self, work: Coroutine[Any, Any, bool]) -> bool:
        """Do what asks for an answer, and wait until that is over; False if it was not asked."""
        return self.do(self._answered(work))

    def say(self, key: str, /, **values: object) -> None:
        """Say the sentence ``key``."""
        self.output.line(say(key, **values))

    def change(self, **values: Any) -> None:
        """Set what is named as ``Settings`` names it, and save it."""
        self.settings = self.session.settings = replace(self.settings, **values)
        words.use(self.settings.language or words.system_language())
        try:
            write_settings(self.settings_path, self.settings)
        except MlxqwenError as error:
            self.view.say(str(error), "error")

    async def start(self, model: str | None) -> list[str]:
        """Choose a model and load it behind; returns the names of all there are."""
        if self.archive.read_only:
            self.view.say(say("chat.read_only"), "warning")
        models = await self.models()
        self.session.model = model or self.settings.model or await self._last_model(models)
        if self.session.model:
            self.say("plain.model", model=model_label(self.session.model))
            self.session.choose_model(self.session.model)
        else:
            self.say("plain.no_model")
        self.say("plain.begin")
        return list(models)

    async def models(self) -> dict[str, LocalModel]:
        """What is on this machine, by name."""
        found = await self.archive.background(local_models)
        return {model.name: model for model in found}

    # In the loop

    async def _open(self) -> None:
        store = await self.archive.open()
        self.view.spawn(self._pump())
        self.view.spawn(self._flush())
        await self.session.restore()
        if store.recovered:
            self.output.line(plural("chat.recovered", store.recovered))

    async def _close(self) -> None:
        await self.session.close()
        await self.archive.close()

    def _stop(self) -> None:
        self.output.disturbed()
        self.session.stop()

    async def _pump(self) -> None:
        while True:
            self.session.pump()
            busy = self._bridge.busy or self.session.answer is not None
            await asyncio.sleep(_BUSY_SECONDS if busy else _IDLE_SECONDS)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self.session.flush()

    async def _answered(self, work: Coroutine[Any, Any, bool]) -> bool:
        if not await work:
            return False
        patience, since = _SILENCE_SECONDS, monotonic()
        while self.session.answer and not self.view.failure and not self.output.gone:
            await asyncio.sleep(_BUSY_SECONDS)
            silence = monotonic() - max(since, self.output.last)
            if silence > patience:
                self.output.line(self._what_goes_on())
                patience *= 2
        return True

    def _what_goes_on(self) -> str:
        answer = self.session.answer
        if self.session.loading:
            return say("plain.still_loading", model=model_label(self.session.model))
        if self.view.thinking:
            return say("plain.still_thinking")
        prefill = answer.prefill if answer else None
        if prefill and prefill.done < prefill.total:
            done, total = count(prefill.done), count(prefill.total)
            return say("plain.still_reading", done=done, total=total)
        if answer and answer.text:
            return say("plain.still_writing")
        return say("plain.still_waiting")

    async def _last_model(self, models: dict[str, LocalModel]) -> str:
        try:
            for conversation in await self.archive.call(Store.conversations, 1):
                if conversation.model_id in models:
                    return conversation.model_id
            return (await self.archive.background(default_model)).name
        except MlxqwenError as error:
            self.view.say(str(error), "error")
            return ""

    def _left_unsent(self, draft: Draft) -> None:
        self.draft = draft.text
        self.attachments = list(draft.attachments)

    def _end_loop(self) -> None:
        async def rest() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(rest(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
