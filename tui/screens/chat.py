"""The chat: a list of conversations, the open one, and the box one writes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message as Event
from textual.timer import Timer
from textual.widgets import OptionList, Static, TextArea
from textual.worker import Worker

from mlxqwen.errors import MlxqwenError, OutputError

from ..actions.carry_out import HANDLERS, carry_out
from ..actions.message import copy_code, wished
from ..actions.suggest import Suggestion, choices, commands, paths
from ..actions.table import BY_NAME
from ..archive import Archive
from ..bridge import Bridge
from ..job import Job
from ..job_words import summary
from ..jobs import Jobs
from ..keys import bindings
from ..records import Conversation, Message
from ..session import Session
from ..settings import Settings
from ..store import Store
from ..views import one_line, transcript_labels
from ..widgets.bars import TitleBar
from ..widgets.composer import Composer
from ..widgets.hints import Hints
from ..widgets.prompt import Prompt
from ..widgets.reader import Reader
from ..widgets.sidebar import Sidebar
from ..widgets.transcript import Transcript
from ..words import plural, say
from .chat_view import ChatView

if TYPE_CHECKING:
    from mlxqwen.hub.library import LocalModel

PUMP_SECONDS = 1 / 30
IDLE_SECONDS = 1 / 4
FLUSH_SECONDS = 1 / 4
LONG_SECONDS = 10.0
"""An answer that took longer is told to a person who looks elsewhere."""
TITLE_CHARACTERS = 60


class ChatScreen(ChatView):
    """Keys and clicks, and what runs beside them; what they mean is the ``Session``'s business."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(),
        Binding("pageup", "page(-1)", "Scroll up", priority=True),
        Binding("pagedown", "page(1)", "Scroll down", priority=True),
    ]

    @dataclass
    class Answered(Event):
        """A long answer is there, unseen; ``text`` says so and is safe to show anywhere."""

        text: str

    def __init__(
        self,
        archive: Archive,
        bridge: Bridge,
        clock: Callable[[], float],
        settings: Settings,
        settings_path: Path,
        change: Callable[..., None],
    ) -> None:
        composer = Composer(self._suggest, HANDLERS, self.own_messages, id="composer")
        super().__init__(Session(archive, bridge, self, settings), composer, clock, settings)
        self.settings_path = settings_path
        self.change = change
        self.archive = archive
        self.jobs = Jobs(archive.path.parent / "jobs")
        self.jobs.watch(self._job_changed)
        self._bridge = bridge
        self.models: dict[str, LocalModel] = {}
        self._pump_timer: Timer | None = None
        self._restoring: Worker[None] | None = None

    def on_mount(self) -> None:
        """What was written and not sent is read before anything can be written over it."""
        self._restoring = self.run_worker(self.session.restore())

    async def start(self, model: str | None, *, read_only: bool, recovered: int) -> None:
        """Choose a model and load it, once the archive is open and something is on the screen."""
        self.read_only = read_only
        self.listed()
        if self._restoring:
            await self._restoring.wait()
        self.composer.history.fill(reversed(await self.session.history()))
        await self.read_models()
        self.session.model = model or await self._last_model()
        if self.session.model:
            self.session.choose_model(self.session.model)
        if read_only:
            self.say(say("chat.read_only"), "warning")
        elif recovered:
            self.say(plural("chat.recovered", recovered), "information")
        self._pump_timer = self.set_timer(PUMP_SECONDS, self._pump)
        self.set_interval(FLUSH_SECONDS, self._flush)

    def configure(self, settings: Settings) -> None:
        """Obey changed settings; what is on the screen is said anew."""
        spoke, self.settings = self.settings.language, settings
        self.session.settings = settings
        self.query_one(Transcript).reword(transcript_labels(thoughts=settings.thoughts))
        if settings.language != spoke:
            self.speak()
            if self.session.branch:  # the one that is shown, which need not be the one left last
                last = self.session.branch[-1]
                self.spawn(self.session.open(last.conversation_id, last.id))
            self.listed()
        self.changed()

    def listed(self) -> None:
        """Read the list of conversations anew."""
        self.spawn(self._list())

    def shown_messages(self) -> list[tuple[int, Message]]:
        """The messages shown with the transcript's keys, oldest first."""
        return list(zip(self.transcript.keys, self.session.branch, strict=False))

    def own_messages(self) -> list[Message]:
        """What the person said in the open branch, oldest first."""
        return [message for message in self.session.branch if message.role == "user"]

    def reader_at(self, place: int) -> None:
        """Mark the message at ``place``, or the last one, after others have come there."""
        keys = self.transcript.keys
        self.transcript.enter(keys[min(place, len(keys) - 1)] if keys else None)

    # Keys and clicks

    @on(Composer.Sent)
    def _sent(self, event: Composer.Sent) -> None:
        self.spawn(self._send(event))

    @on(Prompt.Commanded)
    def _commanded(self, event: Prompt.Commanded) -> None:
        self.action_do(event.command.action.name, event.command.argument)
        self.spawn(self._remember(event.command.text))

    @on(Composer.Changed)
    @on(TextArea.Changed)
    def _written_on(self) -> None:
        self.session.drafted()
        self.show_status()

    @on(Prompt.Mistaken)
    def _mistaken(self, event: Prompt.Mistaken) -> None:
        word, nearest = one_line(event.unknown.word), event.unknown.nearest
        sentence = "prompt.unknown_near" if nearest else "prompt.unknown"
        self.say(say(sentence, word=word, nearest=nearest), "warning")

    @on(Prompt.Left)
    def _left(self) -> None:
        self.action_do("stop")

    @on(Prompt.Tabbed)
    def _read_on(self) -> None:
        self.transcript.enter()

    @on(Prompt.TabbedBack)
    def _to_list(self) -> None:
        sidebar = self.query_one(Sidebar)
        if sidebar.display:
            sidebar.focus()

    @on(Reader.Left)
    @on(Sidebar.Left)
    def _write_on(self) -> None:
        self.prompt.focus()

    @on(Reader.Wished)
    def _wished(self, event: Reader.Wished) -> None:
        self.spawn(wished(self, event))

    @on(Reader.Focused)
    def _hint(self, event: Reader.Focused) -> None:
        self.query_one(Hints).display = event.focused

    @on(OptionList.OptionSelected, "#sidebar")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id is not None:
            self.spawn(self.open(int(event.option_id)))

    @on(Transcript.FollowChanged)
    def _follow_changed(self, event: Transcript.FollowChanged) -> None:
        below = self.query_one("#below", Static)
        below.display = not event.following and event.new_lines > 0
        below.update(plural("chat.new_lines", event.new_lines))

    @on(Transcript.CodeClicked)
    def _code_clicked(self, event: Transcript.CodeClicked) -> None:
        copy_code(self, event.key, event.number)

    @on(Prompt.EndPressed)
    def _end_pressed(self) -> None:
        self.transcript.follow()

    def action_do(self, name: str, argument: str = "") -> None:
        """Carry out an action of the table, however it was asked for."""
        self.spawn(carry_out(self, name, argument))

    def action_page(self, direction: int) -> None:
        """Page Up and Page Down scroll the conversation from wherever one is."""
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.action_page_up()
        else:
            transcript.action_page_down()

    # Beside the event loop

    def _pump(self) -> None:
        answer = self.session.answer
        self.session.pump()
        if answer or self.session.loading:
            self.show_status()
        if answer and self.session.answer is not answer and not answer.stopping:
            self._has_answered(monotonic() - answer.began)
        busy = self._bridge.busy or self.session.answer is not None
        self._pump_timer = self.set_timer(PUMP_SECONDS if busy else IDLE_SECONDS, self._pump)

    def _flush(self) -> None:
        if self.session.answer:
            self.spawn(self.session.flush())

    def _has_answered(self, seconds: float) -> None:
        """Tell a person who looks elsewhere that a long answer is there."""
        if seconds > LONG_SECONDS and self.settings.notify and not self.app.app_focus:
            conversation = self.session.conversation
            title = one_line(conversation.title)[:TITLE_CHARACTERS] if conversation else ""
            self.post_message(self.Answered(say("prompt.answered", title=title)))

    async def _send(self, sent: Composer.Sent) -> None:
        session = self.session
        if sent.editing is None:
            taken = await session.send(sent.text, sent.attachments)
        else:
            taken = await session.edit(sent.editing, sent.text, sent.attachments)
        if not taken:
            self.composer.give_back(sent)

    async def _suggest(self, line: str) -> Sequence[Suggestion]:
        word, space, _ = line.partition(" ")
        if not space:
            return commands(line, HANDLERS)
        if word == BY_NAME["attach"].slash:
            return await asyncio.to_thread(paths, line)
        return choices(
            line, {"models": list(self.models), "theme": list(self.app.available_themes)}
        )

    async def _remember(self, command: str) -> None:
        with suppress(OutputError):  # a convenience: what matters on that disk will say so
            await self.archive.call(Store.remember, command)

    def _job_changed(self, job: Job) -> None:
        if self.is_mounted:
            title = self.query_one(TitleBar)
            title.occupy(summary(self.jobs), online=self.jobs.online)
            from ..actions.models import tell

            tell(self, job)

    async def leave(self) -> None:
        """Save what there is, let the engine go."""
        await self.jobs.close()
        await self.session.close()

    async def new(self, instead_of: int | None = None) -> None:
        """An empty chat; given an id, only if that conversation is the one open."""
        await self.session.new(instead_of)
        self.listed()

    async def open(self, conversation_id: int, message_id: int | None = None) -> None:
        """A stored chat, at the branch of ``message_id`` if given."""
        await self.session.open(conversation_id, message_id)
        if self.session.model not in self.models and self.session.model:
            await self.read_models()
            if self.session.model not in self.models:
                from ..actions.models import offer

                await offer(self, self.session.model)
        self.listed()
        self.prompt.focus()

    async def _list(self) -> None:
        conversations = await self.recent()
        current = self.session.conversation.id if self.session.conversation else None
        self.query_one(Sidebar).present(conversations, current, self.clock())
        self.show_status()

    async def recent(self, limit: int = 500) -> list[Conversation]:
        """The chats that the list shows; none where the disk refuses, with the reason said."""
        try:
            return await self.archive.call(Store.conversations, limit)
        except MlxqwenError as error:
            self.say(str(error), "error")
            return []

    async def read_models(self) -> None:
        """Look again at what is on this machine."""
        from mlxqwen.hub.library import local_models

        found = await asyncio.to_thread(local_models)  # the store's thread has better to do
        self.models = {model.name: model for model in found}

    async def _last_model(self) -> str:
        for conversation in await self.recent(1):
            if conversation.model_id in self.models:
                return conversation.model_id
        from mlxqwen.hub.library import default_model

        try:
            return (await asyncio.to_thread(default_model)).name
        except MlxqwenError as error:
            self.say(str(error), "error")
            return ""
