"""The conversation that is open, or the empty one that is stored with its first message."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlxqwen.errors import OutputError

from .archive import Archive
from .records import Conversation, Persona
from .settings import Settings
from .store import Store
from .view import View

EMPTY = Persona("")


class Current:
    """What belongs to a conversation beside its messages. Where the disk refuses, that is said."""

    def __init__(self, archive: Archive, view: View, settings: Settings) -> None:
        self._archive = archive
        self._view = view
        self._fresh = EMPTY  # what the empty conversation will be stored with
        self.settings = settings
        """Defaults for what a conversation does not say itself; may be replaced at any time."""
        self.conversation: Conversation | None = None

    @property
    def system(self) -> str:
        """What the model is told before the conversation; "" for nothing."""
        return self.conversation.system if self.conversation else self._fresh.system

    @property
    def params(self) -> Mapping[str, Any]:
        """What was chosen here of sampling and thinking; see ``tuning``."""
        return self.conversation.params if self.conversation else self._fresh.params

    async def tune(
        self, *, system: str | None = None, params: Mapping[str, Any] | None = None
    ) -> bool:
        """Change system prompt or parameters, as far as given; False if it could not be stored."""
        system = self.system if system is None else system
        params = self.params if params is None else dict(params)
        open_now = self.conversation
        if open_now is None:
            self._fresh = Persona("", system, params)
            return True
        work = self._archive.call(Store.tune, open_now.id, system=system, params=params)
        return await self._done(work) and self._now(open_now.id, system=system, params=params)

    async def rename(self, title: str) -> bool:
        """Give the open conversation another title; False if there is none, or the disk refuses."""
        open_now = self.conversation
        if open_now is None or not title.strip():
            return False
        title = " ".join(title.split())
        work = self._archive.call(Store.rename, open_now.id, title)
        return await self._done(work) and self._now(open_now.id, title=title)

    async def pin(self) -> bool:
        """Keep the open conversation at the top, or no longer; False if that could not be done."""
        open_now = self.conversation
        if open_now is None:
            return False
        work = self._archive.call(Store.pin, open_now.id, not open_now.pinned)
        return await self._done(work) and self._now(open_now.id, pinned=not open_now.pinned)

    # Personas

    async def personas(self) -> Sequence[Persona]:
        """All that are stored, by name."""
        try:
            return await self._archive.call(Store.personas)
        except OutputError as error:
            self._view.say(str(error), "error")
            return ()

    async def apply(self, name: str) -> Persona | None:
        """Go on as the persona ``name``; None if there is none, or the disk refuses."""
        wanted = name.strip().casefold()
        for persona in await self.personas():
            if persona.name.casefold() == wanted:
                done = await self.tune(system=persona.system, params=persona.params)
                return persona if done else None
        return None

    async def save_persona(self, name: str) -> bool:
        """Store system prompt and parameters under ``name``, in place of what had that name."""
        persona = Persona(" ".join(name.split()), self.system, self.params)
        return await self._done(self._archive.call(Store.save_persona, persona))

    async def remove_persona(self, name: str) -> bool:
        """Forget a persona; False if there is none of that name, or the disk refuses."""
        try:
            return await self._archive.call(Store.remove_persona, name.strip())
        except OutputError as error:
            self._view.say(str(error), "error")
            return False

    # Steps

    async def _done(self, work: Awaitable[object]) -> bool:
        try:
            await work
        except OutputError as error:
            self._view.say(str(error), "error")
            return False
        return True

    def _now(self, conversation_id: int, **values: Any) -> bool:
        """Take up what was stored, if that conversation is still the one open."""
        if self.conversation and self.conversation.id == conversation_id:
            self.conversation = replace(self.conversation, **values)
        self._view.listed()
        self._view.changed()
        return True
