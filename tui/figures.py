"""What a conversation has cost and used, as numbers and as lines to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .records import Message
from .session import Session
from .units import clock, count, decimal, size
from .views import model_label
from .words import say


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the branch that is open.

    Attributes:
        written: Tokens of its answers, thoughts among them.
        seconds: From the question to the last token, summed over the answers that say.
        rate: Tokens per second of writing alone; None before an answer says.
        used: Tokens of the context that are filled; ``context`` is its size, 0 while unknown.
        memory: Bytes that the model in memory takes; 0 without one.
    """

    messages: int
    answers: int
    written: int
    seconds: float
    rate: float | None
    used: int
    context: int
    model: str
    memory: int


def figures(session: Session) -> Figures:
    """The figures of ``session``'s open branch."""
    branch = session.branch
    answers = [message for message in branch if message.role == "assistant"]
    timed = [(message, _decoding(message)) for message in answers]
    decoded = sum((message.n_gen or 1) - 1 for message, seconds in timed if seconds)
    decoding = sum(seconds for _, seconds in timed)
    loaded = session.loaded
    return Figures(
        messages=len(branch),
        answers=len(answers),
        written=sum(message.n_gen or 0 for message in answers),
        seconds=decoding + _waiting(answers),
        rate=decoded / decoding if decoding else None,
        used=session.context_used,
        context=loaded.context if loaded else 0,
        model=session.model,
        memory=loaded.bytes if loaded else 0,
    )


def figure_rows(found: Figures) -> list[tuple[str, str]]:
    """Names and values, in the order in which they are read."""
    unknown = say("stats.unknown")
    context = say("stats.of", used=count(found.used), size=count(found.context))
    return [
        (say("stats.messages"), str(found.messages)),
        (say("stats.answers"), str(found.answers)),
        (say("stats.tokens"), count(found.written)),
        (say("stats.seconds"), clock(found.seconds)),
        (say("stats.rate"), unknown if found.rate is None else f"{decimal(found.rate)} tok/s"),
        (say("stats.context"), context if found.context else count(found.used)),
        (say("stats.model"), model_label(found.model) or unknown),
        (say("stats.memory"), size(found.memory) if found.memory else unknown),
    ]


def _decoding(message: Message) -> float:
    """Seconds from the first token to the last; 0 where it is not known."""
    if not message.tok_s or not message.n_gen:
        return 0.0
    return (message.n_gen - 1) / message.tok_s


def _waiting(answers: Sequence[Message]) -> float:
    return sum(message.ttft_ms or 0.0 for message in answers) / 1000
