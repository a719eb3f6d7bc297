"""What was sent before, as Up and Down walk through it."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 1000


class History:
    """A walk through sent texts that ends where it began: at what is not sent yet."""

    def __init__(self) -> None:
        self._entries: list[str] = []
        self._at: int | None = None  # the entry shown; None while what is written is new
        self.draft = ""
        """What was being written when the walk began."""

    @property
    def walking(self) -> bool:
        """An old text is shown, or one that was made of it."""
        return self._at is not None

    def unsent(self, written: str) -> str:
        """What is not sent yet: ``written``, unless that is an old text, and what was before it."""
        if self._at is None:
            return written
        return self.draft if written == self._entries[self._at] else _both(self.draft, written)

    def fill(self, entries: Iterable[str]) -> None:
        """``entries``, oldest first, come before what was sent since the start."""
        self._entries = [*entries, *self._entries][-MOST:]
        self._at = None

    def add(self, text: str) -> None:
        """``text`` was sent; once is enough where it is the same again."""
        if self._entries[-1:] != [text]:
            self._entries.append(text)
            del self._entries[:-MOST]
        self._at = None

    def stop(self) -> None:
        """What is written is new."""
        self._at = None

    def older(self, written: str) -> str | None:
        """The text before ``written``; None where there is none."""
        if self._at is None:
            self.draft = written
        elif written != self._entries[self._at]:
            # Changed, an old text is a new one: neither may be lost on the way.
            if self.draft.strip():
                self._entries.insert(-1, self.draft)
            self.draft, self._at = written, None
        at = len(self._entries) if self._at is None else self._at
        while at:
            at -= 1
            if self._entries[at] != written:
                self._at = at
                return self._entries[at]
        return None

    def newer(self, written: str) -> str | None:
        """The text after ``written``, in the end what was not sent; None where there is none."""
        if self._at is None or written != self._entries[self._at]:
            return None
        self._at += 1
        if self._at < len(self._entries):
            return self._entries[self._at]
        self._at = None
        return self.draft


def _both(first: str, second: str) -> str:
    return "\n".join(text for text in (first, second) if text.strip())
