"""The state of the chat: which conversation is open, what the engine does, what is being saved.

It knows neither widgets nor processes: it writes through the archive, asks through the bridge, and
tells a ``View`` what to show. An answer goes on when another conversation is opened, and whatever
happens to the engine, what has come of it is kept.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from mlxqwen.engine.events import Done, Text, Thinking
from mlxqwen.errors import OutputError

from .answer import Answer, Ended, messages_for
from .archive import Archive
from .bridge import Bridge, Died, Failed, Loaded, Streamed
from .records import Conversation, End, Message
from .store import Store
from .view import View
from .views import answer_header, message_view, model_label
from .widgets.transcript import MessageView

SAVE_AGAIN_SECONDS = 3.0
OBEY_SECONDS = 1.0
"""How long the engine may take to stop an answer before a second request ends it."""


class Session:
    """One person's chat. All methods run in the interface's event loop and never block it."""

    def __init__(self, archive: Archive, bridge: Bridge, view: View) -> None:
        self._archive = archive
        self._bridge = bridge
        self._view = view
        self._turn = asyncio.Lock()  # what changes the open branch, one at a time
        self._branch: list[Message] = []
        self._keys: dict[int, int] = {}
        self._unsaved: dict[int, Ended] = {}  # by message, until the disk has taken them
        self._loading: int | None = None
        self._loading_name = ""
        self.model = ""
        self.loaded: Loaded | None = None
        self.loaded_name = ""
        self.conversation: Conversation | None = None
        self.answer: Answer | None = None
        self.trouble = ""
        """Why the engine cannot answer right now; "" while nothing is wrong."""

    @property
    def loading(self) -> bool:
        """A model is on its way into memory."""
        return self._loading is not None

    @property
    def context_used(self) -> int:
        """Tokens that the open branch fills, as far as known."""
        if self.answer and self.answer.key is not None and self.answer.prefill:
            return self.answer.prefill.total + self.answer.pieces
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
        self._load()
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
                # Read last: an answer that ends meanwhile is in `_unsaved` until it is stored.
                branch = await self._archive.call(Store.branch, leaf) if leaf else []
            except OutputError as error:
                self._view.say(str(error), "error")
                return
            branch = [self._as_ended(message) for message in branch]
            self._leave()
            self.conversation, self._branch = conversation, branch
            if conversation.model_id and not self.answer:
                self.model = conversation.model_id
            views = [message_view(message, marks.get(message.id)) for message in branch]
            answer = self.answer
            if answer and branch and branch[-1].id == answer.message_id:
                views[-1] = self._streaming_view(answer, marks.get(answer.message_id))
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
        """Stop the answer and keep what came; asked again, end an engine that does not obey.

        A double tap or a key that repeats is no second request: a loaded model is dear.
        """
        answer = self.answer
        if answer is None:
            return False
        if answer.request is None:
            self._end("stopped")
        elif answer.stop_asked is not None:
            if monotonic() - answer.stop_asked >= OBEY_SECONDS:
                self._bridge.kill()
        else:
            answer.stop_asked = monotonic()
            self._bridge.cancel(answer.request)
        self._view.changed()
        return True

    async def close(self) -> None:
        """Save what there is and let the engine go."""
        if self.answer:
            answer, self.answer = self.answer, None
            self._unsaved[answer.message_id] = answer.ended("stopped")
        try:
            for message_id, ended in list(self._unsaved.items()):
                await self._store_end(message_id, ended)
        except OutputError as error:
            self._view.say(str(error), "error")
        await asyncio.to_thread(self._bridge.close)

    # What comes back

    def pump(self) -> None:
        """Take in what the engine said since the last call."""
        text: list[str] = []
        thinking: list[str] = []
        for event in self._bridge.drain():
            match event:
                case Streamed(request, inner) if self.answer and request == self.answer.request:
                    self.answer.take(inner)
                    if isinstance(inner, Text):
                        text.append(inner.text)
                    elif isinstance(inner, Thinking):
                        thinking.append(inner.text)
                    elif isinstance(inner, Done):
                        self._show_pieces(text, thinking)
                        self._end("stopped" if inner.reason == "cancelled" else "done", done=inner)
                case Loaded():
                    self._has_loaded(event)
                case Failed():
                    self._show_pieces(text, thinking)
                    self._has_failed(event)
                case Died():
                    self._show_pieces(text, thinking)
                    self._has_died(event)
                case Streamed():
                    pass  # the tail of a run that is over for us
        self._show_pieces(text, thinking)

    async def flush(self) -> None:
        """Save the answer so far. A full disk is said once, and tried again."""
        answer = self.answer
        if answer is None or not answer.pieces:
            return
        try:
            await self._archive.call(Store.flush, answer.message_id, answer.text, answer.thinking)
        except OutputError as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                self._view.say(self.trouble, "warning")

    def _show_pieces(self, text: list[str], thinking: list[str]) -> None:
        if self.answer and self.answer.key is not None and (text or thinking):
            self._view.stream(self.answer.key, "".join(text), "".join(thinking))
        text.clear()
        thinking.clear()

    def _has_loaded(self, event: Loaded) -> None:
        if event.request != self._loading:
            return
        self.loaded, self.loaded_name = event, self._loading_name
        self._loading = None
        self.trouble = ""
        for notice in event.notices:
            self._view.say(notice, "information")
        if self.answer and self.answer.request is None:
            self._ask(self.answer)
        self._view.changed()

    def _has_failed(self, event: Failed) -> None:
        sentence = f"{event.what} {event.hint}".strip()
        if event.request == self._loading:
            self._loading = self.loaded = None
            self.trouble = event.what
            if self.answer:
                self._end("error", sentence)
            else:
                self._view.say(sentence, "error")
        elif self.answer and event.request == self.answer.request:
            if event.kind == "EngineError":
                self.loaded = None  # the engine let go of the model: the next message loads it anew
            self._end("error", sentence)
        self._view.changed()

    def _has_died(self, event: Died) -> None:
        self._loading = self.loaded = None
        answer = self.answer
        if answer and answer.stopping:
            self._end("stopped")
        else:
            self.trouble = event.cause
            words = f" It said: {event.last_words}" if event.last_words else ""
            if answer:
                kept = "What came is kept. " if answer.pieces else ""
                again = "Ctrl+R asks again and starts the engine anew."
                self._end("error", f"{event.cause} {kept}{again}{words}")
            else:
                self._view.say(f"{event.cause} The next message starts it anew.{words}", "error")
        self._view.changed()

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
        answer.key = self._view.add(self._streaming_view(answer, mark))
        self._keys[row.id] = answer.key
        self.answer = answer
        if self.loaded and self.loaded_name == self.model and self._bridge.alive:
            self._ask(answer)
        elif self._loading is None or self._loading_name != self.model:
            self._load()
        self._view.changed()

    async def _mark(self, message: Message) -> tuple[int, int] | None:
        """Which version of how many ``message`` is; None where that cannot be read."""
        try:
            marks = await self._archive.call(Store.versions, message.conversation_id)
        except OutputError:
            return None  # an ornament: whatever matters on that disk will say so
        return marks.get(message.id)

    def _streaming_view(self, answer: Answer, mark: tuple[int, int] | None) -> MessageView:
        return MessageView(
            "assistant",
            answer.text,
            header=model_label(answer.model) or "Qwen",
            thinking=answer.thinking,
            state="streaming",
            sibling=mark,
        )

    def _load(self) -> None:
        self.trouble = ""
        self.loaded = None
        self._loading_name = self.model
        self._loading = self._bridge.load(self.model)

    def _ask(self, answer: Answer) -> None:
        answer.request = self._bridge.chat(answer.messages)

    def _end(self, state: End, note: str = "", done: Done | None = None) -> None:
        answer, self.answer = self.answer, None
        assert answer is not None
        ended = answer.ended(state, note, done)
        # At once, whatever the disk says: the next question is asked with this answer before it.
        self._unsaved[answer.message_id] = ended
        self._branch = [self._as_ended(message) for message in self._branch]
        if answer.key is not None:
            thought = ended.statistics.thinking_ms
            seconds = None if thought is None else thought / 1000
            view = MessageView(
                "assistant",
                header=answer_header(answer.model, ended.statistics),
                thinking_seconds=seconds,
                thinking_tokens=done.usage.thinking_tokens or None if done else None,
                state=state,
                detail=note,
            )
            self._view.end(answer.key, view)
        self._view.spawn(self._save_end(answer.message_id, ended))
        self._view.changed()

    def _as_ended(self, message: Message) -> Message:
        ended = self._unsaved.get(message.id)
        return ended.applied_to(message) if ended else message

    async def _save_end(self, message_id: int, ended: Ended) -> None:
        """Store the end of an answer, however long the disk refuses."""
        said = False
        while True:
            try:
                await self._store_end(message_id, ended)
                break
            except OutputError as error:
                if not said:
                    self._view.say(str(error), "warning")
                said = True
                await asyncio.sleep(SAVE_AGAIN_SECONDS)
        self._view.listed()
        self._view.changed()

    async def _store_end(self, message_id: int, ended: Ended) -> None:
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

    async def _remember_model(self, conversation_id: int, name: str) -> None:
        try:
            await self._archive.call(Store.set_model, conversation_id, name)
        except OutputError as error:
            self._view.say(str(error), "warning")
