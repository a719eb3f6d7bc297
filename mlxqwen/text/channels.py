"""A model's text stream, split into thinking, answer and tool calls, as it arrives.

The rules, exactly:

* The stream begins inside a thought where the prompt ends in an open ``<think>`` (``thinking``);
  otherwise a thought begins at a ``<think>`` before which the answer has nothing but blanks. One
  more ``<think>`` at the very beginning of a thought that the prompt opened is ignored.
* In a thought nothing is looked for but ``</think>``.
* Blank lines around the tags belong to neither side: at the beginning of a thought and of the
  answer, blanks up to the last line break before the first other character are dropped (so the
  first line keeps its indentation); before ``</think>`` and before a tool call, blanks from the
  first line break of the trailing run on; after a tool call, blanks that another call or the end
  follows. Blanks are space, tab, line feed and carriage return.
* A tool call begins at ``<tool_call>``, or at ``<function=`` at the beginning of a line; see
  ``toolcalls``. What turns out to be none is answer text, character for character.
* Stop strings are looked for in the answer only. The stream ends where the first of them is
  complete, at the earliest possible place; it and all after it is dropped, and ``stopped`` is set.

Nothing else is lost, added or changed, however the stream is cut into pieces. Text is given out at
once, but for what may yet become a tag or a stop string, and for trailing blank lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .toolcalls import BLANK, FUNCTION, OPEN, CallScanner, ToolCall

__all__ = ["Channels", "Part", "Text", "Thinking", "ToolCall"]

_THINK, _END_THINK = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of the model's reasoning, in order; concatenated pieces give the whole."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer, in order; concatenated pieces give the whole."""

    text: str


Part = Thinking | Text | ToolCall


