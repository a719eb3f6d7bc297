"""The engine's side of the chat: which model is in memory, and the answer being written.

Whatever happens to the engine, what has come of an answer is handed on: it ends ``stopped`` or with
an ``error``, and never just disappears.
"""

from __future__ import annotations

from collections.abc import Callable

from mlxqwen.engine.events import Done, Text, Thinking

from .answer import Answer, Ended
from .bridge import Bridge, Died, Failed, Forecasted, Loaded, Streamed
from .forecast import Outlook
from .keys import key_name
from .records import End
from .view import View
from .words import say


class Answering:
    """One model, and at most one answer, over the bridge.

    Args:
        ended: Called when the answer is over, with what is to be kept of it and the tokens it
            thought, as far as the engine says.
        outlook: What is foreseen for what is being written.
        context: How many tokens a model is to make room for; 0 for as many as fit.
    """

    def __init__(
        self,
        bridge: Bridge,
        view: View,
        ended: Callable[[Answer, Ended, int | None], None],
        outlook: Outlook,
        context: Callable[[], int] = lambda: 0,
    ) -> None:
        self._bridge = bridge
        self._view = view
        self._ended = ended
        self._outlook = outlook
        self._context = context
        self._loading: int | None = None
        self._loading_name = ""
        self.model = ""
        """What answers are asked of: loaded, or loaded when the next one is asked for."""
        self.loaded: Loaded | None = None
        self.loaded_name = ""
        self.answer: Answer | None = None
        self.trouble = ""
        """Why the engine cannot answer right now; "" while nothing is wrong."""

    @property
    def loading(self) -> bool:
        """A model is on its way into memory."""
        return self._loading is not None

    def load(self) -> None:
        """Load ``model``, in place of what is loaded."""
        self.trouble = ""
        self.loaded = None
        self._outlook.forget()
        self._loading_name = self.model
        self._loading = self._bridge.load(self.model, self._context() or None)

    def begin(self, answer: Answer) -> None:
        """Ask for ``answer``, now or as soon as its model is loaded."""
        self.answer = answer
        if self.loaded and self.loaded_name == self.model and self._bridge.alive:
            self._ask(answer)
        elif self._loading is None or self._loading_name != self.model:
            self.load()
        self._view.changed()

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
            if answer.disobeyed:
                self._bridge.kill()
        else:
            answer.ask_to_stop()
            self._bridge.cancel(answer.request)
        self._view.changed()
        return True

    def abandon(self) -> tuple[Answer, Ended] | None:
        """The answer as it is now, which is over with this; None if none is being written."""
        answer, self.answer = self.answer, None
        return (answer, answer.ended("stopped")) if answer else None

    def close(self) -> None:
        """Let the engine go. May take a second."""
        self._bridge.close()

    def pump(self) -> None:
        """Take in what the engine said since the last call."""
        text: list[str] = []
        thinking: list[str] = []
        for event in self._bridge.drain():
            match event:
                case Streamed(request, came) if self.answer and request == self.answer.request:
                    inner = self.answer.take(came)
                    if isinstance(inner, Text):
                        text.append(inner.text)
                    elif isinstance(inner, Thinking):
                        thinking.append(inner.text)
                    elif isinstance(inner, Done):
                        self._show_pieces(text, thinking)
                        self._end("stopped" if inner.reason == "cancelled" else "done", done=inner)
                case Forecasted():
                    self._outlook.take(event)
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
        self._outlook.turn()
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
            words = say("session.last_words", words=event.last_words) if event.last_words else ""
            if answer:
                part = "session.died_kept" if answer.pieces else "session.died_answering"
                self._end("error", say(part, cause=event.cause, key=key_name("regenerate")) + words)
            else:
                self._view.say(say("session.died", cause=event.cause) + words, "error")
        self._view.changed()

    def _ask(self, answer: Answer) -> None:
        asked = answer.asked
        answer.request = self._bridge.chat(
            answer.messages,
            think=asked.think,
            sampling=asked.sampling,
            max_tokens=asked.max_tokens,
        )

    def _end(self, state: End, note: str = "", done: Done | None = None) -> None:
        answer, self.answer = self.answer, None
        assert answer is not None
        self._outlook.turn()
        thought = done.usage.thinking_tokens or None if done else None
        self._ended(answer, answer.ended(state, note, done), thought)
        self._view.changed()
