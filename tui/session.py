"""The state of the chat: which conversation is open, what the engine does, what is being saved.

It knows neither widgets nor processes: it writes through the archive, asks through the bridge, and
tells a ``View`` what to show. An answer goes on when another conversation is opened, and whatever
happens to the engine, what has come of it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from mlxqwen.errors import OutputError

from .current import EMPTY
from .keys import key_name
from .open_branch import OpenBranch
from .records import Attachable, Conversation, Draft, Message
from .store import Store
from .words import say

LAST_SECONDS = 0.5
"""How long what has just been begun may take when everything is to end."""


class Session(OpenBranch):
    """One person's chat. All methods run in the interface's event loop and never block it."""

    # Conversations

    def choose_model(self, name: str) -> None:
        """Load ``name`` and go on with it in the open conversation."""
        if self.answer:
            self._view.say(say("session.model_waits", key=key_name("stop")), "warning")
            return
        self.model = name
        self._engine.load()
        if self.conversation:
            work = self._archive.call(Store.set_model, self.conversation.id, name)
            self._view.spawn(self._say_if_refused(work))
        self._view.changed()

    async def restore(self) -> None:
        """Put the draft of the empty conversation into the box, as at the start.

        Where something is written there already, the draft is found among the former prompts.
        """
        async with self._turn:
            with suppress(OutputError):  # whoever reads what matters will say so
                draft = await self._drafts.read(None)
                if self.conversation is None and self._view.written() == Draft():
                    self._view.write(draft)
                elif draft.text.strip():
                    await self._archive.call(Store.remember, draft.text)

    async def new(self, instead_of: int | None = None) -> None:
        """Show an empty conversation; it is stored with its first message.

        Given the id ``instead_of``, only if that conversation is the one open.
        """
        async with self._turn:
            try:
                draft = await self._drafts.read(None)
            except OutputError:
                draft = Draft()  # an empty chat needs nothing from the disk
            open_now = self.conversation.id if self.conversation else None
            if instead_of is not None and instead_of != open_now:
                return
            if open_now is not None:  # in an empty chat, what is written may stay
                self._drafts.turn_to(None, draft)
            self._leave()
            self.conversation, self._branch, self._fresh = None, [], EMPTY
            self._view.show([])
        self.outlook.turn()
        self._view.changed()

    async def open(self, conversation_id: int, message_id: int | None = None) -> None:
        """Show a stored conversation, at ``message_id``'s branch if given."""
        async with self._turn:
            await self._open(conversation_id, message_id)
        self._view.changed()

    async def switch(self, message_id: int, step: int) -> None:
        """Show the next version of a message (-1: the one before), and stay there."""
        async with self._turn:
            try:
                versions = await self._archive.call(Store.siblings, message_id)
            except OutputError as error:
                self._view.say(str(error), "error")
                return
            if self.conversation is None or message_id not in versions:
                return
            place = versions.index(message_id) + step
            if not 0 <= place < len(versions) or versions[place] == message_id:
                return
            if await self._open(self.conversation.id, versions[place]) and self._branch:
                await self._keep_leaf(self.conversation.id, self._branch[-1].id)
        self._view.changed()

    async def fork(self, message_id: int | None = None) -> Conversation | None:
        """Copy the branch up to a message into a conversation of its own, and go on there.

        Returns the copy; None if there is nothing to copy, or the disk refuses.
        """
        async with self._turn:
            if not self._branch:
                self._view.say(say("session.empty"), "warning")
                return None
            leaf = self._branch[-1].id if message_id is None else message_id
            try:
                copy = await self._archive.call(Store.fork, leaf)
            except OutputError as error:
                self._view.say(str(error), "error")
                return None
            await self._open(copy.id, None)
        self._view.listed()
        self._view.changed()
        return copy

    async def delete(self, conversation_id: int | None = None) -> bool:
        """Hide a conversation, the open one by default, and leave it if it is still open then."""
        if conversation_id is None:
            if self.conversation is None:
                return False
            conversation_id = self.conversation.id
        if not await self._done(self._archive.call(Store.delete, conversation_id)):
            return False
        await self.new(conversation_id)
        self._view.listed()
        return True

    async def undo(self) -> Conversation | None:
        """Bring back the conversation deleted last, and open it; None if there is none.

        Raises ``OutputError`` where the disk refuses.
        """
        found = await self._archive.call(Store.undo_delete)
        if found:
            await self.open(found.id)
            self._view.listed()
        return found

    # Messages

    async def send(self, text: str, attachments: Sequence[Attachable] = ()) -> bool:
        """Commit ``text`` and ask for an answer; False if it could not be, with the reason said."""
        with self._drafts.sending(text, attachments):
            async with self._turn:
                parent = self._branch[-1].id if self._branch else None
                if not self._free() or not await self._fits(parent, text, attachments):
                    return False
                if not await self._commit(parent, text, attachments):
                    return False
                await self._begin(self._branch[-1].id)
        self._view.listed()
        return True

    async def edit(
        self, message_id: int, text: str, attachments: Sequence[Attachable] | None = None
    ) -> bool:
        """Ask a question differently, in a branch beside the old one, with what was attached to it
        unless ``attachments`` are given; False if it could not be, with the reason said.
        """
        with self._drafts.sending(text, attachments or ()):
            async with self._turn:
                old = await self._find(message_id)
                if old is None or not self._free():
                    return False
                if old.role != "user":
                    self._view.say(say("session.only_questions"), "warning")
                    return False
                kept = old.attachments if attachments is None else attachments
                if not await self._fits(old.parent_id, text, kept):
                    return False
                if not await self._commit(old.parent_id, text, kept, drafted=False):
                    return False
                await self._begin(self._branch[-1].id)
        self._view.listed()
        return True

    async def regenerate(self, message_id: int | None = None) -> bool:
        """Answer again, beside the answer ``message_id`` (the last one by default) or, where that
        is a question, beside all its answers; False if that could not be, with the reason said.
        """
        async with self._turn:
            return await self._answer_again(message_id, go_on=False)

    async def continue_(self, message_id: int | None = None) -> bool:
        """Go on with an answer that was cut off, beside it: the new one begins with its text."""
        async with self._turn:
            return await self._answer_again(message_id, go_on=True)

    def stop(self) -> bool:
        """Stop the answer and keep what came; asked again, end an engine that does not obey."""
        return self._engine.stop()

    async def close(self) -> None:
        """Save what there is and let the engine go. Nothing is sent any more."""
        self.outlook.close()
        # What is being stored had better be; what only waits to be sent is saved as a draft.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._turn.acquire()
        if left := self._engine.abandon():
            answer, ended = left
            self._saving.keep(answer.message_id, ended)
        if self._archive.is_open:
            await self._drafts.save()
        try:
            await self._saving.store_all()
        except OutputError as error:
            self._view.say(str(error), "error")
        await asyncio.to_thread(self._engine.close)

    # What comes back

    def pump(self) -> None:
        """Take in what the engine said since the last call."""
        self._engine.pump()

    async def flush(self) -> None:
        """Save the answer so far. A full disk is said once, and tried again."""
        if self.answer:
            await self._saving.flush(self.answer)

    # Writing

    def drafted(self) -> None:
        """What is in the box one writes in has changed: it is saved soon, if not sent before."""
        self._drafts.changed()
        self.outlook.refresh()

    async def history(self, prefix: str = "") -> list[str]:
        """Former prompts that begin with ``prefix``, the newest first; none if unreadable."""
        try:
            return await self._archive.call(Store.history, prefix)
        except OutputError:
            return []  # a convenience: whatever matters on that disk will say so

    # Steps

    async def _answer_again(self, message_id: int | None, *, go_on: bool) -> bool:
        if not self._branch:
            self._view.say(say("session.nothing_to_answer"), "warning")
            return False
        old = await self._find(self._branch[-1].id if message_id is None else message_id)
        if old is None or not self._free():
            return False
        if old.role != "assistant" or old.parent_id is None:
            return await self._begin(old.id)
        return await self._begin(old.parent_id, old if go_on and old.text else None)

    async def _find(self, message_id: int) -> Message | None:
        """A message by its id, its conversation being open then; None if it cannot be read."""
        for message in self._branch:
            if message.id == message_id:
                return message
        try:
            found = await self._archive.call(Store.message, message_id)
        except OutputError as error:
            self._view.say(str(error), "error")
            return None
        here = self.conversation is not None and self.conversation.id == found.conversation_id
        return found if here or await self._open(found.conversation_id, found.id) else None

    async def _say_if_refused(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except OutputError as error:
            self._view.say(str(error), "warning")
