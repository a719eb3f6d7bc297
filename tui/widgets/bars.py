"""The lines above and below the chat: what it is about, and how the engine is doing."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from ..units import count
from ..words import say

_METER = 8  # cells of the context meter


class Bar(Widget):
    """One line with text at its left end, and at its right end where there is room."""

    DEFAULT_CSS = "Bar { height: 1; width: 1fr; }"

    left: reactive[Content] = reactive(Content(""))
    right: reactive[Content] = reactive(Content(""))

    def render(self) -> Content:
        """Both ends, the left one cut where they meet."""
        width = self.content_size.width
        room = width - self.right.cell_length - 1
        if room < min(12, self.left.cell_length):
            return self.left.truncate(width, ellipsis=True)
        left = self.left.truncate(room, ellipsis=True)
        gap = " " * (width - left.cell_length - self.right.cell_length)
        return Content.assemble(left, gap, self.right)


class TitleBar(Bar):
    """Program, conversation, model, and the promise that nothing leaves the machine."""

    def present(self, title: str, model: str) -> None:
        """Show what is open and what answers."""
        parts: list[Content | tuple[str, str]] = [("mlxqwen", "bold $text-primary")]
        if title:
            parts += [("  ", ""), (title, "")]
        self.left = Content.assemble(*parts)
        self.right = Content.assemble(
            (model, "$text-secondary"),
            ("   ● ", "$text-success"),
            (say("chat.offline"), "$text-muted"),
        )


class StatusBar(Bar):
    """What the engine does, how full the context is, and the keys that matter now."""

    def present(self, state: str, *, used: int, context: int, keys: str, trouble: bool) -> None:
        """Show ``state``, the share ``used`` of ``context`` tokens, and ``keys``."""
        self.left = Content.styled(state, "$text-error" if trouble else "$text-muted")
        parts: list[tuple[str, str]] = []
        if context:
            parts += [(f"ctx {count(used)}/{count(context)} ", "$text-muted")]
            parts += [*meter(used, context), ("   ", "")]
        self.right = Content.assemble(*parts, (keys, "$text-muted"))


def meter(used: int, total: int) -> list[tuple[str, str]]:
    """A bar of ``_METER`` cells, as styled pieces; it warns when three quarters are used."""
    share = min(1.0, used / total)
    full = round(share * _METER) if used else 0
    colour = "$text-success" if share < 0.75 else "$text-warning" if share < 0.9 else "$text-error"
    return [("━" * full, colour), ("━" * (_METER - full), "$text-disabled")]


def two_ends(left: str, right: str, width: int) -> str:
    """``left`` cut to fit, ``right`` at the far end of ``width`` cells."""
    room = max(1, width - cell_len(right) - 1)
    if cell_len(left) > room:
        left = set_cell_size(left, room - 1).rstrip() + "…"
    return left + " " * (width - cell_len(left) - cell_len(right)) + right
