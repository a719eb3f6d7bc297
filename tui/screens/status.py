"""What the status bar says the program is doing."""

from __future__ import annotations

from ..session import Session
from ..units import count, size
from ..views import model_label, one_line


def state_line(session: Session, *, read_only: bool) -> str:
    """One line: what goes on, what is wrong, or that all is ready; "" before a model is loaded."""
    answer = session.answer
    if answer and answer.stopping:
        return "stopping…   Esc again ends the engine"
    if session.loading:
        return f"loading {model_label(session.model)}…"
    if answer is None:
        if session.trouble:
            return one_line(session.trouble)
        if read_only:
            return "read-only"
        loaded = session.loaded
        return f"ready   {size(loaded.bytes)}" if loaded else ""
    elsewhere = "" if answer.key is not None else "   in another chat"
    if answer.pieces:
        return f"{answer.rate:.0f} tok/s   {count(answer.pieces)} tokens{elsewhere}"
    prefill = answer.prefill
    if prefill and prefill.done < prefill.total:
        return f"reading {count(prefill.done)} of {count(prefill.total)} tokens{elsewhere}"
    return f"reading…{elsewhere}"
