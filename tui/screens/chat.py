"""The chat: a list of conversations, the open one, and the box one writes in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, Middle, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import OptionList, Static

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import GUIDE, LocalModel, local_models

from ..actions.carry_out import carry_out
from ..archive import Archive
from ..bridge import Bridge
from ..keys import bindings, key_name, pairs
from ..records import Conversation
from ..session import Session
from ..settings import Settings
from ..store import Store
from ..view import Severity
from ..views import model_label, one_line, transcript_labels
from ..widgets.bars import StatusBar, TitleBar
from ..widgets.prompt import Prompt
from ..widgets.sidebar import Sidebar
from ..widgets.transcript import MessageView, Transcript
from ..widgets.welcome import Welcome
from ..words import plural, say
from .status import state_line

PUMP_SECONDS = 1 / 30
IDLE_SECONDS = 1 / 4
FLUSH_SECONDS = 1 / 4


class ChatScreen(Screen[None]):
    """Widgets and keys; what they mean is the ``Session``'s business."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(),
        Binding("pageup", "page(-1)", "Scroll up", priority=True),
        Binding("pagedown", "page(1)", "Scroll down", priority=True),
    ]

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
        self.settings = settings
        self.settings_path = settings_path
        self.change = change
        self.archive = archive
        self._bridge = bridge
        self.clock = clock
        self.models: dict[str, LocalModel] = {}
        self._pump_timer: Timer | None = None
        self.read_only = False
        self.session = Session(archive, bridge, self)

    def compose(self) -> ComposeResult:
        """Title above, list and conversation side by side, prompt and status below."""
        yield TitleBar(id="title")
        with Horizontal(id="body"):
            yield Sidebar(id="sidebar")
            with Vertical(id="conversation"):
                with Middle(id="empty"), Center():
                    yield Welcome(id="welcome")
                yield Transcript(
                    labels=transcript_labels(thoughts=self.settings.thoughts), id="transcript"
                )
                yield Static("", id="below", markup=False)
                yield Prompt(say("chat.ask"), id="prompt")
        yield StatusBar(id="status")

    def on_mount(self) -> None:
        """Show everything empty; files are read and the engine starts after the first paint."""
        self.query_one(Prompt).focus()
        self.changed()

    async def start(self, model: str | None, *, read_only: bool, recovered: int) -> None:
        """Choose a model and load it, once the archive is open and something is on the screen."""
        self.read_only = read_only
        self.listed()
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
            self.query_one(Prompt).placeholder = say("chat.ask")
            self.query_one(Sidebar).border_title = say("chat.chats")
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

    def say(self, text: str, severity: Severity) -> None:
        """A passing notice."""
        self.notify(text, severity=severity, markup=False, timeout=8)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside everything else."""
        self.run_worker(work, exit_on_error=True)

    @property
    def prompt(self) -> Prompt:
        """The box one writes in."""
        return self.query_one(Prompt)

    @property
    def transcript(self) -> Transcript:
        """The open conversation."""
        return self.query_one(Transcript)

    # Keys and clicks

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        self.spawn(self._send(event.text))

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
        self.app.copy_to_clipboard(event.code)
        self.say(say("chat.code_copied", number=event.number), "information")

    @on(Prompt.EndPressed)
    def _end_pressed(self) -> None:
        self.query_one(Transcript).follow()

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
        answering = self.session.answer is not None
        self.session.pump()
        if answering or self.session.loading:
            self._show_status()
        busy = self._bridge.busy or self.session.answer is not None
        self._pump_timer = self.set_timer(PUMP_SECONDS if busy else IDLE_SECONDS, self._pump)

    def _flush(self) -> None:
        if self.session.answer:
            self.spawn(self.session.flush())

    async def _send(self, text: str) -> None:
        if not await self.session.send(text):
            self.query_one(Prompt).give_back(text)

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
        self.query_one(Prompt).focus()

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
