"""The state of the chat: which conversation is open, what the engine does, what is being saved.

It knows neither widgets nor processes: it writes through the archive, asks through the bridge, and
tells a ``View`` what to show. An answer goes on when another conversation is opened, and whatever
happens to the engine, what has come of it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mlxqwen.errors import OutputError

from .answer import Answer, Ended, messages_for
from .answering import Answering
from .archive import Archive
from .bridge import Bridge, Loaded
from .records import Conversation, Message
from .saving import Saving
from .store import Store
from .view import View
from .views import ended_view, message_view, streaming_view


class Session:
    """One person's chat. All methods run in the interface's event loop and never block it."""

    def __init__(self, archive: Archive, bridge: Bridge, view: View) -> None:
        self._archive = archive
        self._view = view
        self._turn = asyncio.Lock()  # what changes the open branch, one at a time
        self._branch: list[Message] = []
        self._keys: dict[int, int] = {}
        self._saving = Saving(archive, view)
        self._engine = Answering(bridge, view, self._has_ended)
        self.conversation: Conversation | None = None

    @property
    def model(self) -> str:
        """What answers are asked of."""
        return self._engine.model

    @model.setter
    def model(self, name: str) -> None:
        self._engine.model = name

    @property
    def loaded(self) -> Loaded | None:
        """The model in memory; None while there is none."""
        return self._engine.loaded

    @property
    def loaded_name(self) -> str:
        """The name by which the model in memory was asked for."""
        return self._engine.loaded_name

    @property
    def loading(self) -> bool:
        """A model is on its way into memory."""
        return self._engine.loading

    @property
    def answer(self) -> Answer | None:
        """The answer being written, in whichever conversation."""
        return self._engine.answer

    @property
    def trouble(self) -> str:
        """Why engine or disk cannot do their part right now; "" while nothing is wrong."""
        return self._engine.trouble or self._saving.trouble

    @property
    def saved(self) -> bool:
        """Every answer that has ended is on the disk."""
        return self._saving.saved

    @property
    def branch(self) -> Sequence[Message]:
        """The messages shown, oldest first; the text of one being written is in ``answer``."""
        return self._branch

    @property
    def context_used(self) -> int:
        """Tokens that the open branch fills, as far as known."""
        answer = self.answer
        if answer and answer.key is not None and answer.prefill:
            return answer.prefill.total + answer.pieces
        for message in reversed(self._branch):
            if message.n_prompt is not None:
                return message.n_prompt + (message.n_gen or 0)
        return 0

    # What a person does

    def choose_model(self, name: str) -> None:
        """Load ``name`` and go on with it in the open conversation."""
        if self.answer:
            self._view.say("Esc stops the answer; then the model can change.", "warning")
            return
        self.model = name
        self._engine.load()
        if self.conversation:
            self._view.spawn(self._remember_model(self.conversation.id, name))
        self._view.changed()

    async def new(self, instead_of: int | None = None) -> None:
        """Show an empty conversation; it is stored with its first message.

        Given the id ``instead_of``, only if that conversation is the one open.
        """
        async with self._turn:
            open_now = self.conversation.id if self.conversation else None
            if instead_of is not None and instead_of != open_now:
                return
            self._leave()
            self.conversation, self._branch = None, []
            self._view.show([])
        self._view.changed()

    async def open(self, conversation_id: int, message_id: int | None = None) -> None:
        """Show a stored conversation, at ``message_id``'s branch if given."""
        async with self._turn:
            try:
                conversation = await self._archive.call(Store.conversation, conversation_id)
                if conversation is None:
                    return
                leaf = conversation.leaf_id
                if message_id is not None:
                    leaf = await self._archive.call(Store.newest_leaf, message_id)
                marks = await self._archive.call(Store.versions, conversation_id)
                # Read last: an answer that ends meanwhile is with `_saving` until it is stored.
                branch = await self._archive.call(Store.branch, leaf) if leaf else []
            except OutputError as error:
                self._view.say(str(error), "error")
                return
            branch = [self._saving.applied(message) for message in branch]
            self._leave()
            self.conversation, self._branch = conversation, branch
            if conversation.model_id and not self.answer:
                self.model = conversation.model_id
            views = [message_view(message, marks.get(message.id)) for message in branch]
            answer = self.answer
            if answer and branch and branch[-1].id == answer.message_id:
                views[-1] = streaming_view(answer, marks.get(answer.message_id))
            keys = self._view.show(views)
            self._keys = {m.id: key for m, key in zip(branch, keys, strict=True)}
            if answer:
                answer.key = self._keys.get(answer.message_id)
        self._view.changed()

    async def send(self, text: str) -> bool:
        """Commit ``text`` and ask for an answer; False if it could not be, with the reason said."""
        async with self._turn:
            if not self._free():
                return False
            try:
                conversation = self.conversation or await self._archive.call(
                    Store.create, model=self.model
                )
                self.conversation = conversation
                leaf = self._branch[-1].id if self._branch else None
                user = await self._archive.call(Store.add_user, conversation.id, leaf, text)
            except OutputError as error:
                self._view.say(str(error), "error")
                return False
            self._branch.append(user)
            self._keys[user.id] = self._view.add(message_view(user, await self._mark(user)))
            # From here on the message is safe: what fails now must not have it sent twice.
            try:
                stored = await self._archive.call(Store.conversation, conversation.id)
                self.conversation = stored or conversation
            except OutputError as error:
                self._view.say(str(error), "error")
            await self._begin(conversation)
        self._view.listed()
        return True

    async def regenerate(self) -> None:
        """Answer the last question again, beside the answer that is there."""
        async with self._turn:
            if not self._branch or self.conversation is None or not self._free():
                return
            if self._branch[-1].role == "assistant":
                last = self._branch.pop()
                self._view.cut(self._keys.pop(last.id))
            await self._begin(self.conversation)

    def stop(self) -> bool:
        """Stop the answer and keep what came; asked again, end an engine that does not obey."""
        return self._engine.stop()

    async def close(self) -> None:
        """Save what there is and let the engine go."""
        if left := self._engine.abandon():
            answer, ended = left
            self._saving.keep(answer.message_id, ended)
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

    def _has_ended(self, answer: Answer, ended: Ended, thought: int | None) -> None:
        # At once, whatever the disk says: the next question is asked with this answer before it.
        self._saving.keep(answer.message_id, ended)
        self._branch = [self._saving.applied(message) for message in self._branch]
        if answer.key is not None:
            self._view.end(answer.key, ended_view(answer, ended, thought))
        self._view.spawn(self._saving.store(answer.message_id))

    # Steps

    def _free(self) -> bool:
        if self.answer:
            self._view.say("One answer at a time: Esc stops the one being written.", "warning")
        return self.answer is None

    def _leave(self) -> None:
        self._keys = {}
        if self.answer:
            self.answer.key = None

    async def _begin(self, conversation: Conversation) -> None:
        parent = self._branch[-1].id
        try:
            row = await self._archive.call(
                Store.start_answer, conversation.id, parent, model=self.model
            )
        except OutputError as error:
            self._view.say(f"{error} Ctrl+R asks again.", "error")
            return
        messages = messages_for(self._branch, conversation.system)
        answer = Answer(conversation.id, row.id, self.model, messages)
        mark = await self._mark(row)
        self._branch.append(row)
        answer.key = self._view.add(streaming_view(answer, mark))
        self._keys[row.id] = answer.key
        self._engine.begin(answer)

    async def _mark(self, message: Message) -> tuple[int, int] | None:
        """Which version of how many ``message`` is; None where that cannot be read."""
        try:
            marks = await self._archive.call(Store.versions, message.conversation_id)
        except OutputError:
            return None  # an ornament: whatever matters on that disk will say so
        return marks.get(message.id)

    async def _remember_model(self, conversation_id: int, name: str) -> None:
        try:
            await self._archive.call(Store.set_model, conversation_id, name)
        except OutputError as error:
            self._view.say(str(error), "warning")
