"""Recognises one tool call in a stream of text, in either format of the Qwen family.

Hermes (Qwen2.5, Qwen3, QwQ), where the arguments are JSON::

    <tool_call>
    {"name": "read", "arguments": {"path": "a.txt"}}
    </tool_call>

Qwen3-Coder, where each value is plain text between tags; the outer tag is often left out::

    <tool_call>
    <function=read>
    <parameter=path>
    a.txt
    </parameter>
    </function>
    </tool_call>

Values are often code, and code may contain these very tags. So a tag closes something only where
the grammar lets it: ``</tool_call>`` after a complete JSON object (not inside one of its strings),
``</parameter>`` before another parameter or the end of the function, and ``</function>`` of a
wrapped call before ``</tool_call>`` or a further call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from .coercion import coerce, parameter_schemas

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, END_FUNCTION = "<function=", "</function>"
PARAMETER, END_PARAMETER = "<parameter=", "</parameter>"
BLANK = " \t\r\n"
_MAX_NAME = 256
_OUTSIDE_STRINGS = frozenset("{}[]:,+-.0123456789" + BLANK + "eEtrufalsn")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete, well-formed tool call.

    ``raw`` is the exact text it was parsed from, tags included.
    """

    name: str
    arguments: Mapping[str, Any]
    raw: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the text that began with an opening tag ended: a call, or text after all.

    The first ``length`` characters are decided; those after them are not looked at yet.
    """

    call: ToolCall | None
    length: int


class CallScanner:
    """Reads text from an opening tag on (``<tool_call>`` or ``<function=``) until it is decided.

    The verdict depends on the text alone, never on how it was cut into pieces.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._schemas = parameter_schemas(tools)
        self._text = ""
        self._at: int = 0  # everything before it has been understood
        self._step: Callable[[], bool] = self._opening
        self._verdict: Verdict | None = None
        self._wrapped = False
        self._name = ""
        self._start: int = 0  # of the JSON object, or of the value being read
        self._depth = 0
        self._in_string = False
        self._key = ""
        self._arguments: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """All text so far."""
        return self._text

    def feed(self, text: str) -> Verdict | None:
        """The verdict, or None while more text is needed."""
        self._text += text
        while self._verdict is None and self._step():
            pass
        return self._verdict

    def finish(self) -> Verdict:
        """The verdict when no text follows: what is still open is no call."""
        if self._verdict is None and self._step == self._bare_end:
            self._succeed(self._at)
        return self._verdict or Verdict(None, len(self._text))

    # Each step returns whether it got somewhere; False asks for more text.

    def _opening(self) -> bool:
        if not self._text.startswith(OPEN):
            self._at = len(FUNCTION)
            self._step = self._function_name
            return True
        self._wrapped = True
        self._at = len(OPEN)
        self._step = self._content
        return True

    def _content(self) -> bool:
        position, found = self._next_of("{", FUNCTION)
        if found is None:
            return False
        if found == "{":
            self._start = self._at = position
            self._step = self._json
        elif found == FUNCTION:
            self._at = position + len(FUNCTION)
            self._step = self._function_name
        else:
            self._fail(position)
        return True

    def _json(self) -> bool:
        text, at = self._text, self._at
        while at < len(text):
            character = text[at]
            if self._in_string:
                if character == "\\":
                    if at + 1 == len(text):
                        break
                    at += 1
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character not in _OUTSIDE_STRINGS:
                self._fail(at)
                return True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._at = at + 1
                    self._step = self._json_end
                    return True
            at += 1
        self._at = at
        return False

    def _json_end(self) -> bool:
        position, found = self._next_of(CLOSE)
        if found is None:
            return False
        if found != CLOSE:
            self._fail(position)
            return True
        end = position + len(CLOSE)
        call = _hermes_call(self._text[self._start : self._at], self._text[:end])
        self._verdict = Verdict(call, end)
        return True

    def _function_name(self) -> bool:
        name = self._tag_name()
        if name is not None:
            self._name = name
            self._step = self._between_parameters
        return name is not None

    def _between_parameters(self) -> bool:
        position, found = self._next_of(PARAMETER, END_FUNCTION)
        if found is None:
            return False
        if found == PARAMETER:
            self._at = position + len(PARAMETER)
            self._step = self._parameter_name
        elif found == END_FUNCTION:
            self._at = position + len(END_FUNCTION)
            self._step = self._wrapped_end if self._wrapped else self._bare_end
        else:
            self._fail(position)
        return True

    def _parameter_name(self) -> bool:
        name = self._tag_name()
        if name is not None:
            self._key = name
            self._start = self._at
            self._step = self._value
        return name is not None

    def _value(self) -> bool:
        end = self._text.find(END_PARAMETER, self._at)
        if end < 0:
            self._at = max(self._start, len(self._text) - len(END_PARAMETER) + 1)
            return False
        self._at = end
        closes = self._closes_value(end + len(END_PARAMETER))
        if closes is None:
            return False
        if closes:
            value = self._text[self._start : end].removeprefix("\n").removesuffix("\n")
            schema = self._schemas.get(self._name, {}).get(self._key)
            self._arguments[self._key] = coerce(value, schema)
            self._step = self._between_parameters
        self._at = end + len(END_PARAMETER)
        return True

    def _closes_value(self, after: int) -> bool | None:
        """Whether a ``</parameter>`` that ends at ``after`` is a tag; None: not yet known."""
        position, found = self._next_of(PARAMETER, END_FUNCTION, start=after)
        if found != END_FUNCTION or not self._wrapped:
            return None if found is None else found != ""
        following = self._next_of(CLOSE, OPEN, FUNCTION, start=position + len(END_FUNCTION))[1]
        return None if following is None else following != ""

    def _wrapped_end(self) -> bool:
        position, found = self._next_of(CLOSE, OPEN, FUNCTION)
        if found is None:
            return False
        if found == "":
            self._fail(position)
        else:
            self._succeed(position + len(CLOSE) if found == CLOSE else self._at)
        return True

    def _bare_end(self) -> bool:
        position, found = self._next_of(CLOSE)
        if found is None:
            return False
        self._succeed(position + len(CLOSE) if found == CLOSE else self._at)
        return True

    def _tag_name(self) -> str | None:
        """The name up to ``>``; None when it is not all there, or (with a verdict) is no name."""
        text = self._text
        for position in range(self._at, len(text)):
            if text[position] == ">" and position > self._at:
                name = text[self._at : position].strip()
                self._at = position + 1
                return name
            if text[position] in "<>\r\n" or position - self._at > _MAX_NAME:
                self._fail(position)
                break
        return None

    def _next_of(self, *literals: str, start: int | None = None) -> tuple[int, str | None]:
        """The literal that follows blanks: its position and itself.

        "" stands for anything else; None while what is there could still become one of them.
        """
        position = self._at if start is None else start
        text = self._text
        while position < len(text) and text[position] in BLANK:
            position += 1
        for literal in literals:
            if text.startswith(literal, position):
                return position, literal
        rest = text[position : position + len(max(literals, key=len))]
        unfinished = any(literal.startswith(rest) for literal in literals)
        return position, None if unfinished else ""

    def _fail(self, length: int) -> None:
        self._verdict = Verdict(None, length)

    def _succeed(self, length: int) -> None:
        call = ToolCall(self._name, self._arguments, self._text[:length])
        self._verdict = Verdict(call, length)


def _hermes_call(source: str, raw: str) -> ToolCall | None:
    """The call in a JSON object; None where it is none."""
    try:
        # Models write line breaks into strings as they are; strict JSON would refuse them.
        content: Any = json.loads(source, strict=False)
        arguments = content.get("arguments", {})
        if isinstance(arguments, str):  # as OpenAI's interface has them
            arguments = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return None
    name = content.get("name")
    if not (isinstance(name, str) and name and isinstance(arguments, dict)):
        return None
    return ToolCall(name, cast(dict[str, Any], arguments), raw)
