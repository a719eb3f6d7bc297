"""What is being written and not sent: on the disk soon after, and there when one comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from mlxqwen.errors import OutputError

from .actions.slash import typed
from .archive import Archive
from .records import Attachable, Draft, together
from .store import Store
from .view import View

SAVE_SECONDS = 0.3
"""How long a change may wait: so much writing may be lost when the process is killed."""


class Drafts:
    """The draft of each conversation, None being the empty one. The view knows what is written."""

    def __init__(self, archive: Archive, view: View) -> None:
        self._archive = archive
        self._view = view
        self._open: int | None = None
        self._changed = False
        self._waiting = False
        self._pending: dict[int | None, Draft] = {}
        self._sending: list[Draft] = []  # the first to be stored first
        self._trouble = ""

    def changed(self) -> None:
        """Something was written: save it soon."""
        self._changed = True
        if not self._waiting and not self._archive.read_only:
            self._waiting = True
            self._view.spawn(self._save_soon())

    @contextmanager
    def sending(self, text: str, attachments: Sequence[Attachable]) -> Generator[None, None, None]:
        """Count a message that has left the box among what is written, until it is stored."""
        message = Draft(typed(text), tuple(attachments))
        self._sending.append(message)
        self.changed()
        try:
            yield
        finally:
            self._sending = [other for other in self._sending if other is not message]
            self.changed()

    def stored(self) -> None:
        """The message that was first to be sent is stored."""
        del self._sending[:1]

    def sent(self, conversation_id: int) -> None:
        """The draft became a message of ``conversation_id``, which the store knows already."""
        # It may have been on its way to the disk, behind the message itself.
        self._pending[self._open] = Draft()
        self._open = conversation_id

    async def read(self, conversation_id: int | None) -> Draft:
        """What was being written in a conversation. Raises ``OutputError``."""
        kept = self._pending.get(conversation_id)
        return kept or await self._archive.call(Store.draft, conversation_id)

    def turn_to(self, conversation_id: int | None, draft: Draft) -> None:
        """Put the box's text away, and another conversation's ``draft`` into it."""
        self._take()
        self._open = conversation_id
        self._view.write(draft)
        self._changed = False
        if self._pending:
            self._view.spawn(self.save())

    async def save(self) -> None:
        """Save what is written now. A disk that refuses is said once, and tried again later."""
        self._take()
        if self._archive.read_only:
            return
        for conversation_id, draft in list(self._pending.items()):
            try:
                await self._archive.call(
                    Store.keep_draft, conversation_id, draft.text, draft.attachments
                )
            except OutputError as error:
                if self._trouble != str(error):
                    self._trouble = str(error)
                    self._view.say(self._trouble, "warning")
                return
            self._trouble = ""
            if self._pending.get(conversation_id) is draft:
                del self._pending[conversation_id]

    async def _save_soon(self) -> None:
        await asyncio.sleep(SAVE_SECONDS)
        self._waiting = False
        await self.save()

    def _take(self) -> None:
        if self._changed:
            self._pending[self._open] = together([*self._sending, self._view.written()])
            self._changed = False
