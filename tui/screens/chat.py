"""The chat: a list of conversations, the open one, and the box one writes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, Middle, Vertical
from textual.message import Message as Event
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import OptionList, Static

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import GUIDE, LocalModel, local_models

from ..actions.carry_out import HANDLERS, carry_out
from ..actions.message import copy_code, wished
from ..actions.suggest import Suggestion, choices, commands, paths
from ..actions.table import BY_NAME
from ..archive import Archive
from ..bridge import Bridge
from ..keys import bindings, key_name, pairs
from ..records import Conversation, Draft, Message
from ..session import Session
from ..settings import Settings
from ..store import Store
from ..view import Severity
from ..views import model_label, one_line, transcript_labels
from ..widgets.bars import StatusBar, TitleBar
from ..widgets.composer import Composer
from ..widgets.prompt import Prompt
from ..widgets.reader import Reader
from ..widgets.sidebar import Sidebar
from ..widgets.transcript import MessageView, Transcript
from ..widgets.welcome import Welcome
from ..words import plural, say
from .status import state_line

PUMP_SECONDS = 1 / 30
IDLE_SECONDS = 1 / 4
FLUSH_SECONDS = 1 / 4
LONG_SECONDS = 10.0
"""An answer that took longer is told to a person who looks elsewhere."""
TITLE_CHARACTERS = 60


class ChatScreen(Screen[None]):
    """Widgets and keys; what they mean is the ``Session``'s business."""

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
        super().__init__()
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (40, "-slim"), (60, "-narrow"), (90, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-flat"), (10, "-low"), (16, "-high")]
        self.settings = settings
        self.settings_path = settings_path
        self.change = change
        self.archive = archive
        self._bridge = bridge
        self.clock = clock
        self.models: dict[str, LocalModel] = {}
        self._pump_timer: Timer | None = None
        self.read_only = False
        self.composer = Composer(self._suggest, HANDLERS, self.own_messages, id="composer")
        self.session = Session(archive, bridge, self)

    def compose(self) -> ComposeResult:
        """Title above, list and conversation side by side, prompt and status below."""
        yield TitleBar(id="title")
        with Horizontal(id="body"):
            yield Sidebar(id="sidebar")
            with Vertical(id="conversation"):
                with Middle(id="empty"), Center():
                    yield Welcome(id="welcome")
                yield Reader(
                    labels=transcript_labels(thoughts=self.settings.thoughts), id="transcript"
                )
                yield Static("", id="below", markup=False)
                yield Static("", id="hint", markup=False)
                yield self.composer
        yield StatusBar(id="status")
        yield Static("", id="too_small", markup=False)

    def on_mount(self) -> None:
        """Show everything empty; files are read and the engine starts after the first paint."""
        self.prompt.focus()
        self._speak()
        self.changed()

    async def start(self, model: str | None, *, read_only: bool, recovered: int) -> None:
        """Choose a model and load it, once the archive is open and something is on the screen."""
        self.read_only = read_only
        self.listed()
        await self._remember()
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
        self.query_one(Transcript).reword(transcript_labels(thoughts=settings.thoughts))
        if settings.language != spoke:
            self._speak()
            if self.session.conversation:
                self.spawn(self.session.open(self.session.conversation.id))
            self.listed()
        self.changed()

    # What the session asks for

    def show(self, views: Sequence[MessageView]) -> list[int]:
        """Replace the messages shown."""
        return self.query_one(Transcript).set_messages(views)

    def add(self, view: MessageView) -> int:
        """Add one message, and look at it."""
        transcript = self.query_one(Transcript)
        key = transcript.append(view)
        if view.role == "user":
            transcript.follow()
        self.changed()
        return key

    def cut(self, key: int) -> None:
        """Remove message ``key`` and all below."""
        self.query_one(Transcript).remove_from(key)

    def stream(self, key: int, text: str, thinking: str) -> None:
        """An answer goes on."""
        transcript = self.query_one(Transcript)
        if thinking:
            transcript.stream_thinking(key, thinking)
        if text:
            transcript.stream_text(key, text)

    def end(self, key: int, view: MessageView) -> None:
        """An answer is over."""
        self.query_one(Transcript).finish(
            key,
            view.state,
            header=view.header,
            thinking_seconds=view.thinking_seconds,
            thinking_tokens=view.thinking_tokens,
            detail=view.detail,
        )

    def changed(self) -> None:
        """Title, status and welcome follow the session."""
        session = self.session
        title = one_line(session.conversation.title) if session.conversation else ""
        model = model_label(session.model)
        self.query_one(TitleBar).present(title, model)
        empty = not self.query_one(Transcript).keys
        self.query_one(Transcript).display = not empty
        self.query_one("#empty").display = empty
        if empty:
            loaded = session.loaded if session.loaded_name == session.model else None
            description = one_line(loaded.description) if loaded else ""
            self.query_one(Welcome).present(
                model, description, demonstration=session.model == GUIDE
            )
        self._show_status()

    def listed(self) -> None:
        """Read the list of conversations anew."""
        self.spawn(self._list())

    def written(self) -> Draft:
        """What is in the prompt, unsent."""
        return self.composer.draft

    def write(self, draft: Draft) -> None:
        """Put ``draft`` into the prompt."""
        self.composer.open(draft)

    def say(self, text: str, severity: Severity) -> None:
        """A passing notice."""
        self.notify(text, severity=severity, markup=False, timeout=8)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside everything else."""
        self.run_worker(work, exit_on_error=True)

    @property
    def prompt(self) -> Prompt:
        """The box itself."""
        return self.composer.prompt

    @property
    def transcript(self) -> Reader:
        """The open conversation."""
        return self.query_one(Reader)

    def shown_messages(self) -> list[tuple[int, Message]]:
        """The messages shown with the transcript's keys, oldest first."""
        return list(zip(self.transcript.keys, self.session.branch, strict=False))

    def own_messages(self) -> list[tuple[int, str]]:
        """Ids and texts of what the person said in the open branch, oldest first."""
        return [(item.id, item.text) for item in self.session.branch if item.role == "user"]

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
        self.query_one("#hint", Static).display = event.focused

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
            self._show_status()
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
            taken = await (
                session.send(sent.text, sent.attachments)
                if sent.attachments
                else session.send(sent.text)
            )
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

    async def _remember(self) -> None:
        """What was sent before, for Up and Down."""
        try:
            self.composer.history.fill(reversed(await self.archive.call(Store.history)))
        except MlxqwenError as error:
            self.say(str(error), "error")

    async def leave(self) -> None:
        """Save what there is, let the engine go."""
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
                self.say(
                    f"{self.session.model} is not on this machine; Ctrl+L picks another.", "warning"
                )
        self.listed()
        self.prompt.focus()

    async def _list(self) -> None:
        conversations = await self.recent()
        current = self.session.conversation.id if self.session.conversation else None
        self.query_one(Sidebar).present(conversations, current, self.clock())
        self._show_status()

    async def recent(self, limit: int = 500) -> list[Conversation]:
        """The chats that the list shows; none where the disk refuses, with the reason said."""
        try:
            return await self.archive.call(Store.conversations, limit)
        except MlxqwenError as error:
            self.say(str(error), "error")
            return []

    async def read_models(self) -> None:
        """Look again at what is on this machine."""
        found = await self.archive.background(local_models)
        self.models = {model.name: model for model in found}

    async def _last_model(self) -> str:
        for conversation in await self.recent(1):
            if conversation.model_id in self.models:
                return conversation.model_id
        from mlxqwen.hub.library import default_model

        try:
            return (await self.archive.background(default_model)).name
        except MlxqwenError as error:
            self.say(str(error), "error")
            return ""

    def _speak(self) -> None:
        """Everything that is said once, in the language spoken now."""
        self.composer.translate()
        self.query_one(Sidebar).border_title = say("chat.chats")
        self.query_one("#hint", Static).update(say("message.hint"))
        self.query_one("#too_small", Static).update(say("prompt.too_small"))

    def _show_status(self) -> None:
        session = self.session
        context = session.loaded.context if session.loaded else 0
        rows = [(key_name("stop"), say("status.stop"))] if session.answer else []
        keys = pairs([*rows, (key_name("help"), say("status.help"))])
        self.query_one(StatusBar).present(
            state_line(session, read_only=self.read_only),
            used=session.context_used,
            context=context,
            keys=keys,
            trouble=bool(session.trouble) and not session.answer,
        )
