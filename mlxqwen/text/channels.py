"""A model's text stream, split into thinking, answer and tool calls (parser to follow)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of the model's reasoning, in order; concatenated pieces give the whole."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer, in order; concatenated pieces give the whole."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete, well-formed tool call.

    ``raw`` is the exact text it was parsed from, tags included.
    """

    name: str
    arguments: Mapping[str, Any]
    raw: str
