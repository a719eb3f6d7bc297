"""A Markdown text that grows: finished blocks are rendered once, the open end again and again."""

from __future__ import annotations

from .line import BLANK, Line
from .parser import parse_blocks
from .render import Renderer
from .split import safe_cut
from .text import clean


class Document:
    """The lines of a Markdown text at a width, cheap to ask for again after each piece.

    Blocks that no further text can change are rendered once and frozen; only the rest is parsed
    and rendered anew. At the end the frozen blocks equal those of the whole text by the
    property of `safe_cut`, except that a link may be defined after its use: a text with link
    definitions is rendered once more as a whole.
    """

    def __init__(self, text: str = "", *, finished: bool = False, copy_label: str = "copy") -> None:
        self._text = clean(text)
        self._pieces: list[str] = []
        self._finished = finished
        self._copy_label = copy_label
        self._renderer = Renderer(copy_label)
        self._width = 0
        self._lines: list[Line] = []
        self._frozen = 0  # lines that are final
        self._frozen_codes = 0
        self._cut = 0  # characters those lines stand for
        self._searched = 0  # up to where a cut was looked for
        self._current = False  # _lines are those of the text at _width

    @property
    def text(self) -> str:
        """The cleaned text so far."""
        if self._pieces:
            self._text += "".join(self._pieces)
            self._pieces.clear()
        return self._text

    @property
    def code_blocks(self) -> list[str]:
        """The texts of the code blocks, in order."""
        self.lines(self._width or 80)
        return self._renderer.code_blocks

    def append(self, piece: str) -> None:
        """Add the next piece of the text."""
        self._pieces.append(clean(piece))
        self._current = False

    def finish(self) -> None:
        """No more text comes."""
        self._finished = True
        self._current = False

    def lines(self, width: int) -> list[Line]:
        """All lines at `width` cells; the same list each time, changed in place."""
        if width != self._width:
            self._reset(width)
        if not self._current:
            self._update()
            self._current = True
        return self._lines

    def _reset(self, width: int) -> None:
        self._width = width
        self._renderer = Renderer(self._copy_label)
        self._lines.clear()
        self._frozen = self._frozen_codes = self._cut = self._searched = 0
        self._current = False

    def _update(self) -> None:
        text = self.text
        if not self._finished:
            end = text.rfind("\n") + 1
            if end > self._searched:
                self._searched = end
                if cut := safe_cut(text[self._cut : end]):
                    self._render(text[self._cut : self._cut + cut], keep=True)
                    self._cut += cut
        self._render(text[self._cut :], keep=False)
        if self._finished and self._cut and self._renderer.references:
            self._reset(self._width)
            self._render(text, keep=False)

    def _render(self, text: str, *, keep: bool) -> None:
        """Render `text` after the frozen lines, and freeze it too if `keep`."""
        renderer = self._renderer
        del renderer.code_blocks[self._frozen_codes :]
        known = dict(renderer.references)
        tokens = parse_blocks(text, renderer.environment)
        if len(renderer.references) > len(known):
            renderer.forget_inline()
        lines = renderer.render(tokens, self._width, final=keep or self._finished)
        if self._frozen and lines:
            lines.insert(0, BLANK)
        if not keep and not self._finished and len(renderer.references) > len(known):
            renderer.environment["references"] = known
            renderer.forget_inline()
        old = self._lines[self._frozen :]
        # A line that did not change stays the same object, so what was painted for it serves on.
        for index, (before, after) in enumerate(zip(old, lines, strict=False)):
            if (before.spans, before.margin, before.join) != (
                after.spans,
                after.margin,
                after.join,
            ):
                break
            lines[index] = before
        del self._lines[self._frozen :]
        self._lines += lines
        if keep:
            self._frozen = len(self._lines)
            self._frozen_codes = len(renderer.code_blocks)
