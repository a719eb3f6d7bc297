"""How records are put into words for the screen. Everything here is plain text, never markup."""

from __future__ import annotations

from .markdown import clean
from .records import Message, Statistics
from .widgets.transcript import MessageView


def model_label(name: str) -> str:
    """The last part of a model's name or path: what fits a header."""
    return clean(name.rstrip("/").rpartition("/")[2] or name).replace("\n", " ")


def one_line(text: str) -> str:
    """Untrusted text for a place with room for one line."""
    return " ".join(clean(text).split())


def answer_header(model: str, figures: Statistics) -> str:
    """``Qwen3-4B · 61 tok/s · 4.2 s``, as far as the figures are known."""
    parts = [model_label(model) or "Qwen"]
    if figures.tok_s:
        parts.append(f"{figures.tok_s:.0f} tok/s")
    if figures.tok_s and figures.n_gen and figures.ttft_ms is not None:
        parts.append(f"{figures.ttft_ms / 1000 + (figures.n_gen - 1) / figures.tok_s:.1f} s")
    return " · ".join(parts)


def figures_of(message: Message) -> Statistics:
    """The statistics stored with a message."""
    return Statistics(
        message.n_prompt, message.n_gen, message.ttft_ms, message.tok_s, message.thinking_ms
    )


def message_view(message: Message, sibling: tuple[int, int] | None = None) -> MessageView:
    """A stored message as the transcript shows it."""
    if message.role == "user":
        return MessageView("user", message.text, header="You", sibling=sibling)
    if message.role != "assistant":
        return MessageView("system", message.text, header=message.role.capitalize())
    return MessageView(
        "assistant",
        message.text,
        header=answer_header(message.model_id, figures_of(message)),
        thinking=message.reasoning,
        thinking_seconds=None if message.thinking_ms is None else message.thinking_ms / 1000,
        state=message.state,
        detail=message.note,
        sibling=sibling,
    )
