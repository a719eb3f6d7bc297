"""What the status bar says the program is doing."""

from __future__ import annotations

from ..keys import key_name
from ..session import Session
from ..units import count
from ..views import model_label, one_line
from ..words import say


def memory_of(session: Session) -> tuple[int, int] | None:
    """Bytes that the model takes and that it may take; None as long as nobody knows."""
    loaded, foreseen = session.loaded, session.outlook.latest
    if loaded and foreseen:
        return foreseen.held, foreseen.budget
    return (loaded.bytes, loaded.budget) if loaded and loaded.budget else None


def state_line(session: Session, *, read_only: bool) -> str:
    """One line: what goes on, what is wrong, or that all is ready; "" before a model is loaded."""
    answer = session.answer
    if answer and answer.stopping:
        deaf = "status.deaf" if answer.disobeyed else "status.stopping"
        return say(deaf, key=key_name("stop"))
    if session.loading:
        return say("status.loading", model=model_label(session.model))
    if answer is None:
        if session.trouble:
            return one_line(session.trouble)
        if read_only:
            return say("status.read_only")
        return say("status.ready") if session.loaded else ""
    elsewhere = "" if answer.key is not None else say("status.elsewhere")
    if answer.pieces:
        return say(
            "status.writing",
            rate=f"{answer.rate:.0f}",
            number=count(answer.pieces),
            where=elsewhere,
        )
    prefill = answer.prefill
    if prefill and prefill.done < prefill.total:
        return say(
            "status.reading_part",
            done=count(prefill.done),
            total=count(prefill.total),
            where=elsewhere,
        )
    return say("status.reading", where=elsewhere)
