"""The tree of a conversation: every version of every message, and the way to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from ..findings import Node
from ..units import age
from ..views import model_label, one_line
from ..widgets.bars import Bar
from ..widgets.rows import Rows
from ..words import plural, say
from .library_rows import ends, keys_line, title_line

LEVELS = 8
"""Forks shown by indentation; of deeper ones, the nearest."""
_STATES = {"stopped": "■", "interrupted": "⚡", "error": "✗"}


@dataclass(frozen=True, slots=True)
class Twig:
    """A message in the tree as it is drawn, after the lines in ``rails``."""

    node: Node
    rails: str
    version: tuple[int, int]
    """Which of how many versions of the same message."""
    on_branch: bool


def grow(nodes: Sequence[Node], leaf_id: int | None) -> list[Twig]:
    """The tree in the order in which it is drawn: a message, then what follows each version.

    ``nodes`` hold parents before children. Where nothing forks, nothing is indented; a conversation
    of thousands of messages is a straight line. Takes time in proportion to ``nodes``.
    """
    children: dict[int | None, list[Node]] = {}
    parents: dict[int, int | None] = {}
    for node in nodes:
        children.setdefault(node.parent_id, []).append(node)
        parents[node.id] = node.parent_id
    branch: set[int] = set()
    step = leaf_id
    while step is not None and step in parents:
        branch.add(step)
        step = parents[step]
    twigs: list[Twig] = []
    waiting: list[tuple[Node, tuple[str, ...], str, tuple[int, int]]] = []

    def push(parent: int | None, rails: tuple[str, ...]) -> None:
        versions = children.get(parent, [])
        total = len(versions)
        for number, node in reversed(list(enumerate(versions, 1))):
            last = number == total
            own = "" if total == 1 else "└ " if last else "├ "
            waiting.append((node, rails, own, (number, total)))

    push(None, ())
    while waiting:
        node, rails, own, version = waiting.pop()
        shown = [*rails, *([own] if own else [])]
        cut = "⋯ " if len(shown) > LEVELS else ""
        text = cut + "".join(shown[-LEVELS:])
        twigs.append(Twig(node, text, version, node.id in branch))
        if own:
            # One more than is ever shown, so that a deep tree is known to be cut.
            rails = (*rails, "  " if own == "└ " else "│ ")[-LEVELS - 1 :]
        push(node.id, rails)
    return twigs


class BranchesScreen(Screen[int | None]):
    """Every version of a conversation; the result is the message whose branch was chosen.

    Args:
        nodes: The conversation's messages, parents before children.
        leaf_id: The end of the branch that is open.
        now: Seconds since 1970.
    """

    CSS_PATH = "library.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", show=False),
        Binding("n,tab", "fork(1)", show=False),
        Binding("N,shift+tab", "fork(-1)", show=False),
    ]

    def __init__(self, nodes: Sequence[Node], leaf_id: int | None, now: float) -> None:
        super().__init__()
        # Textual reads this from the instance; its declarations allow no other override.
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self._twigs = grow(nodes, leaf_id)
        self._leaf = leaf_id
        self._now = now

    def compose(self) -> ComposeResult:
        """The tree, and the keys below."""
        yield Bar(id="library-title")
        yield Rows(id="branches-rows")
        yield Static("", markup=False, id="library-keys")

    def on_mount(self) -> None:
        """The cursor begins at the end of the open branch."""
        bar = self.query_one("#library-title", Bar)
        bar.left, bar.right = title_line(say("branches.title"))
        rows = self.query_one(Rows)
        rows.border_title = say("branches.title")
        parents = {twig.node.parent_id for twig in self._twigs}
        ends_ = sum(twig.node.id not in parents for twig in self._twigs)
        rows.border_subtitle = plural("branches.count", ends_)
        names = [str(twig.node.id) for twig in self._twigs]
        rows.present(names, self._paint, at=None if self._leaf is None else str(self._leaf))
        rows.focus()

    def on_resize(self) -> None:
        """As many keys as fit."""
        keys = {"Enter": say("branches.key.switch"), "Tab": say("branches.key.fork")}
        width = max(1, self.size.width - 4)
        line = keys_line(keys, {"Esc": say("library.key.back")}, width)
        self.query_one("#library-keys", Static).update(line)

    def action_fork(self, step: int) -> None:
        """To the next message that has other versions."""
        rows = self.query_one(Rows)
        place = rows.cursor + step
        while 0 <= place < len(self._twigs):
            if self._twigs[place].version[1] > 1:
                rows.cursor = place
                return
            place += step

    @on(Rows.Chosen)
    def _chosen(self, event: Rows.Chosen) -> None:
        self.dismiss(int(event.name))

    def _paint(self, row: int, width: int) -> Content:
        twig = self._twigs[row]
        node = twig.node
        you = node.role == "user"
        who = say("chat.you") if you else model_label(node.model_id) or node.role.capitalize()
        colour = "$text-secondary" if you else "$text-primary"
        dim = "" if twig.on_branch else "$text-muted"
        mark = "● " if twig.on_branch else "○ "
        is_leaf = node.id == self._leaf
        left = Content.assemble(
            (twig.rails, "$text-disabled"),
            (mark, "$text-warning" if is_leaf else "$text-primary" if twig.on_branch else dim),
            (f"{_short(who)}  ", f"bold {colour}" if twig.on_branch else colour),
            (one_line(node.head) or say("branches.empty"), dim),
        )
        number, total = twig.version
        version = f" \u2039{number}/{total}\u203a" if total > 1 else ""
        state = f" {_STATES[node.state]}" if node.state in _STATES else ""
        when = age(max(0.0, self._now - node.created_at)).rjust(5)
        right = Content.assemble(
            (state, "$text-warning"), (version, "$text-accent"), (when, "$text-muted")
        )
        return ends(left, right, width)


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"
