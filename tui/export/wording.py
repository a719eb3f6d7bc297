"""What Markdown and HTML say of a message beside its text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..records import Statistics
from ..units import decimal
from ..views import answer_header, one_line
from ..words import say
from .source import Row, Source


def title_of(source: Source) -> str:
    """The conversation's title on one line."""
    return one_line(source.title) or say("chat.untitled")


def made(source: Source, now: float) -> str:
    """When and of what the file was made."""
    date = datetime.fromtimestamp(now).strftime("%Y-%m-%d %H:%M")
    return say("export.made", date=date, messages=source.count())


def header(message: Row) -> str:
    """Who speaks, with the figures of an answer and how it ended, if not well."""
    role: Any = message["role"]
    if role == "user":
        name = say("export.you")
    elif role == "assistant":
        figures = Statistics(*(message[name] for name in Statistics.__slots__))
        name = answer_header(message["model_id"], figures)
    else:
        name = role.capitalize()
    if message["state"] != "done":
        name += f" · {say('export.state.' + message['state'])}"
        if message["note"]:
            name += f": {one_line(message['note'])}"
    return name


def thought(message: Row) -> str:
    """The line that unfolds what was thought."""
    milliseconds = message["thinking_ms"]
    if milliseconds is None:
        return say("export.thought")
    return say("export.thought_for", seconds=decimal(milliseconds / 1000))
