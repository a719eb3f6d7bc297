"""One message of the transcript: what it shows, and its lines at a width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len, set_cell_size

from ..markdown.line import BLANK, Line, Span
from ..markdown.plain import PlainText
from ..markdown.text import clean

if TYPE_CHECKING:
    from ..markdown.document import Document

Role = Literal["user", "assistant", "system", "note"]
State = Literal["streaming", "done", "stopped", "interrupted", "error"]

HEAD_ROOM = 2
"""Cells that a header, which stands further left, has more than the text below it."""

LIVE_TAIL = 6
"""Lines of thinking shown while it streams and nobody folded or unfolded it."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """What the transcript shows of one message.

    `header` is the line above it; the part before the first " · " is its title
    ("Qwen · 61 tok/s · 4.2 s"). An assistant's text is rendered as Markdown, every other as
    written. `detail` is a sentence shown with the state: an error and what to do about it.
    `sibling` is (position from 1, count) among alternative messages.
    """

    role: Role
    text: str = ""
    header: str = ""
    thinking: str = ""
    thinking_seconds: float | None = None
    thinking_tokens: int | None = None
    state: State = "done"
    detail: str = ""
    sibling: tuple[int, int] | None = None
    attached: tuple[str, ...] = ()
    """One line for each text that goes with the message: its name and size."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The transcript's own words, for the languages of the interface.

    Without `thoughts` a thinking model is only said to think, and what it thought is not shown.
    """

    thinking: str = "thinking…"
    thought: str = "thought"
    tokens: str = "tok"
    stopped: str = "stopped"
    interrupted: str = "interrupted"
    error: str = "error"
    copy: str = "copy"
    decimal: str = "."
    thoughts: bool = True


class Message:
    """A message with its lines, laid out on demand.

    Lines come in three runs: `head` (header and thinking), `body`, `foot` (state and the blank
    line after). `body` is the document's own list, so a streaming tail costs no copying.
    """

    def __init__(self, view: MessageView, labels: Labels) -> None:
        self.view = view
        self.labels = labels
        self.unfolded: bool | None = None  # None: live tail while thinking, folded after
        self.head: list[Line] = []
        self.body: list[Line] = []
        self.foot: list[Line] = []
        self.fold_line = -1  # which line of `head` folds the thinking
        self._thinking: PlainText | None = None
        self._document: Document | PlainText | None = None

    @property
    def streaming(self) -> bool:
        """More text may come."""
        return self.view.state == "streaming"

    @property
    def text(self) -> str:
        """The cleaned text of the answer."""
        return clean(self.view.text) if self._document is None else self._document.text

    @property
    def thinking(self) -> str:
        """The cleaned text of the thinking."""
        return clean(self.view.thinking) if self._thinking is None else self._thinking.text

    @property
    def has_thinking(self) -> bool:
        """There is thinking to show."""
        if not self.labels.thoughts and not (self.streaming and not self.text):
            return False
        return bool(self.view.thinking) or self._thinking is not None

    @property
    def is_unfolded(self) -> bool:
        """Its thinking is shown, wholly or as a live tail."""
        return self.streaming and not self.text if self.unfolded is None else self.unfolded

    def append_text(self, piece: str) -> None:
        """The answer goes on."""
        self._open_document().append(piece)

    def append_thinking(self, piece: str) -> None:
        """The thinking goes on."""
        self._open_thinking().append(piece)

    def update(self, view: MessageView) -> None:
        """Show `view`; its text and thinking are not looked at."""
        ended = self.streaming and view.state != "streaming"
        self.view = replace(view, text=self.view.text, thinking=self.view.thinking)
        if ended:
            document = self._open_document()
            if not isinstance(document, PlainText):
                document.finish()
            self.view = replace(self.view, text=document.text, thinking=self.thinking)

    def reword(self, labels: Labels) -> None:
        """Use `labels` from the next layout on."""
        self.view = replace(self.view, text=self.text, thinking=self.thinking)
        self.labels = labels
        self._document = self._thinking = None

    def code_block(self, number: int) -> str:
        """The text of code block `number`, from 1. Raises IndexError when there is none."""
        document = self._open_document()
        blocks = [] if isinstance(document, PlainText) else document.code_blocks
        if not 1 <= number <= len(blocks):
            raise IndexError(f"the message has {len(blocks)} code blocks, not {number}")
        return blocks[number - 1]

    def estimate(self, width: int) -> int:
        """A guess at the height at `width`, from lengths only."""
        text = self.view.text
        guess = 3 + text.count("\n") + len(text) // max(width, 1)
        return guess + bool(self.view.thinking) + (self.view.state != "done")

    def layout(self, width: int) -> int:
        """Lay the message out at `width` cells of text and return its height in lines."""
        self.head = [self._header(width + HEAD_ROOM)]
        self.fold_line = -1
        if self.has_thinking:
            self.fold_line = 1
            self.head += self._thinking_lines(width)
        document = self._document
        if document is None and (self.view.text or self.streaming):
            document = self._open_document()
        self.body = [] if document is None else document.lines(width)
        self.foot = [*self._attached_lines(width), *self._state_lines(width), BLANK]
        return self.height

    @property
    def height(self) -> int:
        """Lines of the last layout."""
        return len(self.head) + len(self.body) + len(self.foot)

    def line(self, index: int) -> Line:
        """Line `index` of the last layout."""
        if index < len(self.head):
            return self.head[index]
        index -= len(self.head)
        if index < len(self.body):
            return self.body[index]
        return self.foot[index - len(self.body)]

    def release(self) -> None:
        """Forget the lines of a message that is out of sight; its height stays known outside."""
        if not self.streaming:
            self.head, self.body, self.foot = [], [], []
            self._document = self._thinking = None

    def _open_document(self) -> Document | PlainText:
        if self._document is None:
            if self.view.role == "assistant":
                # The parser is a tenth of a start, and an empty chat has nothing to parse.
                from ..markdown.document import Document

                self._document = Document(
                    self.view.text, finished=not self.streaming, copy_label=self.labels.copy
                )
            else:
                self._document = PlainText(self.view.text)
        return self._document

    def _open_thinking(self) -> PlainText:
        if self._thinking is None:
            self._thinking = PlainText(self.view.thinking, "thought")
        return self._thinking

    def _header(self, width: int) -> Line:
        title, dot, rest = clean(self.view.header).replace("\n", " ").partition(" · ")
        sibling = ""
        if self.view.sibling is not None:
            sibling = "\u2039{}/{}\u203a".format(*self.view.sibling)
        room = width - (len(sibling) + 1 if sibling else 0)
        if cell_len(title + dot + rest) > room:
            title = set_cell_size(title, min(cell_len(title), room))
            rest = set_cell_size(dot + rest, max(0, room - cell_len(title)))
        else:
            rest = dot + rest
        gap = " " * (width - cell_len(title + rest) - len(sibling)) if sibling else ""
        spans = (Span(title, self.view.role), Span(rest, "meta"), Span(gap), Span(sibling, "meta"))
        return Line(tuple(span for span in spans if span.text))

    def _thinking_lines(self, width: int) -> list[Line]:
        thinking = self._open_thinking()
        live = self.streaming and not self.text
        figures = ""
        if self.view.thinking_seconds is not None:
            figures += f" {self.view.thinking_seconds:.1f} s".replace(".", self.labels.decimal)
        if self.view.thinking_tokens is not None and not live:
            figures += f" ({self.view.thinking_tokens} {self.labels.tokens})"
        shown: list[Line] = []
        if not self.labels.thoughts:
            pass
        elif self.unfolded:
            shown = thinking.lines(width - 2)
        elif live and self.unfolded is None:
            shown = thinking.tail(width - 2, LIVE_TAIL)
        word = self.labels.thinking if live else self.labels.thought
        arrow = "▾" if shown or (self.unfolded and self.labels.thoughts) else "▸"
        head = Line((Span(f"{arrow} {word}{figures}", "meta"),))
        bar = (Span("│ ", "frame"),)
        return [head, *(line.indented(bar) for line in shown)]

    def _attached_lines(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for text in self.view.attached:
            lines += PlainText(f"↳ {text}", "meta").lines(width)
        return lines

    def _state_lines(self, width: int) -> list[Line]:
        marks = {
            "stopped": ("■ " + self.labels.stopped, "state"),
            "interrupted": ("⚡ " + self.labels.interrupted, "state"),
            "error": ("✗ " + self.labels.error, "error"),
        }
        if self.view.state not in marks:
            return []
        mark, style = marks[self.view.state]
        text = f"{mark}: {self.view.detail}" if self.view.detail else mark
        lines = PlainText(text, style).lines(width)[:]
        return [BLANK, *lines] if self.body else lines
