"""What the library has found so far, without widgets: asked for anew, page by page, refreshed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .. import findings
from ..archive import Archive
from ..findings import Entry, Find, Page, Shown
from ..search import Query
from .library_rows import Row, arrange


class Results:
    """The conversations and passages for one search at a time.

    A reading that was overtaken by a newer search changes nothing and says so. Every coroutine
    raises ``OutputError`` where the disk refuses.
    """

    def __init__(self, archive: Archive, path: Path) -> None:
        self.query = Query("")
        self.deleted = False
        self.unfolded: frozenset[int] = frozenset()
        """Conversations of which every passage is shown."""
        self._archive = archive
        self._path = path
        self._entries: list[Entry] | None = None
        self._finds: list[Find] = []
        self._page = Page(())
        self._asked = 0
        self._fetching = False

    @property
    def more_to_come(self) -> bool:
        """There are messages that were not looked at yet."""
        return self._page.after is not None

    @property
    def passages(self) -> int:
        """Passages found so far."""
        return len(self._finds)

    @property
    def rows(self) -> list[Row]:
        """What to show."""
        return arrange(self._entries or [], self._finds, self.query.text, self.unfolded)

    async def look(self, query: Query, *, deleted: bool) -> bool:
        """Search anew; False if another search began meanwhile."""
        self._asked += 1
        asked = self._asked
        if deleted != self.deleted:
            self._entries = None
        self.query, self.deleted, self.unfolded = query, deleted, frozenset()
        read = self._archive.background
        entries = self._entries
        if entries is None:  # the same for every letter typed
            entries = await read(partial(findings.entries, self._path, deleted=deleted))
        page = await read(partial(findings.search, self._path, query.text, deleted=deleted))
        if asked != self._asked:
            return False
        self._entries, self._finds, self._page = entries, list(page.finds), page
        return True

    async def fetch(self) -> bool:
        """Read the next page, unless that is going on; False if there is nothing new to show."""
        expression, after, asked = self._page.expression, self._page.after, self._asked
        if self._fetching or expression is None or after is None:
            return False
        self._fetching = True
        try:
            page = await self._archive.background(
                partial(findings.more, self._path, expression, after, deleted=self.deleted)
            )
        finally:
            self._fetching = False
        if asked != self._asked:
            return False
        self._page = page
        self._finds += page.finds
        return True

    async def renew(self) -> None:
        """Read the conversations again after one was changed, deleted or brought back."""
        entries = await self._archive.background(
            partial(findings.entries, self._path, deleted=self.deleted)
        )
        self._entries = entries
        known = {entry.id for entry in entries}
        self._finds = [find for find in self._finds if find.conversation_id in known]

    async def surroundings(self, row: Row) -> tuple[Shown, ...]:
        """The message of ``row`` among its neighbours; of a conversation, where it was left."""
        message = row.find.message_id if row.find else row.entry.leaf_id
        if message is None:
            return ()
        expression = self._page.expression if row.find else None
        return await self._archive.background(
            partial(findings.surroundings, self._path, message, expression)
        )
