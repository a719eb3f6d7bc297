"""What the chat looks like, and how it shows what the session tells."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Center, Horizontal, Middle, Vertical
from textual.screen import Screen
from textual.widgets import Static

from mlxqwen.hub.places import GUIDE

from ..keys import key_name, pairs
from ..records import Draft
from ..session import Session
from ..settings import Settings
from ..view import Severity
from ..views import model_label, one_line, transcript_labels
from ..widgets.bars import StatusBar, TitleBar
from ..widgets.composer import Composer
from ..widgets.hints import Hints
from ..widgets.prompt import Prompt
from ..widgets.reader import Reader
from ..widgets.sidebar import Sidebar
from ..widgets.transcript import MessageView, Transcript
from ..widgets.welcome import Welcome
from ..words import say
from .status import memory_of, state_line

_WHEEL = 3  # lines for one turn of the wheel


class Column(Vertical):
    """Conversation and prompt; beside the text, too, the wheel moves the conversation."""

    def on_mouse_scroll_up(self) -> None:
        """Back, where nothing else under the pointer took the event."""
        self._scroll(-_WHEEL)

    def on_mouse_scroll_down(self) -> None:
        """And forth."""
        self._scroll(_WHEEL)

    def _scroll(self, lines: int) -> None:
        transcript = self.query_one(Transcript)
        transcript.scroll_to(y=transcript.scroll_y + lines)


class ChatView(Screen[None]):
    """All of a session's ``View`` but the list: title, conversation, prompt and status."""

    def __init__(
        self,
        session: Session,
        composer: Composer,
        clock: Callable[[], float],
        settings: Settings,
    ) -> None:
        super().__init__()
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [
            (0, "-tiny"),
            (40, "-slim"),
            (60, "-narrow"),
            (90, "-wide"),
            (160, "-broad"),
        ]
        self.VERTICAL_BREAKPOINTS = [(0, "-flat"), (10, "-low"), (16, "-high")]
        self.session = session
        self.composer = composer
        self.clock = clock
        self.settings = settings
        self.read_only = False

    def compose(self) -> ComposeResult:
        """Title above, list and conversation side by side, prompt and status below."""
        yield TitleBar(id="title")
        with Horizontal(id="body"):
            yield Sidebar(id="sidebar")
            with Column(id="conversation"):
                with Middle(id="empty"), Center():
                    yield Welcome(id="welcome")
                yield Reader(
                    labels=transcript_labels(thoughts=self.settings.thoughts), id="transcript"
                )
                yield Static("", id="below", markup=False)
                yield Hints(id="hint")
                yield self.composer
        yield StatusBar(id="status")
        yield Static("", id="too_small", markup=False)

    def on_mount(self) -> None:
        """Show everything empty; files are read and the engine starts after the first paint."""
        self.prompt.focus()
        self.speak()
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
        self.show_status()

    def written(self) -> Draft:
        """What is in the prompt, unsent."""
        return self.composer.draft

    def write(self, draft: Draft) -> None:
        """Put ``draft`` into the prompt."""
        self.composer.open(draft)

    def say(self, text: str, severity: Severity) -> None:
        """A passing notice."""
        seconds = 5 if severity == "information" else 10
        self.notify(text, severity=severity, markup=False, timeout=seconds)

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

    def speak(self) -> None:
        """Everything that is said once, in the language spoken now."""
        self.composer.translate()
        self.query_one(Sidebar).border_title = say("chat.chats")
        self.query_one(Hints).present(say("message.hint"))
        self.query_one("#too_small", Static).update(say("prompt.too_small"))

    def show_status(self) -> None:
        """The bar below says what goes on now."""
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
            draft=str(session.outlook.size_of(self.written().text) or ""),
            memory=memory_of(session),
        )
