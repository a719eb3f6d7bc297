"""What a session asks of the screen that shows it: the chat's, or a test's stand-in."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Literal, Protocol

from .records import Draft
from .widgets.transcript_message import MessageView

Severity = Literal["information", "warning", "error"]


class View(Protocol):
    """What a session asks of the screen that shows it."""

    def show(self, views: Sequence[MessageView]) -> list[int]:
        """Replace what is shown; returns the keys of the messages."""
        ...

    def add(self, view: MessageView) -> int:
        """Add one message at the end; returns its key."""
        ...

    def cut(self, key: int) -> None:
        """Remove message ``key`` and all below."""
        ...

    def stream(self, key: int, text: str, thinking: str) -> None:
        """The answer ``key`` goes on."""
        ...

    def end(self, key: int, view: MessageView) -> None:
        """The answer ``key`` is over; ``view`` says how."""
        ...

    def changed(self) -> None:
        """Title, model or state are to be shown anew."""
        ...

    def listed(self) -> None:
        """The list of conversations is to be read anew."""
        ...

    def say(self, text: str, severity: Severity) -> None:
        """Tell the person something in passing."""
        ...

    def written(self) -> Draft:
        """What is in the box one writes in, unsent."""
        ...

    def write(self, draft: Draft) -> None:
        """Put ``draft`` into the box one writes in, in place of what is there."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else."""
        ...
