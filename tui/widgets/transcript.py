"""The conversation: one virtual, scrollable view of any number of messages.

    transcript.set_messages([MessageView("user", "Ciao", header="You"), ...])
    key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
    transcript.stream_thinking(key, "…"); transcript.stream_text(key, "…")
    transcript.finish(key, "done", header="Qwen · 61 tok/s · 4.2 s")

Only messages somebody looks at are rendered. Streamed pieces go to a buffer that a timer
drains, at most a third of the loop's time going into rendering. All text is untrusted: it is
cleaned of control characters, never read as markup, and no link in it is active.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from time import perf_counter

from textual.message import Message as TextualMessage
from textual.timer import Timer

from .transcript_message import Labels, Message, MessageView, Role, State
from .transcript_view import TranscriptView

__all__ = ["Labels", "MessageView", "Role", "State", "Transcript"]

FRAME_SECONDS = 1 / 30
"""Shortest time between two renderings of a streaming message."""
RENDER_SHARE = 3
"""A rendering that took t seconds is followed by the next after RENDER_SHARE · t at the soonest."""


class Transcript(TranscriptView):
    """A list of messages, the last of which may be streaming. See the module for its use.

    Messages are named by keys, which grow and are not used again for another message until
    `remove_from` frees them. A key that is not shown raises KeyError.
    """

    @dataclass
    class CodeClicked(TextualMessage):
        """Somebody clicked the label of code block `number` of message `key`."""

        transcript: Transcript
        key: int
        number: int
        code: str

        @property
        def control(self) -> Transcript:
            """The transcript, for `on` with a selector."""
            return self.transcript

    def __init__(
        self,
        *,
        labels: Labels | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._labels = labels or Labels()
        self._first_key = 0  # key of the first message
        self._next_key = 0
        self._dirty: set[int] = set()  # indices to lay out at the next tick
        self._timer: Timer | None = None
        self._tick_seconds = 0.0

    def set_messages(self, messages: Iterable[MessageView], *, follow: bool = True) -> list[int]:
        """Show `messages` instead of what is there and return their keys.

        With `follow` the view goes to the end, otherwise it stays at the same message and line.
        """
        views = [Message(view, self._labels) for view in messages]
        self._first_key = self._next_key
        self._next_key += len(views)
        self._dirty.clear()
        self.marked = None
        self.heights.set_messages(views)
        self.replaced(follow=follow)
        return list(self.keys)

    def append(self, message: MessageView) -> int:
        """Add a message at the end and return its key."""
        key = self._next_key
        self._next_key += 1
        self.heights.append(Message(message, self._labels))
        self.appended()
        return key

    def remove_from(self, key: int) -> None:
        """Remove message `key` and every later one."""
        index = self._index(key)
        self.heights.remove_from(index)
        if self.marked is not None and self.marked >= index:
            self.marked = None
        self._next_key = key
        self._dirty = {number for number in self._dirty if number < index}
        self.update_view()

    def clear(self) -> None:
        """Remove every message."""
        self.set_messages(())

    @property
    def keys(self) -> range:
        """The keys of the messages shown, in order."""
        return range(self._first_key, self._next_key)

    def view(self, key: int) -> MessageView:
        """What message `key` shows; its text as streamed so far."""
        message = self._message(key)
        return replace(message.view, text=message.text, thinking=message.thinking)

    def stream_text(self, key: int, piece: str) -> None:
        """The answer of message `key` goes on; shown at the next tick."""
        self._message(key).append_text(piece)
        self._touch(key)

    def stream_thinking(self, key: int, piece: str) -> None:
        """The thinking of message `key` goes on; shown at the next tick."""
        self._message(key).append_thinking(piece)
        self._touch(key)

    def update_header(
        self,
        key: int,
        header: str | None = None,
        *,
        thinking_seconds: float | None = None,
        thinking_tokens: int | None = None,
        sibling: tuple[int, int] | None = None,
    ) -> None:
        """Change what is given of the header, the sibling mark and the thinking line."""
        message = self._message(key)
        given = {
            "header": header,
            "thinking_seconds": thinking_seconds,
            "thinking_tokens": thinking_tokens,
            "sibling": sibling,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        message.update(replace(message.view, **changes))
        self._touch(key)

    def finish(
        self,
        key: int,
        state: State = "done",
        *,
        header: str | None = None,
        thinking_seconds: float | None = None,
        thinking_tokens: int | None = None,
        detail: str = "",
    ) -> None:
        """No more text comes for message `key`: show its state, and its text in final form."""
        self.update_header(
            key, header, thinking_seconds=thinking_seconds, thinking_tokens=thinking_tokens
        )
        message = self._message(key)
        message.update(replace(message.view, state=state, detail=detail))

    def toggle_thinking(self, key: int | None = None) -> None:
        """Fold or unfold the thinking of message `key`, or of all, as the last one is not."""
        messages = self.heights.messages
        if key is not None:
            chosen = [self._index(key)]
        else:
            chosen = [index for index, item in enumerate(messages) if item.has_thinking]
        if not chosen:
            return
        unfold = not messages[chosen[-1]].is_unfolded
        for index in chosen:
            messages[index].unfolded = unfold
        self.remeasure([index for index in chosen if self.heights.known(index)])

    def reword(self, labels: Labels) -> None:
        """Use other words of its own from now on; the messages are laid out anew."""
        if labels == self._labels:
            return
        self._labels = labels
        for message in self.heights.messages:
            message.reword(labels)
        measured = [n for n in range(len(self.heights.messages)) if self.heights.known(n)]
        self.remeasure(measured)

    def code_block(self, key: int, number: int) -> str:
        """Code block `number` (from 1) of message `key`. Raises IndexError if there is none."""
        return self._message(key).code_block(number)

    def highlight(self, key: int | None) -> None:
        """Mark message `key` with a bar and bring it into view; None unmarks."""
        self.mark(None if key is None else self._index(key))
        if self.marked is not None:
            self.reveal(self.marked)

    def clicked(self, index: int, row: int) -> None:
        """The thinking line folds; a code label asks for its copy."""
        message = self.heights.messages[index]
        key = self._first_key + index
        if row == message.fold_line:
            self.toggle_thinking(key)
        elif row < message.height and (number := message.line(row).code):
            self.post_message(self.CodeClicked(self, key, number, message.code_block(number)))

    def _index(self, key: int) -> int:
        if key not in self.keys:
            raise KeyError(f"the transcript has no message {key}")
        return key - self._first_key

    def _message(self, key: int) -> Message:
        return self.heights.messages[self._index(key)]

    def _touch(self, key: int) -> None:
        self._dirty.add(self._index(key))
        if self._timer is None and self.is_mounted:
            busy = self._tick_seconds + self.paint_seconds
            self._timer = self.set_timer(max(FRAME_SECONDS, RENDER_SHARE * busy), self._tick)

    def _tick(self) -> None:
        self._timer = None
        began = perf_counter()
        self.paint_seconds = 0.0
        dirty = sorted(self._dirty)
        self._dirty.clear()
        self.remeasure(dirty)
        self._tick_seconds = perf_counter() - began
