"""Choices under a few sentences: the look that the first run and the missing model share."""

from __future__ import annotations

from textual.content import Content
from textual.widgets.option_list import Option

from ..widgets.stretching import StretchingList
from ..words import say
from .ask import Ask
from .models_facts import refusal


class Choosing(StretchingList):
    """Lines to choose from; left and right are for whoever shows them."""

    DEFAULT_CSS = """
    Choosing {
        height: auto;
        max-height: 1fr;
        border: none;
        padding: 0;
        background: $surface;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-disabled { color: $foreground; }
        & > .option-list--option-highlighted {
            background: $panel;
            color: $foreground;
            text-style: none;
        }
        &:focus {
            border: none;
            background-tint: $surface 0%;
            & > .option-list--option-highlighted {
                background: $panel;
                color: $foreground;
                text-style: none;
            }
        }
    }
    """


def choice(id: str, name: str, about: str = "", width: int = 0) -> Option:
    """A line: ``name`` in at least ``width`` cells, and what it means."""
    return Option(Content.assemble(name.ljust(width), (f"  {about}", "$text-muted")), id=id)


def ask_folder() -> Ask:
    """A dialog for the folder of a model, which must be one."""
    return Ask(say("locate.title"), say("locate.about"), say("locate.hint"), refusal=refusal)
