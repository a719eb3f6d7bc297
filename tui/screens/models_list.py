"""The list of models and jobs: sections of rows, of which those at work are repainted in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from textual.content import Content
from textual.widgets.option_list import Option

from ..job import Job
from ..widgets.stretching import StretchingList
from ..words import say
from .models_rows import Row, Section, heading, job_line, paint, row_name


class ModelList(StretchingList):
    """Rows under headings; left and right ask for another context."""

    DEFAULT_CSS = """
    ModelList {
        height: 1fr;
        width: 3fr;
        border: round $panel;
        padding: 0;
        background: $background;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        &:focus {
            border: round $primary;
            background-tint: $background 0%;
            & > .option-list--option-highlighted {
                background: $panel;
                color: $foreground;
                text-style: none;
            }
        }
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-disabled { color: $foreground; }
        & > .option-list--option-highlighted {
            background: $panel;
            color: $foreground;
            text-style: none;
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._rows: dict[str, Row] = {}
        self._used = ""
        self._painted = 0  # cells of a row when they were painted last
        self._again: Callable[[], None] | None = None

    def on_resize(self) -> None:
        """Paint for the new width: below a dialog, the page itself hears nothing of it."""
        if self._again and self._painted != self.room:
            self._again()

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        option = self.highlighted_option
        return self._rows.get(option.id) if option and option.id else None

    @property
    def room(self) -> int:
        """Cells of a row."""
        return max(20, self.scrollable_content_region.width - 2)

    def present(
        self, sections: Sequence[Section], *, context: int, used: str, first: str, empty: str
    ) -> None:
        """Show ``sections``; the cursor stays on its row, or goes to the one called ``first``.

        ``used`` is the model that answers now; ``empty`` is said where there is nothing.
        """
        self._again = partial(
            self.present, sections, context=context, used=used, first=first, empty=empty
        )
        self._painted = self.room
        before = self.highlighted_option
        wanted = before.id if before else first
        place, top = self.highlighted, self.scroll_offset.y
        self._used = used
        self._rows = {}
        options: list[Option] = []
        for section in sections:
            if options:
                options.append(Option("", disabled=True))
            options.append(Option(heading(section, context, self.room), disabled=True))
            for row in section.rows:
                name = row_name(row)
                self._rows[name] = row
                options.append(Option(paint(row, self.room, used=used), id=name))
        if not options:
            options.append(Option(Content.styled(empty, "$text-muted"), disabled=True))
        self.clear_options()
        self.add_options(options)
        if not self._rows:
            return
        names = [option.id for option in options]
        if wanted in self._rows:
            self.highlighted = names.index(wanted)
        else:
            near = min(place or 0, len(options) - 1)
            self.highlighted = next(
                (number for number in range(near, len(options)) if names[number]),
                names.index(next(iter(self._rows))),
            )
        self.scroll_to(y=top, animate=False)

    def go_to(self, name: str) -> None:
        """Put the cursor on the row called ``name``, where there is one."""
        if name in self._rows:
            self.highlighted = self.get_option_index(name)

    def repaint(self, job: Job) -> bool:
        """Show how ``job`` fares now; False where its row is not there."""
        name = row_name(job)
        if name not in self._rows:
            return False
        self.replace_option_prompt(name, job_line(job, self.room))
        return True


def keys_of(row: Row | None) -> dict[str, str]:
    """What can be done with ``row``: key → the end of its words' name."""
    match row:
        case Job(state="running" | "waiting"):
            return {"p": "pause", "x": "clear", "i": "info"}
        case Job(state="paused" | "failed"):
            return {"r": "resume", "x": "clear", "i": "info"}
        case Job(state="done"):
            use = {"Enter": "use"} if row.path else {}
            return use | {"x": "clear", "i": "info"}
        case Job() | None:
            return {}
        case _:
            pass
    kind = row_name(row).partition(":")[0]
    return {
        "here": {"Enter": "use", "q": "quantise", "v": "verify", "x": "remove", "i": "info"},
        "part": {"r": "resume", "x": "remove", "i": "info"},
        "known": {"d": "download", "q": "quantise", "i": "info"},
        "hub": {"d": "download", "q": "quantise"},
    }[kind]


def said(keys: dict[str, str]) -> dict[str, str]:
    """``keys`` with their meanings in words."""
    return {key: say(f"models.key.{name}") for key, name in keys.items()}