class Channels:
    """Splits one stream.

    Args:
        thinking: Whether the prompt ends inside a thought.
        tools: The tools that were offered; their schemas give the arguments their types.
        stop: Strings that end the answer.
        raw: Whether the stream is plain text, in which only stop strings mean anything.
    """

    def __init__(
        self,
        *,
        thinking: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        stop: Sequence[str] = (),
        raw: bool = False,
    ) -> None:
        self._tools = tools
        self._raw = raw
        self._answer = _Answer(stop, hold_breaks=not raw)
        self._out: list[Part] = []
        self._buffer = ""  # what the present state has not yet understood
        self._thinking = thinking
        self._prompted = thinking  # the prompt opened this thought, so the model may do so again
        self._fresh = True  # this thought has no text yet
        self._gap = True  # nothing but blanks since the answer began, or since a call
        self._called = False
        self._scanner: CallScanner | None = None
        self._blanks = ""  # of the gap before the call being scanned

    @property
    def thinking(self) -> bool:
        """Whether the stream is inside a thought now."""
        return self._thinking

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met: nothing more will come."""
        return self._answer.stopped

    def feed(self, text: str) -> list[Part]:
        """What the next piece of the stream completes."""
        return self._advance(text, final=False)

    def finish(self) -> list[Part]:
        """What was held back, when the stream has ended."""
        parts = self._advance("", final=True)
        rest = self._answer.flush()
        return [*parts, Text(rest)] if rest else parts

    def _advance(self, text: str, *, final: bool) -> list[Part]:
        if self._raw:
            self._say(text)
        else:
            self._buffer += text
            while not self.stopped and self._step(final):
                pass
        parts, self._out = self._out, []
        return _merged(parts)

    # Each state returns whether it came to its end, so that what follows belongs to another.

    def _step(self, final: bool) -> bool:
        if self._scanner is not None:
            return self._scan(self._scanner, final)
        if self._thinking:
            return self._think(final)
        return self._skip_gap(final) if self._gap else self._reply(final)

    def _think(self, final: bool) -> bool:
        if self._fresh:
            text = self._buffer.lstrip(BLANK)
            if self._prompted and text.startswith(_THINK):
                self._buffer = text[len(_THINK) :]
                self._prompted = False
                return True
            if not final and (not text or (self._prompted and _THINK.startswith(text))):
                return False
            self._buffer = _without_blank_lines(self._buffer)
            self._fresh = self._prompted = False
        end = self._buffer.find(_END_THINK)
        if end >= 0:
            thought, self._buffer = self._buffer[:end], self._buffer[end + len(_END_THINK) :]
            self._out.append(Thinking(thought[: _trailing_break(thought)]))
            self._thinking = False
            return True
        cut = len(self._buffer)
        if not final:
            cut = _trailing_break(self._buffer[: cut - _partial(self._buffer, (_END_THINK,))])
        self._out.append(Thinking(self._buffer[:cut]))
        self._buffer = self._buffer[cut:]
        return False

    def _skip_gap(self, final: bool) -> bool:
        text = self._buffer.lstrip(BLANK)
        blanks = self._buffer[: len(self._buffer) - len(text)]
        if text.startswith((OPEN, FUNCTION)):
            self._blanks, self._buffer = blanks, text
            self._scanner = CallScanner(self._tools)
            return True
        if not self._answer.begun and text.startswith(_THINK):
            self._buffer = text[len(_THINK) :]
            self._thinking = self._fresh = True
            return True
        tags = (OPEN, FUNCTION) if self._answer.begun else (OPEN, FUNCTION, _THINK)
        if not final and any(tag.startswith(text) for tag in tags):
            return False
        if self._called and not text:
            self._buffer = ""
        elif not self._answer.begun:
            self._buffer = _without_blank_lines(self._buffer)
        self._gap = False
        return True

    def _reply(self, final: bool) -> bool:
        buffer = self._buffer
        at = buffer.find("<")
        while at >= 0:
            rest = buffer[at:]
            before = buffer[at - 1] if at else self._answer.last
            tags = (OPEN, FUNCTION) if before == "\n" else (OPEN,)
            if rest.startswith(tags):
                self._say(buffer[:at])
                self._buffer = rest
                self._scanner = CallScanner(self._tools)
                return True
            if not final and any(tag.startswith(rest) for tag in tags):
                break
            at = buffer.find("<", at + 1)
        cut = len(buffer) if at < 0 else at
        self._buffer = buffer[cut:]
        self._say(buffer[:cut])
        return False

    def _scan(self, scanner: CallScanner, final: bool) -> bool:
        verdict = scanner.feed(self._buffer)
        self._buffer = ""
        if verdict is None:
            if not final:
                return False
            verdict = scanner.finish()
        text, self._buffer = scanner.text[: verdict.length], scanner.text[verdict.length :]
        blanks, self._blanks = self._blanks, ""
        self._scanner = None
        if verdict.call is None:
            self._say(blanks + text if self._answer.begun else _without_blank_lines(blanks) + text)
            self._gap = False
        else:
            self._out += [Text(self._answer.settle()), verdict.call]
            self._gap = self._called = True
        return True

    def _say(self, text: str) -> None:
        self._out.append(Text(self._answer.push(text)))


class _Answer:
    """Answer text on its way out: stop strings, and trailing blank lines that a call may drop."""

    def __init__(self, stop: Sequence[str], *, hold_breaks: bool) -> None:
        self._stop = tuple(string for string in stop if string)
        self._hold_breaks = hold_breaks
        self._held = ""
        self.begun = False
        self.stopped = False
        self.last = ""  # the last character that came in

    def push(self, text: str) -> str:
        """What can go out now that ``text`` has come."""
        if not text or self.stopped:
            return ""
        self.begun = True
        self.last = text[-1]
        self._held += text
        starts = [(self._held.find(string), string) for string in self._stop]
        complete = [(start + len(string), start) for start, string in starts if start >= 0]
        if complete:
            self.stopped = True
            return self._take(min(complete)[1], rest="")
        cut = len(self._held) - _partial(self._held, self._stop)
        if self._hold_breaks:
            cut = min(cut, _trailing_break(self._held))
        return self._take(cut, rest=self._held[cut:])

    def settle(self) -> str:
        """What goes out before a tool call."""
        return self._take(_trailing_break(self._held), rest="")

    def flush(self) -> str:
        """What goes out at the end."""
        return self._take(len(self._held), rest="")

    def _take(self, cut: int, *, rest: str) -> str:
        taken, self._held = self._held[:cut], rest
        return taken


def _partial(text: str, strings: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that is the beginning of one of ``strings``."""
    longest = min(len(text), max(map(len, strings), default=1) - 1)
    for length in range(longest, 0, -1):
        end = text[-length:]
        if any(string.startswith(end) for string in strings):
            return length
    return 0


def _trailing_break(text: str) -> int:
    """Where the first line break among the trailing blanks is; the length where there is none."""
    for index in range(len(text.rstrip(BLANK)), len(text)):
        if text[index] in "\r\n":
            return index
    return len(text)


def _without_blank_lines(text: str) -> str:
    """``text`` from its first line that has something on it, with that line's indentation."""
    blanks = text[: len(text) - len(text.lstrip(BLANK))]
    return text[max(blanks.rfind("\n"), blanks.rfind("\r")) + 1 :]


def _merged(parts: list[Part]) -> list[Part]:
    """Neighbours of one kind made one, empty ones left out."""
    merged: list[Part] = []
    for part in parts:
        match merged[-1:], part:
            case _, Thinking("") | Text(""):
                pass
            case [Thinking(before)], Thinking(text):
                merged[-1] = Thinking(before + text)
            case [Text(before)], Text(text):
                merged[-1] = Text(before + text)
            case _:
                merged.append(part)
    return merged
