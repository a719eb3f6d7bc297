"""Answers on their way to the disk: flushed as they grow, and stored in the end, whatever it takes.

What the disk refuses is kept here and tried again. Until then it counts as stored: the next
question is asked with it, and reopening the conversation shows it.
"""

from __future__ import annotations

import asyncio

from mlxqwen.errors import OutputError

from .answer import Answer, Ended
from .archive import Archive
from .records import Message
from .store import Store
from .view import View

SAVE_AGAIN_SECONDS = 3.0


class Saving:
    """What has come of answers, and is not on the disk yet."""

    def __init__(self, archive: Archive, view: View) -> None:
        self._archive = archive
        self._view = view
        self._unsaved: dict[int, Ended] = {}  # by message
        self.trouble = ""
        """Why the disk does not take an answer right now; "" while it does."""

    @property
    def saved(self) -> bool:
        """Every answer that has ended is on the disk."""
        return not self._unsaved

    def applied(self, message: Message) -> Message:
        """``message`` as it will be once its end is stored."""
        ended = self._unsaved.get(message.id)
        return ended.applied_to(message) if ended else message

    async def flush(self, answer: Answer) -> None:
        """Save the answer so far. A full disk is said once, and tried again."""
        if not answer.pieces:
            return
        try:
            await self._archive.call(Store.flush, answer.message_id, answer.text, answer.thinking)
        except OutputError as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                self._view.say(self.trouble, "warning")
        else:
            self.trouble = ""

    def keep(self, message_id: int, ended: Ended) -> None:
        """Take the end of an answer; ``store`` or ``store_all`` has to follow."""
        self._unsaved[message_id] = ended

    async def store(self, message_id: int) -> None:
        """Store the end of an answer, however long the disk refuses."""
        while ended := self._unsaved.get(message_id):
            try:
                await self._store(message_id, ended)
            except OutputError as error:
                if self.trouble != str(error):
                    self.trouble = str(error)
                    self._view.say(self.trouble, "warning")
                await asyncio.sleep(SAVE_AGAIN_SECONDS)
        self._view.listed()
        self._view.changed()

    async def store_all(self) -> None:
        """Store every end at once; raises ``OutputError`` where the disk refuses one."""
        for message_id, ended in list(self._unsaved.items()):
            await self._store(message_id, ended)

    async def _store(self, message_id: int, ended: Ended) -> None:
        await self._archive.call(
            Store.finish,
            message_id,
            ended.state,
            ended.text,
            ended.reasoning,
            note=ended.note,
            statistics=ended.statistics,
        )
        self._unsaved.pop(message_id, None)
        self.trouble = ""
