"""The lines above and below the chat: what it is about, and how the engine is doing."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from ..units import count, size
from ..words import say

_METER, _SHORT_METER = 8, 4  # cells
_LARGE = 10_000_000_000  # bytes, shown without decimals
_ENOUGH = 26  # cells at the left end that are not given up for more at the right one


class Bar(Widget):
    """One line with text at its left end, and at its right end where there is room.

    Where ``right`` would leave too little room, the first of ``shorter`` that does not is shown.
    """

    DEFAULT_CSS = "Bar { height: 1; width: 1fr; }"

    left: reactive[Content] = reactive(Content(""))
    right: reactive[Content] = reactive(Content(""))
    shorter: reactive[tuple[Content, ...]] = reactive(())

    def render(self) -> Content:
        """Both ends, the left one cut where they meet."""
        width = self.content_size.width
        wanted = min(_ENOUGH, self.left.cell_length)
        forms = (self.right, *self.shorter)
        right = next((form for form in forms if width - form.cell_length > wanted), forms[-1])
        room = width - right.cell_length - 1
        if room < min(12, self.left.cell_length):
            return self.left.truncate(width, ellipsis=True)
        left = self.left.truncate(room, ellipsis=True)
        gap = " " * (width - left.cell_length - right.cell_length)
        return Content.assemble(left, gap, right)


class TitleBar(Bar):
    """Program, conversation, model, and the promise that nothing leaves the machine."""

    _model = ""
    _work = ""
    _online = False

    def present(self, title: str, model: str) -> None:
        """Show what is open and what answers."""
        parts: list[Content | tuple[str, str]] = [("mlxqwen", "bold $text-primary")]
        if title:
            parts += [("  ", ""), (title, "")]
        self.left = Content.assemble(*parts)
        self._model = model
        self._show_right()

    def occupy(self, work: str, *, online: bool) -> None:
        """Show what goes on beside the chat, and whether it uses the network."""
        if (work, online) != (self._work, self._online):
            self._work, self._online = work, online
            self._show_right()

    def _show_right(self) -> None:
        mark = "$text-warning" if self._online else "$text-success"
        name = "models.online" if self._online else "chat.offline"
        self.right = Content.assemble(
            (self._model, "$text-secondary"),
            (f"   {self._work}" if self._work else "", "$text-primary"),
            ("   ● ", mark),
            (say(name), mark if self._online else "$text-muted"),
        )


class StatusBar(Bar):
    """What the engine does, how full context and memory are, and the keys that matter now."""

    def present(
        self,
        state: str,
        *,
        used: int,
        context: int,
        keys: str,
        trouble: bool,
        draft: str = "",
        memory: tuple[int, int] | None = None,
    ) -> None:
        """Show ``state``, the share ``used`` of ``context`` tokens, and ``keys``.

        Args:
            draft: How large what is written is, in words.
            memory: Bytes that the model takes, and that it may take.
        """
        self.left = Content.styled(state, "$text-error" if trouble else "$text-muted")
        held: list[tuple[str, str]] = []
        if memory:
            held = [(f"{memory_label(*memory)} ", "$text-muted"), *meter(*memory, _SHORT_METER)]
            held += [("   ", "")]
        filled: list[tuple[str, str]] = []
        if context:
            filled = [(f"ctx {count(used)}/{count(context)} ", "$text-muted")]
            filled += [*meter(used, context), ("   ", "")]
        written = [(f"{draft}   ", "$text-muted")] if draft else []
        last = (keys, "$text-muted")
        self.right = Content.assemble(*written, *filled, *held, last)
        forms = (written + filled, filled, filled[:0])
        self.shorter = tuple(Content.assemble(*form, last) for form in forms)


def memory_label(held: int, budget: int) -> str:
    """``mem 3.9/16 GB``: both in the unit of the second, where the first shows in it at all."""
    taken, given = size(held), size(budget)
    if budget >= _LARGE:
        given = f"{round(budget / 1e9)} GB"
    number, _, unit = taken.rpartition(" ")
    return f"mem {number if given.endswith(unit) else taken}/{given}"


def meter(used: int, total: int, cells: int = _METER) -> list[tuple[str, str]]:
    """A bar of so many cells, as styled pieces; it warns when three quarters are used."""
    share = min(1.0, used / total)
    full = round(share * cells) if used else 0
    colour = "$text-success" if share < 0.75 else "$text-warning" if share < 0.9 else "$text-error"
    return [("━" * full, colour), ("━" * (cells - full), "$text-disabled")]


def two_ends(left: str, right: str, width: int) -> str:
    """``left`` cut to fit, ``right`` at the far end of ``width`` cells."""
    room = max(1, width - cell_len(right) - 1)
    if cell_len(left) > room:
        left = set_cell_size(left, room - 1).rstrip() + "…"
    return left + " " * (width - cell_len(left) - cell_len(right)) + right
