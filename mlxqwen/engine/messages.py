"""Messages as callers write them, in the form that every chat template of the family reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import UsageError

Message = Mapping[str, Any]

_ROLES = ("system", "user", "assistant", "tool")


def plain_message(message: Message) -> Message:
    """The message with its content as one string.

    Templates print nothing for a role they do not know and for content in parts, so both would
    vanish without a word: text parts are joined, and anything else is refused.

    Raises:
        UsageError: an unknown role, content that is neither text nor a list of parts, or a part
            that is no text.
    """
    role = message.get("role")
    if role not in _ROLES:
        raise UsageError(f"A message has the role {role!r}.", f"Roles are {', '.join(_ROLES)}.")
    content: object = message.get("content")
    if content is None or isinstance(content, str):
        return message
    if not isinstance(content, Sequence):
        raise UsageError(f"A message's content is {content!r}, which is no text.")
    parts = [_text(part) for part in cast(Sequence[object], content)]
    return {**message, "content": "".join(parts)}


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    fields: Mapping[str, object] = {}
    if isinstance(part, Mapping):
        fields = cast(Mapping[str, object], part)
    text = fields.get("text")
    if fields.get("type") != "text" or not isinstance(text, str):
        kind = fields.get("type", "none")
        raise UsageError(
            f"A message contains a part of type {kind!r}; only text can be read.",
            "Send the text alone.",
        )
    return text
