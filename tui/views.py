"""How records are put into words for the screen. Everything here is plain text, never markup."""

from __future__ import annotations

from .answer import Answer, Ended
from .markdown.text import clean
from .records import Message, Statistics
from .units import decimal, size
from .widgets.transcript_message import Labels, MessageView
from .words import say


def model_label(name: str) -> str:
    """The last part of a model's name or path: what fits a header."""
    return clean(name.rstrip("/").rpartition("/")[2] or name).replace("\n", " ")


def one_line(text: str) -> str:
    """Untrusted text for a place with room for one line."""
    return " ".join(clean(text).split())


def transcript_labels(*, thoughts: bool) -> Labels:
    """The transcript's own words in the language spoken now."""
    return Labels(
        thinking=say("view.thinking"),
        thought=say("view.thought"),
        tokens=say("view.tokens"),
        stopped=say("view.stopped"),
        interrupted=say("view.interrupted"),
        error=say("view.error"),
        copy=say("view.copy"),
        decimal=say("unit.decimal"),
        thoughts=thoughts,
    )


def answer_header(model: str, figures: Statistics) -> str:
    """``Qwen3-4B · 61 tok/s · 4.2 s``, as far as the figures are known."""
    parts = [model_label(model) or "Qwen"]
    if figures.tok_s:
        parts.append(f"{figures.tok_s:.0f} tok/s")
    if figures.tok_s and figures.n_gen and figures.ttft_ms is not None:
        seconds = figures.ttft_ms / 1000 + (figures.n_gen - 1) / figures.tok_s
        parts.append(f"{decimal(seconds)} s")
    return " · ".join(parts)


def figures_of(message: Message) -> Statistics:
    """The statistics stored with a message."""
    return Statistics(
        message.n_prompt, message.n_gen, message.ttft_ms, message.tok_s, message.thinking_ms
    )


def message_view(message: Message, sibling: tuple[int, int] | None = None) -> MessageView:
    """A stored message as the transcript shows it."""
    if message.role == "user":
        attached = tuple(
            f"{one_line(part.name)} · {size(len(part.text.encode(errors='replace')))}"
            for part in message.attachments
        )
        return MessageView(
            "user", message.text, header=say("chat.you"), sibling=sibling, attached=attached
        )
    if message.role != "assistant":
        return MessageView("system", message.text, header=say(f"view.role.{message.role}"))
    offer = say("session.continue") if message.state == "interrupted" else ""
    return MessageView(
        "assistant",
        message.text,
        header=answer_header(message.model_id, figures_of(message)),
        thinking=message.reasoning,
        thinking_seconds=None if message.thinking_ms is None else message.thinking_ms / 1000,
        state=message.state,
        detail=message.note or offer,
        sibling=sibling,
    )


def streaming_view(answer: Answer, sibling: tuple[int, int] | None) -> MessageView:
    """An answer being written, as far as it has come."""
    return MessageView(
        "assistant",
        answer.text,
        header=model_label(answer.model) or "Qwen",
        thinking=answer.thinking,
        state="streaming",
        sibling=sibling,
    )


def ended_view(answer: Answer, ended: Ended, thinking_tokens: int | None) -> MessageView:
    """How an answer ended; its text and thoughts are on the screen already."""
    thought = ended.statistics.thinking_ms
    return MessageView(
        "assistant",
        header=answer_header(answer.model, ended.statistics),
        thinking_seconds=None if thought is None else thought / 1000,
        thinking_tokens=thinking_tokens,
        state=ended.state,
        detail=ended.note,
    )
