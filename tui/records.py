"""What the conversation store hands out: frozen records, one per row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["streaming", "done", "stopped", "interrupted", "error"]
End = Literal["done", "stopped", "interrupted", "error"]
Role = Literal["system", "user", "assistant", "tool"]


class Attachable(Protocol):
    """Any text that goes with a question: ``name`` is for people and for the model."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def mime(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that went with a question, as it was stored."""

    name: str
    text: str
    mime: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Draft:
    """What was written and not sent; empty where there is nothing."""

    text: str = ""
    attachments: tuple[Attachable, ...] = ()


def together(drafts: Iterable[Draft]) -> Draft:
    """All of ``drafts`` as one, the first above."""
    drafts = list(drafts)
    return Draft(
        "\n".join(draft.text for draft in drafts if draft.text.strip()),
        tuple(part for draft in drafts for part in draft.attachments),
    )


@dataclass(frozen=True, slots=True)
class Persona:
    """A named system prompt with sampling parameters."""

    name: str
    system: str = ""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; ``leaf_id`` is the last message of the branch that is open."""

    id: int
    title: str
    leaf_id: int | None
    model_id: str
    system: str
    params: Mapping[str, Any]
    pinned: bool
    updated_at: float


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation's tree. Times in seconds since 1970 unless named ``_ms``."""

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    text: str
    reasoning: str
    state: State
    note: str
    """Why it ended, where that is not plain from ``state``: the sentence of an error."""
    model_id: str
    seed: int | None
    n_prompt: int | None
    n_gen: int | None
    ttft_ms: float | None
    tok_s: float | None
    thinking_ms: float | None
    created_at: float
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What an answer was asked with: sampling, thinking, the system prompt."""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a finished answer cost: token counts, milliseconds, tokens per second."""

    n_prompt: int | None = None
    n_gen: int | None = None
    ttft_ms: float | None = None
    tok_s: float | None = None
    thinking_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that a search found, with the passage around what matched."""

    message_id: int
    conversation_id: int
    title: str
    role: Role
    passage: str
