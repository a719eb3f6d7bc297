"""What is attached to the message being written, in a row above the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from ..attachments import Attachment
from ..units import count, size
from ..views import one_line
from ..words import say

ROWS = 3
_NAME = 28  # cells of a name at most
_META = "chip"


class Chips(Widget):
    """One chip for each attachment: name, size, about how many tokens, and a cross."""

    @dataclass
    class Removed(Message):
        """Somebody clicked the cross of chip ``index``."""

        index: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._attachments: Sequence[Attachment] = ()
        self.display = False

    def present(self, attachments: Sequence[Attachment]) -> None:
        """Show ``attachments``; none hides the row."""
        self._attachments = list(attachments)
        self.display = bool(attachments)
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as the chips fill."""
        return max(1, len(self._rows(width)))

    def render(self) -> Content:
        """The rows."""
        return Content("\n").join(self._rows(self.content_size.width))

    def on_click(self, event: events.Click) -> None:
        """A click on a cross removes its chip."""
        index = event.style.meta.get(_META)
        if isinstance(index, int):
            event.stop()
            self.post_message(self.Removed(index))

    def _rows(self, width: int) -> list[Content]:
        rows: list[list[Content]] = [[]]
        room = width
        for index, attachment in enumerate(self._attachments):
            chip = self._chip(index, attachment, width)
            if rows[-1] and chip.cell_length + 1 > room:
                if len(rows) == ROWS:
                    more = say("attach.more", number=len(self._attachments) - index)
                    rows[-1][-1:] = [Content.styled(f" {more} ", "$text-muted")]
                    break
                rows.append([])
                room = width
            rows[-1].append(chip)
            room -= chip.cell_length + 1
        return [Content(" ").join(row).truncate(width, ellipsis=True) for row in rows]

    def _chip(self, index: int, attachment: Attachment, width: int) -> Content:
        name = one_line(attachment.name)
        room = max(8, min(_NAME, width - 34))
        if cell_len(name) > room:
            name = Content(name).truncate(room, ellipsis=True).plain
        return Content.assemble(
            (f" {name} ", "bold $text-accent on $panel"),
            (f" {figures(attachment)} ", "$text-muted on $panel"),
            Content.styled("×", "$text-error on $panel").stylize(Style.from_meta({_META: index})),
            (" ", "on $panel"),
        )


def figures(attachment: Attachment) -> str:
    """``12.3 kB · ~3.1k tokens``, and how many files a folder is."""
    words = "attach.chip_folder" if attachment.files > 1 else "attach.chip"
    return say(
        words,
        files=attachment.files,
        size=size(attachment.size),
        tokens=count(attachment.tokens),
    )
