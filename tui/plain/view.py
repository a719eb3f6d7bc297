"""The linear chat as the session sees it: messages and notices in the order in which they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from time import monotonic
from typing import Any

from ..records import Attachable, Draft, Message
from ..units import decimal
from ..view import Severity
from ..views import message_view, one_line
from ..widgets.transcript_message import MessageView
from ..words import say
from .output import Output
from .speaker import Speaker, spoken

_NOTES = {"warning": "plain.warning", "error": "plain.error"}


class PlainView:
    """Says what the session shows. All methods run in the event loop.

    Args:
        drafted: Called with what was left unsent in the conversation that is opened.
    """

    def __init__(self, output: Output, drafted: Callable[[Draft], None]) -> None:
        self._output = output
        self._drafted = drafted
        self._keys = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._current = 0  # the answer that is being said
        self._speaker = Speaker()
        self._thoughts: Speaker | None = None  # while it thinks
        self._thinking_since = 0.0
        self.show_thoughts = False
        self.failure: BaseException | None = None
        """What went wrong where nobody waited for it."""

    @property
    def thinking(self) -> bool:
        """The answer that is being written has not got beyond its thoughts."""
        return self._thoughts is not None

    # What the session asks

    def show(self, views: Sequence[MessageView]) -> list[int]:
        """Take note of other messages; whoever opened them has them read."""
        self._current = 0
        return [next(self._keys) for _ in views]

    def add(self, view: MessageView) -> int:
        """Say who answers; what a person wrote is on the terminal already."""
        key = next(self._keys)
        if view.role == "assistant":
            self._current = key
            self._thoughts = None
            self._speaker = Speaker()
            self._speaker.feed(view.text)  # said before, where an answer is gone on with
            self._output.line(heading(view))
        return key

    def cut(self, key: int) -> None:
        """What was said stays said."""

    def stream(self, key: int, text: str, thinking: str) -> None:
        """Say what has become whole."""
        if key != self._current:
            return
        if thinking:
            self._think(thinking)
        if text:
            self._end_thoughts()
            self._output.write(self._speaker.feed(text))

    def end(self, key: int, view: MessageView) -> None:
        """Say the rest, and how it ended if not well."""
        if key != self._current:
            return
        self._current = 0
        self._end_thoughts(view.thinking_seconds)
        self._output.write(self._speaker.finish())
        for line in state_lines(view):
            self._output.line(line)

    def changed(self) -> None:
        """There is no line of state: what goes on is said when it takes long."""

    def listed(self) -> None:
        """Chats are listed when one asks for them."""

    def say(self, text: str, severity: Severity) -> None:
        """Say it in a line, with how bad it is."""
        text = text.strip()
        self._output.line(
            say(_NOTES[severity], text=text, detail=text) if severity in _NOTES else text
        )

    def written(self) -> Draft:
        """Nothing: a line that is not sent yet is the terminal's."""
        return Draft()

    def write(self, draft: Draft) -> None:
        """Offer what was left unsent."""
        self._drafted(draft)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_done)

    # Steps

    def _has_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = error

    def _think(self, text: str) -> None:
        if self._thoughts is None:
            self._thoughts, self._thinking_since = Speaker(), monotonic()
            if self.show_thoughts:
                self._output.line(say("plain.thinking"))
        if self.show_thoughts:
            self._output.write(self._thoughts.feed(text))

    def _end_thoughts(self, seconds: float | None = None) -> None:
        thoughts, self._thoughts = self._thoughts, None
        if thoughts is None:
            return
        if self.show_thoughts:
            self._output.write(thoughts.finish())
        if seconds is None:
            seconds = monotonic() - self._thinking_since
        self._output.line(say("plain.thought", seconds=decimal(seconds)))


def heading(view: MessageView) -> str:
    """``Qwen3-4B, version 2 of 3:``, the line before a message."""
    name = one_line(view.header.partition(" · ")[0])
    if view.sibling:
        place, total = view.sibling
        return say("plain.version", name=name, place=place, count=total)
    return say("plain.role", name=name)


def state_lines(view: MessageView) -> list[str]:
    """How an answer ended, where that is not plain from its text."""
    match view.state:
        case "stopped" | "interrupted":
            return [say(f"plain.{view.state}")]
        case "error":
            return [say("plain.error", detail=view.detail)]
        case "done" | "streaming":
            return []


def read_out(message: Message, sibling: tuple[int, int] | None, *, thoughts: bool) -> str:
    """A stored message in full, as lines."""
    view = message_view(message, sibling)
    lines = [heading(view) + "\n"]
    if names := attached_names(message.attachments):
        lines.append(names + "\n")
    if view.thinking:
        if thoughts:
            lines.append(say("plain.thinking") + "\n" + spoken(view.thinking))
        seconds = view.thinking_seconds
        lines.append((say("plain.thought_some") if seconds is None else _thought(seconds)) + "\n")
    if view.role == "assistant":
        lines.append(spoken(view.text) or say("plain.nothing_came") + "\n")
        lines += [line + "\n" for line in state_lines(view)]
    else:
        lines.append(view.text.strip("\n") + "\n")
    return "".join(lines)


def attached_names(attachments: Sequence[Attachable]) -> str:
    """``With a.py, b.py.``; "" where nothing is attached."""
    if not attachments:
        return ""
    return say("plain.with", names=", ".join(one_line(item.name) for item in attachments))


def _thought(seconds: float) -> str:
    return say("plain.thought", seconds=decimal(seconds))
