"""Everything ever said, to be found again: conversations, and passages from all their branches."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Input, Static

from mlxqwen.errors import MlxqwenError

from ..findings import PAGE, Entry
from ..search import Query
from ..store import Store
from ..views import one_line
from ..widgets.bars import Bar
from ..widgets.rows import Rows
from ..words import say
from .library_preview import preview
from .library_results import Results
from .library_rows import Row, counts, empty, first, keys_line, paint, title_line

if TYPE_CHECKING:
    from .chat import ChatScreen

PREVIEW_SECONDS = 0.05
"""How long the cursor rests on a row before its surroundings are read."""
AHEAD = 12
"""Rows below the cursor under which the next page is fetched."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Opening:
    """What the library was left for: a conversation, at a message of it if given."""

    conversation_id: int
    message_id: int | None = None


class LibraryScreen(Screen[Opening | None]):
    """Type to search, arrows to move, Enter to open; letters act on the row under the cursor.

    Args:
        chat: The chat behind it, whose archive it reads and changes.
        path: The file with the conversations.
        wanted: What to search for at first.
    """

    CSS_PATH = "library.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False),
        Binding("down", "to_list", show=False),
        Binding("ctrl+f,slash", "to_search", show=False),
        Binding("p", "pin", show=False),
        Binding("r", "rename", show=False),
        Binding("d,delete", "delete", show=False),
        Binding("u", "undo", show=False),
        Binding("e", "export", show=False),
        Binding("x", "bin", show=False),
    ]

    def __init__(self, chat: ChatScreen, path: Path, wanted: str = "") -> None:
        super().__init__()
        # Textual reads these from the instance; its declarations allow no other override.
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (16, "-high")]
        self._chat = chat
        self._wanted = wanted
        self._results = Results(chat.archive, path)
        self._deleted = False
        self._rows: dict[str, Row] = {}
        self._naming: int | None = None
        self._preview_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """The search above, what it found and a preview side by side, the keys below."""
        yield Bar(id="library-title")
        wanted = Input(self._wanted, placeholder=say("library.ask"), id="library-wanted")
        wanted.cursor_blink = False
        yield wanted
        with Horizontal(id="library-body"):
            yield Rows(id="library-rows")
            with VerticalScroll(id="library-preview"):
                yield Static("", markup=False)
        yield Static("", markup=False, id="library-keys")
        yield Input(id="library-name")

    def on_mount(self) -> None:
        """Show everything there is, or what was asked for."""
        bar = self.query_one("#library-title", Bar)
        bar.left, bar.right = title_line(say("library.title"))
        self.query_one("#library-preview").border_title = say("library.preview")
        self.query_one("#library-wanted", Input).focus()
        self._look()

    # Keys

    def action_back(self) -> None:
        """Leave the name, or the library."""
        if self._naming is not None:
            self._end_naming()
        else:
            self.dismiss(None)

    def action_to_list(self) -> None:
        """From the search down into the list."""
        if self._naming is None:
            self._list.focus()

    def action_to_search(self) -> None:
        """Back to the search."""
        self.query_one("#library-wanted", Input).focus()

    def search(self, text: str) -> None:
        """Search for ``text``, as if it had been typed."""
        self.query_one("#library-wanted", Input).value = text
        self.action_to_search()

    def action_pin(self) -> None:
        """Keep at the top, or no longer."""
        if (row := self._current) and not self._deleted:
            self._run(self._pin(row.entry))

    def action_rename(self) -> None:
        """Write another title in the line of keys."""
        if (row := self._current) and not self._deleted:
            self._naming = row.entry.id
            name = self.query_one("#library-name", Input)
            name.value = one_line(row.entry.title)
            self._show_naming(True)
            name.focus()

    def action_delete(self) -> None:
        """Hide a conversation until it is brought back."""
        if (row := self._current) and not self._deleted:
            self._run(self._delete(row.entry))

    def action_undo(self) -> None:
        """Bring back the deleted conversation under the cursor, else the one deleted last."""
        if not self._deleted:
            self._run(self._undo())
        elif row := self._current:
            self._run(self._restore(row.entry))

    def action_export(self) -> None:
        """Write a conversation to a file."""
        if row := self._current:
            from ..actions.library import ask_export

            ask_export(self._chat, row.entry.id, _title(row.entry))

    def action_bin(self) -> None:
        """Between the deleted conversations and the others."""
        self._deleted = not self._deleted
        self._look()

    # What happens to the widgets

    @on(Input.Changed, "#library-wanted")
    def _typed(self, event: Input.Changed) -> None:
        if Query.parse(event.value) != self._results.query:
            self._look()

    @on(Input.Submitted, "#library-wanted")
    def _entered(self) -> None:
        self._list.action_choose()

    @on(Input.Submitted, "#library-name")
    def _named(self, event: Input.Submitted) -> None:
        number, title = self._naming, " ".join(event.value.split())
        self._end_naming()
        if number is not None and title:
            self._run(self._rename(number, title))

    @on(Input.Blurred, "#library-name")
    def _left_name(self) -> None:
        if self._naming is not None:
            self._naming = None
            self._show_naming(False)

    @on(Rows.LeftAbove)
    def _left_above(self) -> None:
        self.action_to_search()

    @on(Rows.Chosen)
    def _chosen(self, event: Rows.Chosen) -> None:
        row = self._rows.get(event.name)
        if row is None:
            return
        if row.rest:
            self._results.unfolded |= {row.entry.id}
            self._show()
        elif self._deleted:
            self._run(self._restore(row.entry))
        else:
            self.dismiss(Opening(row.entry.id, row.find.message_id if row.find else None))

    @on(Rows.Moved)
    def _moved(self) -> None:
        if self._preview_timer:
            self._preview_timer.stop()
        self._preview_timer = self.set_timer(PREVIEW_SECONDS, self._preview)
        if self._rows and self._list.cursor >= len(self._rows) - AHEAD:
            self._run(self._fetch())

    def on_descendant_focus(self) -> None:
        """The keys that matter now."""
        self._show_keys()

    def on_resize(self) -> None:
        """As many keys as fit, and a preview if there is room for one."""
        self._show_keys()
        self._preview()

    # Reading and changing

    @property
    def _list(self) -> Rows:
        return self.query_one(Rows)

    @property
    def _current(self) -> Row | None:
        """The row that letters act on; none while one is writing a name."""
        name = self._list.current
        return self._rows.get(name) if name is not None and self._naming is None else None

    def _is_open(self, conversation_id: int) -> bool:
        open_now = self._chat.session.conversation
        return open_now is not None and open_now.id == conversation_id

    def _run(self, work: Coroutine[Any, Any, None], *, group: str = "") -> None:
        """Run ``work`` and say what the disk refuses; a newer one of its ``group`` replaces it."""
        if group:
            self.run_worker(self._told(work), group=group, exclusive=True)
        else:
            self.run_worker(self._told(work))

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MlxqwenError as error:
            self._chat.say(str(error), "error")

    def _look(self) -> None:
        self._run(self._search(), group="look")

    async def _search(self) -> None:
        query = Query.parse(self.query_one("#library-wanted", Input).value)
        if await self._results.look(query, deleted=self._deleted):
            self._show(at=first(self._results.rows))
            while self._results.passages < PAGE and await self._results.fetch():
                self._show()

    async def _fetch(self) -> None:
        if await self._results.fetch():
            self._show()

    async def _change(
        self, method: Callable[Concatenate[Store, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        await self._chat.archive.call(method, *args, **kwargs)
        await self._renew()

    # The session knows what it has open; of the others, the store is told.

    async def _pin(self, entry: Entry) -> None:
        if self._is_open(entry.id):
            await self._chat.session.pin()
            await self._renew()
        else:
            await self._change(Store.pin, entry.id, not entry.pinned)

    async def _rename(self, conversation_id: int, title: str) -> None:
        if self._is_open(conversation_id):
            await self._chat.session.rename(title)
            await self._renew()
        else:
            await self._change(Store.rename, conversation_id, title)

    async def _delete(self, entry: Entry) -> None:
        if await self._chat.session.delete(entry.id):
            self._chat.say(say("library.deleted", title=_title(entry)), "information")
        await self._renew()

    async def _undo(self) -> None:
        back = await self._chat.archive.call(Store.undo_delete)
        if back is None:
            self._chat.say(say("library.nothing_to_undo"), "information")
            return
        title = one_line(back.title) or say("chat.untitled")
        self._chat.say(say("library.restored", title=title), "information")
        await self._renew()

    async def _restore(self, entry: Entry) -> None:
        await self._change(Store.restore, entry.id)
        self._chat.say(say("library.restored", title=_title(entry)), "information")

    async def _renew(self) -> None:
        """The list here and the one beside the chat, after a change."""
        await self._results.renew()
        self._show()
        self._chat.listed()

    # Showing

    def _show(self, at: str | None = None) -> None:
        results = self._results
        rows = results.rows
        self._rows = {row.name: row for row in rows}
        session = self._chat.session
        current = session.conversation.id if session.conversation else None
        now, wanted = self._chat.clock(), results.query.text

        def line(number: int, width: int) -> Content:
            return paint(rows[number], width, wanted=wanted, now=now, current=current)

        if rows:
            self._list.present([row.name for row in rows], line, at=at)
        else:
            message = empty(wanted, deleted=self._deleted, looking=results.more_to_come)
            self._list.present([""], lambda row, width: message.truncate(width, ellipsis=True))
        title = "library.bin" if self._deleted else "library.found" if wanted else "library.recent"
        self._list.border_title = say(title)
        self._list.border_subtitle = counts(rows, results.passages, known=not results.more_to_come)
        self._show_keys()

    def _show_keys(self) -> None:
        names = {
            "Enter": "open",
            "p": "pin",
            "r": "rename",
            "d": "delete",
            "e": "export",
            "x": "bin",
            "u": "undo",
            "/": "search",
        }
        if self._deleted:
            names = {"Enter": "restore", "e": "export", "x": "chats", "/": "search"}
        if not self._list.has_focus:
            names = {"Enter": names["Enter"], "↓": "list"}
        shown = {key: say(f"library.key.{name}") for key, name in names.items()}
        width = max(1, self.size.width - 4)
        line = keys_line(shown, {"Esc": say("library.key.back")}, width)
        self.query_one("#library-keys", Static).update(line)

    def _show_naming(self, naming: bool) -> None:
        self.query_one("#library-keys").display = not naming
        self.query_one("#library-name").display = naming

    def _end_naming(self) -> None:
        self._naming = None
        self._show_naming(False)
        self._list.focus()

    def _preview(self) -> None:
        if self.query_one("#library-preview").display:
            self._run(self._read_preview(), group="preview")

    async def _read_preview(self) -> None:
        row = self._current
        shown = await self._results.surroundings(row) if row else ()
        message = (row.find.message_id if row.find else row.entry.leaf_id) if row else None
        pane = self.query_one("#library-preview", VerticalScroll)
        pane.query_one(Static).update(preview(shown, message))
        pane.scroll_home(animate=False)


def _title(entry: Entry) -> str:
    return one_line(entry.title) or say("chat.untitled")
