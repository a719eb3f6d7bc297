"""What a generation yields: small frozen records, and their form as JSON lines.

``Event`` is what ``Run`` iterates over. ``to_json``/``from_json`` give the same records as plain
dictionaries: the engine's child process and ``mlxqwen ask --json`` speak in them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..text.channels import Text, Thinking, ToolCall

Reason = Literal["stop", "length", "cancelled", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Prefill:
    """Progress of reading the prompt, in tokens; ``cached`` of them needed no work."""

    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one run."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    thinking_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, measured from the moment the run began."""

    prefill: float
    first_token: float
    total: float
    thinking: float

    def decode_rate(self, completion_tokens: int) -> float:
        """Tokens per second after the first one; 0.0 where there was at most one."""
        seconds = self.total - self.first_token
        return (completion_tokens - 1) / seconds if completion_tokens > 1 and seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every run that did not raise."""

    reason: Reason
    usage: Usage
    timings: Timings


Advice = Literal["", "larger_context", "shorten", "smaller_model"]
"""What to do so that an answer can be had; "" where nothing needs to be done."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an answer would take, said before it is asked for. Tokens, and bytes of memory.

    Attributes:
        prompt_tokens: The whole conversation as it would be read.
        cached_tokens: How many of those are read already.
        draft_tokens: The last message alone.
        answer_tokens: Room that is counted for the answer: a typical one, or less where its limit
            or the context ends before.
        context: Tokens of prompt and answer that the model was loaded for.
        held: What the model takes now.
        needed: What it will take at the end of that answer.
        needed_at_most: What it will take if the answer goes on until its limit.
        budget: What this machine gives it.
        advice: What to do where the prompt fills the context or the memory.
        larger_context: A context to load the model with that would hold the conversation; 0 where
            none is needed, or none would fit.
    """

    prompt_tokens: int
    cached_tokens: int
    draft_tokens: int
    answer_tokens: int
    context: int
    held: int
    needed: int
    needed_at_most: int
    budget: int
    advice: Advice = ""
    larger_context: int = 0

    @property
    def fits(self) -> bool:
        """Whether the answer can be had."""
        return not self.advice


Event = Prefill | Thinking | Text | ToolCall | Done

_NAMES: dict[type, str] = {
    Prefill: "prefill",
    Thinking: "thinking",
    Text: "text",
    ToolCall: "tool_call",
    Done: "done",
}


def to_json(event: Event) -> dict[str, Any]:
    """``{"event": "text", "text": …}``: the event as a dictionary of plain JSON values."""
    return {"event": _NAMES[type(event)], **asdict(event)}


def from_json(record: dict[str, Any]) -> Event:
    """The inverse of ``to_json``. Raises ``ValueError`` for a record of no known kind."""
    fields = {key: value for key, value in record.items() if key != "event"}
    match record.get("event"):
        case "prefill":
            return Prefill(**fields)
        case "thinking":
            return Thinking(**fields)
        case "text":
            return Text(**fields)
        case "tool_call":
            return ToolCall(**fields)
        case "done":
            return Done(fields["reason"], Usage(**fields["usage"]), Timings(**fields["timings"]))
        case other:
            raise ValueError(f"no event is called {other!r}")
