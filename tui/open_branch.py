"""The branch that is open: what is shown of it, and the steps by which it grows.

Every step takes the turn for granted: ``Session`` sees to it that there is one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mlxqwen.errors import OutputError

from .actions.slash import Text, parse
from .answer import Answer, Ended, messages_for, with_attachments
from .answering import Answering
from .archive import Archive
from .bridge import Bridge, Loaded
from .current import Current
from .drafts import Drafts
from .forecast import Outlook, Question
from .keys import key_name
from .records import Attachable, Conversation, Message
from .saving import Saving
from .settings import Settings
from .store import Store
from .tuning import asked
from .view import View
from .views import ended_view, message_view, streaming_view
from .words import say


class OpenBranch(Current):
    """The messages on the screen, with the engine and the disk behind them."""

    def __init__(
        self, archive: Archive, bridge: Bridge, view: View, settings: Settings | None = None
    ) -> None:
        super().__init__(archive, view, settings or Settings())
        self._turn = asyncio.Lock()  # what changes the open branch, one at a time
        self._branch: list[Message] = []
        self._keys: dict[int, int] = {}
        self._saving = Saving(archive, view)
        self._drafts = Drafts(archive, view)
        self.outlook = Outlook(bridge, self._question, view.changed)
        self._engine = Answering(
            bridge, view, self._has_ended, self.outlook, lambda: self.settings.context
        )

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
        """Tokens that the open branch fills with what is being written, as far as known."""
        answer = self.answer
        if answer and answer.key is not None and answer.prefill:
            return answer.prefill.total + answer.pieces
        if self.outlook.used is not None:
            return self.outlook.used
        for message in reversed(self._branch):
            if message.n_prompt is not None:
                return message.n_prompt + (message.n_gen or 0)
        return 0

    def key_of(self, message_id: int) -> int | None:
        """The transcript's key of a message that is shown; None for others."""
        return self._keys.get(message_id)

    def _has_ended(self, answer: Answer, ended: Ended, thought: int | None) -> None:
        # At once, whatever the disk says: the next question is asked with this answer before it.
        self._saving.keep(answer.message_id, ended)
        self._branch = [self._saving.applied(message) for message in self._branch]
        open_now = self.conversation
        if open_now and open_now.id != answer.conversation_id and open_now.model_id:
            self.model = open_now.model_id  # opened meanwhile, when no model could be chosen
        if answer.key is not None:
            self._view.end(answer.key, ended_view(answer, ended, thought))
        self._view.spawn(self._saving.store(answer.message_id))

    def _question(self) -> Question:
        """What would be sent if what is written were sent now."""
        draft = self._view.written()
        said = parse(draft.text)
        text = said.text if isinstance(said, Text) and said.text.strip() else ""
        return self._asking(self._branch, text, draft.attachments)

    def _asking(
        self, branch: Sequence[Message], text: str, attachments: Sequence[Attachable]
    ) -> Question:
        how = asked(self.settings, self.params)
        messages = messages_for(branch, self.system)
        if content := with_attachments(text, attachments):
            messages.append({"role": "user", "content": content})
        if len(messages) == bool(self.system):
            messages.clear()  # many a template refuses a conversation without a question
        return Question(messages, how.think, how.max_tokens, text)

    async def _fits(
        self, parent_id: int | None, text: str, attachments: Sequence[Attachable]
    ) -> bool:
        """Whether a question under ``parent_id`` can be answered; where not, that is said."""
        shown = [None, *(message.id for message in self._branch)]
        if parent_id not in shown:
            return True  # a branch that is not on the screen: the engine says so itself
        branch = self._branch[: shown.index(parent_id)]
        question = self._asking(branch, text, attachments)
        refusal = await self.outlook.refusal(question, self._engine.pump)
        if refusal:
            self._view.say(refusal, "warning")
        return not refusal

    def _free(self) -> bool:
        if self.answer:
            self._view.say(say("session.one_answer", key=key_name("stop")), "warning")
        return self.answer is None

    def _leave(self) -> None:
        self._keys = {}
        if self.answer:
            self.answer.key = None

    async def _open(self, conversation_id: int, message_id: int | None) -> bool:
        try:
            conversation = await self._archive.call(Store.conversation, conversation_id)
            if conversation is None:
                return False
            leaf = conversation.leaf_id
            if message_id is not None:
                leaf = await self._archive.call(Store.newest_leaf, message_id)
            marks = await self._archive.call(Store.versions, conversation_id)
            draft = await self._drafts.read(conversation_id)
            # Read last: an answer that ends meanwhile is with `_saving` until it is stored.
            branch = await self._archive.call(Store.branch, leaf) if leaf else []
        except OutputError as error:
            self._view.say(str(error), "error")
            return False
        if self.conversation is None or self.conversation.id != conversation_id:
            self._drafts.turn_to(conversation_id, draft)
        self.conversation = conversation
        if conversation.model_id and not self.answer:
            self.model = conversation.model_id
        self._show([self._saving.applied(message) for message in branch], marks)
        return True

    def _show(self, branch: list[Message], marks: Mapping[int, tuple[int, int]]) -> None:
        self._leave()
        self._branch = branch
        views = [message_view(message, marks.get(message.id)) for message in branch]
        answer = self.answer
        if answer and branch and branch[-1].id == answer.message_id:
            views[-1] = streaming_view(answer, marks.get(answer.message_id))
        self.outlook.turn()
        keys = self._view.show(views)
        self._keys = {m.id: key for m, key in zip(branch, keys, strict=True)}
        if answer:
            answer.key = self._keys.get(answer.message_id)

    async def _stand_at(self, message_id: int | None) -> None:
        """Have ``message_id`` be the last message shown; None: nothing. Raises OutputError."""
        shown = [None, *(message.id for message in self._branch)]
        if message_id in shown:
            gone = self._branch[shown.index(message_id) :]
            if gone:
                del self._branch[-len(gone) :]
                self._view.cut(self._keys[gone[0].id])
            for message in gone:
                del self._keys[message.id]
            return
        # A branch that is not on the screen, as the page of all branches offers.
        assert self.conversation is not None
        marks = await self._archive.call(Store.versions, self.conversation.id)
        branch = await self._archive.call(Store.branch, message_id) if message_id else []
        self._show([self._saving.applied(message) for message in branch], marks)

    async def _commit(
        self,
        parent_id: int | None,
        text: str,
        attachments: Sequence[Attachable],
        *,
        drafted: bool = True,
    ) -> bool:
        """Store a question under ``parent_id``, and only then show it there."""
        try:
            user = await self._archive.call(
                Store.send,
                self.conversation.id if self.conversation else None,
                parent_id,
                text,
                attachments,
                model=self.model,
                system=self.system,
                params=self.params,
                drafted=drafted,
            )
        except OutputError as error:
            self._view.say(str(error), "error")
            return False
        # From here on the message is safe: what fails now must not have it sent twice.
        self._drafts.stored()
        fresh = Conversation(
            user.conversation_id, "", user.id, self.model, self.system, self.params, False, 0.0
        )
        try:
            await self._stand_at(parent_id)
            stored = await self._archive.call(Store.conversation, user.conversation_id)
            self.conversation = stored or self.conversation or fresh
        except OutputError as error:
            self.conversation = self.conversation or fresh
            self._view.say(str(error), "error")
        if drafted:
            self._drafts.sent(user.conversation_id)
        self._branch.append(user)
        self._keys[user.id] = self._view.add(message_view(user, await self._mark(user)))
        return True

    async def _begin(self, question_id: int, cut_off: Message | None = None) -> bool:
        """Ask for an answer to a question, one that goes on from ``cut_off`` if given."""
        conversation = self.conversation
        assert conversation is not None
        how = asked(self.settings, self.params)
        try:
            row = await self._archive.call(
                Store.start_answer,
                conversation.id,
                question_id,
                model=self.model,
                params=how.params(self.system),
                seed=how.seed,
            )
            await self._stand_at(question_id)
        except OutputError as error:
            again = say("session.ask_again", error=error, key=key_name("regenerate"))
            self._view.say(again, "error")
            return False
        messages = messages_for(self._branch, self.system)
        if cut_off:
            messages.append({"role": "assistant", "content": cut_off.text})
            messages.append({"role": "user", "content": say("session.go_on")})
        answer = Answer(conversation.id, row.id, self.model, messages, how)
        if cut_off:
            answer.go_on_from(cut_off.text, cut_off.reasoning)
        mark = await self._mark(row)
        self._branch.append(row)
        answer.key = self._view.add(streaming_view(answer, mark))
        self._keys[row.id] = answer.key
        self._engine.begin(answer)
        return True

    async def _mark(self, message: Message) -> tuple[int, int] | None:
        """Which version of how many ``message`` is; None where that cannot be read."""
        try:
            marks = await self._archive.call(Store.versions, message.conversation_id)
        except OutputError:
            return None  # an ornament: whatever matters on that disk will say so
        return marks.get(message.id)

    async def _keep_leaf(self, conversation_id: int, message_id: int) -> None:
        if not self._archive.read_only:  # there one may look at every branch, and keeps none
            await self._done(self._archive.call(Store.set_leaf, conversation_id, message_id))
