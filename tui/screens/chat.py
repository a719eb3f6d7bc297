"""The chat: a list of conversations, the open one, and the box one writes in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, Middle, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import OptionList, Static

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import GUIDE, LocalModel, local_models

from ..archive import Archive
from ..bridge import Bridge
from ..records import Conversation
from ..session import Session
from ..store import Store
from ..units import size
from ..view import Severity
from ..views import model_label, one_line
from ..widgets.bars import StatusBar, TitleBar
from ..widgets.prompt import Prompt
from ..widgets.sidebar import Sidebar, conversation_line
from ..widgets.transcript import MessageView, Transcript
from ..widgets.welcome import Welcome
from .help import HelpScreen
from .picker import Choice, Picker
from .status import state_line

PUMP_SECONDS = 1 / 30
IDLE_SECONDS = 1 / 4
FLUSH_SECONDS = 1 / 4
_PICKER_WIDTH = 65


class ChatScreen(Screen[None]):
    """Widgets and keys; what they mean is the ``Session``'s business."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop the answer"),
        Binding("ctrl+n", "new", "New chat", priority=True),
        Binding("ctrl+f", "find", "Find a chat", priority=True),
        Binding("ctrl+l", "models", "Choose the model", priority=True),
        Binding("ctrl+t", "fold", "Fold thoughts", priority=True),
        Binding("ctrl+r", "regenerate", "Answer again", priority=True),
        Binding("f1", "help", "Help", priority=True),
        Binding("pageup", "page(-1)", "Scroll up", priority=True),
        Binding("pagedown", "page(1)", "Scroll down", priority=True),
    ]

    def __init__(self, archive: Archive, bridge: Bridge, clock: Callable[[], float]) -> None:
        super().__init__()
        self._archive = archive
        self._bridge = bridge
        self._clock = clock
        self._models: dict[str, LocalModel] = {}
        self._pump_timer: Timer | None = None
        self._read_only = False
        self.session = Session(archive, bridge, self)

    def compose(self) -> ComposeResult:
        """Title above, list and conversation side by side, prompt and status below."""
        yield TitleBar(id="title")
        with Horizontal(id="body"):
            yield Sidebar(id="sidebar")
            with Vertical(id="conversation"):
                with Middle(id="empty"), Center():
                    yield Welcome(id="welcome")
                yield Transcript(id="transcript")
                yield Static("", id="below", markup=False)
                yield Prompt("Ask anything", id="prompt")
        yield StatusBar(id="status")

    def on_mount(self) -> None:
        """Show everything empty; files are read and the engine starts after the first paint."""
        self.query_one(Prompt).focus()
        self.changed()

    async def start(self, model: str | None, *, read_only: bool, recovered: int) -> None:
        """Choose a model and load it, once the archive is open and something is on the screen."""
        self._read_only = read_only
        self.listed()
        await self._read_models()
        self.session.model = model or await self._last_model()
        if self.session.model:
            self.session.choose_model(self.session.model)
        if read_only:
            self.say("Another mlxqwen is open: conversations are read-only in this one.", "warning")
        elif recovered:
            answers = "one answer was" if recovered == 1 else f"{recovered} answers were"
            self.say(f"Last time {answers} cut off; what had come is kept.", "information")
        self._pump_timer = self.set_timer(PUMP_SECONDS, self._pump)
        self.set_interval(FLUSH_SECONDS, self._flush)

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

    # Keys and clicks

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        self.spawn(self._send(event.text))

    @on(OptionList.OptionSelected, "#sidebar")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id is not None:
            self.spawn(self._open(int(event.option_id)))

    @on(Transcript.FollowChanged)
    def _follow_changed(self, event: Transcript.FollowChanged) -> None:
        below = self.query_one("#below", Static)
        below.display = not event.following and event.new_lines > 0
        lines = "line" if event.new_lines == 1 else "lines"
        below.update(f"↓ {event.new_lines} new {lines} (End)")

    @on(Transcript.CodeClicked)
    def _code_clicked(self, event: Transcript.CodeClicked) -> None:
        self.app.copy_to_clipboard(event.code)
        self.say(f"Code block {event.number} is copied.", "information")

    @on(Prompt.EndPressed)
    def _end_pressed(self) -> None:
        self.query_one(Transcript).follow()

    def action_stop(self) -> None:
        """Esc: stop the answer; with none, go back to the prompt."""
        if not self.session.stop():
            self.query_one(Prompt).focus()

    def action_new(self) -> None:
        """Ctrl+N: an empty chat."""
        self.spawn(self._new())
        self.query_one(Prompt).focus()

    def action_fold(self) -> None:
        """Ctrl+T: thoughts in or out of sight."""
        self.query_one(Transcript).toggle_thinking()

    def action_regenerate(self) -> None:
        """Ctrl+R: another answer to the last question."""
        self.spawn(self.session.regenerate())

    def action_help(self) -> None:
        """F1: the keys."""
        self.app.push_screen(HelpScreen())

    def action_page(self, direction: int) -> None:
        """Page Up and Page Down scroll the conversation from wherever one is."""
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.action_page_up()
        else:
            transcript.action_page_down()

    def action_find(self) -> None:
        """Ctrl+F: titles of recent chats, or anything ever said in one."""
        self.app.push_screen(
            Picker("Find a chat", "a title, or words from any message", self._chats), self._found
        )

    def action_models(self) -> None:
        """Ctrl+L: another model on this machine."""
        self.app.push_screen(
            Picker("Models on this machine", "a part of the name", self._model_choices),
            self._model_chosen,
        )

    def action_delete(self) -> None:
        """Hide the open chat; it can be brought back."""
        if self.session.conversation:
            self.spawn(self._delete(self.session.conversation.id))

    def action_undo_delete(self) -> None:
        """Bring back the chat deleted last."""
        self.spawn(self._undo_delete())

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

    async def _new(self, instead_of: int | None = None) -> None:
        await self.session.new(instead_of)
        self.listed()

    async def _open(self, conversation_id: int, message_id: int | None = None) -> None:
        await self.session.open(conversation_id, message_id)
        if self.session.model not in self._models and self.session.model:
            await self._read_models()
            if self.session.model not in self._models:
                self.say(
                    f"{self.session.model} is not on this machine; Ctrl+L picks another.", "warning"
                )
        self.listed()
        self.query_one(Prompt).focus()

    async def _list(self) -> None:
        conversations = await self._recent()
        current = self.session.conversation.id if self.session.conversation else None
        self.query_one(Sidebar).present(conversations, current, self._clock())
        self._show_status()

    async def _recent(self, limit: int = 500) -> list[Conversation]:
        try:
            return await self._archive.call(Store.conversations, limit)
        except MlxqwenError as error:
            self.say(str(error), "error")
            return []

    async def _delete(self, conversation_id: int) -> None:
        try:
            await self._archive.call(Store.delete, conversation_id)
        except MlxqwenError as error:
            self.say(str(error), "error")
            return
        await self._new(conversation_id)
        self.say(
            "The chat is deleted. “Undo delete” in the palette (Ctrl+P) brings it back.",
            "information",
        )

    async def _undo_delete(self) -> None:
        try:
            conversation = await self._archive.call(Store.undo_delete)
        except MlxqwenError as error:
            self.say(str(error), "error")
            return
        if conversation:
            await self._open(conversation.id)

    async def _read_models(self) -> None:
        found = await self._archive.background(local_models)
        self._models = {model.name: model for model in found}

    async def _last_model(self) -> str:
        for conversation in await self._recent(1):
            if conversation.model_id in self._models:
                return conversation.model_id
        from mlxqwen.hub.library import default_model

        try:
            return (await self._archive.background(default_model)).name
        except MlxqwenError as error:
            self.say(str(error), "error")
            return ""

    async def _chats(self, wanted: str) -> list[Choice]:
        current = self.session.conversation.id if self.session.conversation else None
        recent = await self._recent()
        titled = [item for item in recent if wanted.lower() in item.title.lower()]
        choices = [
            Choice(
                f"{item.id}:",
                conversation_line(item, item.id == current, self._clock(), _PICKER_WIDTH),
            )
            for item in titled[:50]
        ]
        try:
            hits = await self._archive.call(Store.search, wanted) if wanted.strip() else []
        except MlxqwenError as error:
            self.say(str(error), "error")
            hits = []
        for hit in hits:
            label = Content.assemble(
                (f"{one_line(hit.title)}  ", "$text-muted"), one_line(hit.passage)
            )
            choices.append(Choice(f"{hit.conversation_id}:{hit.message_id}", label))
        return choices

    def _found(self, value: str | None) -> None:
        if value:
            conversation, _, message = value.partition(":")
            self.spawn(self._open(int(conversation), int(message) if message else None))

    async def _model_choices(self, wanted: str) -> list[Choice]:
        if not wanted:
            await self._read_models()
        choices: list[Choice] = []
        for model in self._models.values():
            if wanted.lower() in model.name.lower():
                bits = f"{model.bits:g}-bit" if model.bits else ""
                style = "bold $text-primary" if model.name == self.session.model else ""
                label = Content.assemble(
                    (one_line(model.name), style),
                    (f"   {size(model.bytes)} {bits} {model.source}", "$text-muted"),
                )
                choices.append(Choice(model.name, label))
        return choices

    def _model_chosen(self, name: str | None) -> None:
        if name:
            self.session.choose_model(name)

    def _show_status(self) -> None:
        session = self.session
        context = session.loaded.context if session.loaded else 0
        keys = "Esc stop   F1 help" if session.answer else "F1 help"
        self.query_one(StatusBar).present(
            state_line(session, read_only=self._read_only),
            used=session.context_used,
            context=context,
            keys=keys,
            trouble=bool(session.trouble) and not session.answer,
        )
