"""The rows of the library: conversations, and under each the passages found in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content

from ..findings import Entry, Find
from ..keys import shown
from ..markdown.text import clean
from ..marks import Marked, fold, mark_folded
from ..units import age
from ..views import model_label, one_line
from ..words import plural, say

PASSAGES = 4
"""Passages shown of one conversation until its others are asked for."""
MATCH = "bold $text-accent"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a conversation, a passage ``find`` of it, or the ``rest`` of its passages.

    ``titled`` says of a conversation that its title has what is wanted.
    """

    name: str
    entry: Entry
    find: Find | None = None
    rest: int = 0
    titled: bool = False


def arrange(
    entries: Sequence[Entry],
    finds: Sequence[Find],
    wanted: str,
    unfolded: frozenset[int] = frozenset(),
) -> list[Row]:
    """Rows for ``wanted``: conversations by their titles, then by their newest passage.

    ``unfolded`` are the conversations whose passages are all to be shown. With nothing wanted,
    every conversation in the order given.
    """
    by_id = {entry.id: entry for entry in entries}
    found: dict[int, list[Find]] = {}
    for find in finds:
        found.setdefault(find.conversation_id, []).append(find)
    folded = fold(wanted)
    titled = [entry for entry in entries if folded in fold(entry.title)]
    shown = {entry.id for entry in titled}
    others = [by_id[number] for number in found if number not in shown and number in by_id]
    rows: list[Row] = []
    for entry in [*titled, *others]:
        rows.append(Row(f"c{entry.id}", entry, titled=entry.id in shown))
        passages = found.get(entry.id, [])
        few = passages if entry.id in unfolded else passages[:PASSAGES]
        rows += [Row(f"m{find.message_id}", entry, find) for find in few]
        if len(few) < len(passages):
            rows.append(Row(f"x{entry.id}", entry, rest=len(passages) - len(few)))
    return rows


def first(rows: Sequence[Row]) -> str | None:
    """The row to begin at: the first passage, or a conversation whose title has what is wanted."""
    if len(rows) > 1 and rows[1].find is not None and not rows[0].titled:
        return rows[1].name
    return rows[0].name if rows else None


def paint(row: Row, width: int, *, wanted: str, now: float, current: int | None) -> Content:
    """``row`` in ``width`` cells; ``current`` is the conversation that is open."""
    if row.find is not None:
        return _passage(row.find, width)
    if row.rest:
        return Content.styled(f"      {plural('library.rest', row.rest)}", "$text-muted")
    entry = row.entry
    is_open = entry.id == current
    title = one_line(entry.title) or say("chat.untitled")
    base = "bold $text-primary" if is_open else ""
    left = Content.assemble(
        (
            "★ " if entry.pinned else "• " if is_open else "  ",
            "$text-warning" if entry.pinned else base,
        ),
        styled(mark_folded(title, wanted), base),
    )
    when = age(max(0.0, now - entry.updated_at))
    model = f"{model_label(entry.model_id)}  " if width >= 60 else ""
    right = Content.assemble((model, "$text-disabled"), (when.rjust(4), "$text-muted"))
    return ends(left, right, width)


def _passage(find: Find, width: int) -> Content:
    you = find.role == "user"
    tag = say("chat.you") if you else "Qwen" if find.role == "assistant" else find.role
    style = "$text-secondary" if you else "$text-primary"
    head = Content.styled(f"    {tag[:6]:<5} ", style)
    room = max(8, width - head.cell_length)
    return Content.assemble(head, styled(flat(find.passage, room), "$text-muted")).truncate(
        width, ellipsis=True
    )


def flat(text: Marked, room: int) -> Marked:
    """Cleaned ``text`` on one line, cut at its front so that the first match is in ``room``."""
    runs = [(re.sub(r"\s+", " ", clean(run)), match) for run, match in text]
    before = ""
    while runs and not runs[0][1]:
        before += runs.pop(0)[0]
    first = len(runs[0][0]) if runs else 0
    allowed = max(4, min(room // 2, room - first - 1))
    if runs and len(before) > allowed:
        before = "…" + before[len(before) - allowed + 1 :]
    return ((before.lstrip(), False), *runs)


def styled(text: Marked, base: str = "", match: str = MATCH) -> Content:
    """Runs as content: what matches in the style ``match``, the rest in ``base``."""
    return Content.assemble(*((run, match if hit else base) for run, hit in text))


def ends(left: Content, right: Content, width: int) -> Content:
    """``left``, cut where it must be, and ``right`` at the far end of ``width`` cells."""
    room = width - right.cell_length - 1
    if room < 8:
        return left.truncate(width, ellipsis=True)
    left = left.truncate(room, ellipsis=True)
    return Content.assemble(left, " " * (width - left.cell_length - right.cell_length), right)


def keys_line(keys: Mapping[str, str], last: Mapping[str, str], width: int) -> Content:
    """As many of ``keys`` (key → meaning) as fit in ``width`` cells, and ``last`` at their end."""
    right = _keys(last, width)
    return ends(_keys(keys, width - right.cell_length - 3), right, width)


def _keys(keys: Mapping[str, str], width: int) -> Content:
    parts: list[tuple[str, str]] = []
    used = 0
    for name, meaning in keys.items():
        key = name.replace("Enter", shown("enter"))
        cells = Content(f"{key} {meaning}").cell_length + (2 if parts else 0)
        if used + cells > width:
            break
        if parts:
            parts.append(("  ", ""))
        parts += [(key, "$text-secondary"), (f" {meaning}", "$text-muted")]
        used += cells
    return Content.assemble(*parts)


def title_line(title: str) -> tuple[Content, Content]:
    """Both ends of the bar above a full screen."""
    left = Content.assemble(("mlxqwen", "bold $text-primary"), f"  {title}")
    return left, Content.assemble(("● ", "$text-success"), (say("chat.offline"), "$text-muted"))


def counts(rows: Sequence[Row], passages: int, *, known: bool) -> str:
    """How much there is: ``3 chats · 12 passages``; ``known`` where all was looked at."""
    if not rows:
        return ""
    chats = plural("library.chats", len({row.entry.id for row in rows}))
    if not passages:
        return chats
    found = plural("library.passages", passages)
    return f"{chats} · {found if known else say('library.passages.more', number=passages)}"


def empty(wanted: str, *, deleted: bool, looking: bool) -> Content:
    """What stands where nothing was found."""
    kind = "none_found" if wanted else "none_deleted" if deleted else "none"
    key = "library.looking" if looking else f"library.{kind}"
    return Content.styled(say(key, text=one_line(wanted)), "$text-muted")
