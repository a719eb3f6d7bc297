"""One answer on its way: what has come of it, and what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from mlxqwen.engine.events import Done, Event, Prefill, Text, Thinking, ToolCall

from .records import Attachable, End, Message, Statistics
from .tuning import Asked

OBEY_SECONDS = 1.0
"""How long the engine may take to stop an answer before a second request ends it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an answer ended, as it is to be stored."""

    state: End
    text: str
    reasoning: str
    note: str
    statistics: Statistics

    def applied_to(self, message: Message) -> Message:
        """The row as it will be once this is stored."""
        figures = self.statistics
        return replace(
            message,
            state=self.state,
            text=self.text,
            reasoning=self.reasoning,
            note=self.note,
            n_prompt=figures.n_prompt,
            n_gen=figures.n_gen,
            ttft_ms=figures.ttft_ms,
            tok_s=figures.tok_s,
            thinking_ms=figures.thinking_ms,
        )


@dataclass(slots=True)
class Answer:
    """A ``streaming`` row of the store while its run lasts.

    ``request`` is the engine's run, None while the model still loads; ``key`` the transcript's
    message, None while another conversation is shown.
    """

    conversation_id: int
    message_id: int
    model: str
    messages: Sequence[Mapping[str, str]]
    asked: Asked = field(default_factory=Asked)
    request: int | None = None
    key: int | None = None
    stop_asked: float | None = None
    """When its stop was asked for, by the monotonic clock; None while it may go on."""
    prefill: Prefill | None = None
    pieces: int = 0
    """Pieces of text and thinking so far: about as many as tokens."""
    began: float = field(default_factory=monotonic)
    _joint: bool = False  # the next piece of text goes on with what another answer said
    _first: float | None = None
    _thought_until: float | None = None
    _text: list[str] = field(default_factory=list[str])
    _thinking: list[str] = field(default_factory=list[str])

    @property
    def stopping(self) -> bool:
        """Its stop was asked for, and has not come yet."""
        return self.stop_asked is not None

    def ask_to_stop(self) -> None:
        """Its stop is asked for now."""
        self.stop_asked = monotonic()

    @property
    def disobeyed(self) -> bool:
        """Its stop was asked for so long ago that the engine may be ended instead."""
        return self.stop_asked is not None and monotonic() - self.stop_asked >= OBEY_SECONDS

    @property
    def text(self) -> str:
        """The answer so far."""
        return _joined(self._text)

    @property
    def thinking(self) -> str:
        """The thoughts before it, so far."""
        return _joined(self._thinking)

    @property
    def rate(self) -> float:
        """Tokens per second so far; 0.0 before the second one."""
        seconds = monotonic() - self._first if self._first is not None else 0.0
        return (self.pieces - 1) / seconds if self.pieces > 1 and seconds > 0 else 0.0

    @property
    def thinking_seconds(self) -> float | None:
        """How long it has thought, or thought; None where it did not."""
        if not self._thinking:
            return None
        return (self._thought_until or monotonic()) - self.began

    def go_on_from(self, text: str, thinking: str) -> None:
        """Begin with what another answer said; to be called before anything has come."""
        self._text, self._thinking = [text], [thinking] if thinking else []
        self._thought_until = self.began
        self._joint = True

    def take(self, event: Event) -> Event:
        """Add what ``event`` brings; returns it as it is to be shown."""
        match event:
            case Prefill():
                self.prefill = event
            case Thinking(text):
                self._thinking.append(text)
                self._count()
            case ToolCall():
                # No tool was offered, so none runs: what the model wanted is part of what it said.
                return self.take(Text(_shown_call(event)))
            case Text(text):
                if self._thinking and self._thought_until is None:
                    self._thought_until = monotonic()
                if self._joint and text:
                    self._joint = False
                    text = _joint(self.text, text) + text
                    event = Text(text)
                self._text.append(text)
                self._count()
            case Done():
                pass
        return event

    def statistics(self, done: Done | None) -> Statistics:
        """What it cost: the engine's own figures, or what was seen from here without them."""
        if done is None:
            return Statistics(
                n_prompt=self.prefill.total if self.prefill else None,
                n_gen=self.pieces,
                ttft_ms=1000 * (self._first - self.began) if self._first is not None else None,
                tok_s=self.rate or None,
                thinking_ms=_milliseconds(self.thinking_seconds),
            )
        usage, timings = done.usage, done.timings
        return Statistics(
            n_prompt=usage.prompt_tokens,
            n_gen=usage.completion_tokens,
            ttft_ms=1000 * timings.first_token,
            tok_s=timings.decode_rate(usage.completion_tokens) or None,
            thinking_ms=1000 * timings.thinking if self._thinking else None,
        )

    def ended(self, state: End, note: str = "", done: Done | None = None) -> Ended:
        """What is to be kept of it."""
        return Ended(state, self.text, self.thinking, note, self.statistics(done))

    def _count(self) -> None:
        self.pieces += 1
        if self._first is None:
            self._first = monotonic()


def _joined(pieces: list[str]) -> str:
    # Joining what was joined before keeps a flush every quarter second linear in what is new.
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""


def _joint(before: str, after: str) -> str:
    # Models that are asked to go on begin with a word, not with the space before it. Scripts
    # without spaces between words, as ideographs, lie above U+2E80.
    ends, begins = before[-1:], after[:1]
    words = (ends.isalnum() or ends in ",;:.!?)") and begins.isalnum()
    return " " if words and max(ends, begins) < "\u2e80" else ""


def fence_around(text: str) -> str:
    """Backquotes between which nothing in ``text`` ends the block."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _shown_call(call: ToolCall) -> str:
    fence = fence_around(call.raw)
    return f"\n\n{fence}json\n{call.raw.strip()}\n{fence}\n\n"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def messages_for(branch: Sequence[Message], system: str = "") -> list[dict[str, str]]:
    """A branch as the engine takes it: the system prompt, then every message that says something.

    What is attached comes before the text of its message. Thoughts are left out, as Qwen's
    templates ask.
    """
    messages = [{"role": "system", "content": system}] if system else []
    return messages + [
        {"role": message.role, "content": content}
        for message in branch
        if (content := with_attachments(message.text, message.attachments))
    ]


def with_attachments(text: str, attachments: Sequence[Attachable]) -> str:
    """``text`` after every attachment, each under its name and within a fence of its own.

    The fence is longer than any run of its character in the attachment, so that nothing in a file
    passes for the question.
    """
    parts: list[str] = []
    for attachment in attachments:
        fence = fence_around(attachment.text)
        name = " ".join(attachment.name.split())
        parts.append(f"{name}:\n{fence}\n{attachment.text.rstrip(chr(10))}\n{fence}")
    return "\n\n".join([*parts, text] if text else parts)
