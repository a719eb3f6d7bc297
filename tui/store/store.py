"""Opening a conversation file, and the whole of what can be asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mlxqwen.errors import OutputError

from .. import database, migrations
from ..actions.slash import typed
from ..records import Attachable, Conversation, Message
from ..words import say
from .conversations import Conversations
from .file import row_id
from .notes import Notes
from .tree import Tree


class Store(Conversations, Tree, Notes):
    """An open conversation file. Make one with ``Store.open``."""

    __slots__ = ()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Store:
        """Open ``path``, creating it and its folder; migrate; recover what a dead process left.

        Raises:
            OutputError: The folder cannot be written, the file is no database, or it comes from a
                newer program.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = database.take_lock(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise OutputError(
                say("disk.folder", path=path.parent, error=error.strerror),
                say("settings.elsewhere"),
            ) from error
        with ExitStack() as undo:
            if lock:
                undo.callback(lock.close)
            try:
                connection = database.connect(path, read_only=lock is None)
                undo.callback(connection.close)
                if lock:
                    migrations.migrate(connection, path)
                else:
                    migrations.refuse_other(connection, path)
                store = cls(path, lock is None, 0, connection, lock, clock)
                store.recovered = store._recover() if lock else 0
            except database.FAULTS as error:
                raise OutputError(
                    say("disk.unopened", path=path, error=error), say("disk.move")
                ) from error
            undo.pop_all()
        return store

    def send(
        self,
        conversation_id: int | None,
        parent_id: int | None,
        text: str,
        attachments: Sequence[Attachable] = (),
        *,
        model: str = "",
        system: str = "",
        params: Mapping[str, Any] | None = None,
        drafted: bool = True,
    ) -> Message:
        """Commit what the user sent, all at once: with it, a conversation where there is none yet.

        It is remembered among the prompts, and, if it was ``drafted``, its draft is gone.
        """
        with self._writing() as cursor:
            owner = conversation_id
            if owner is None:
                owner = self._create(cursor, "", model, system, params or {})
            message_id = self._add_user(cursor, owner, parent_id, text, attachments)
            self._remember(cursor, typed(text))
            if drafted:
                self._forget_draft(cursor, conversation_id)
        return self.message(message_id)

    def fork(self, leaf_id: int) -> Conversation:
        """Copy the branch up to ``leaf_id`` into a conversation of its own.

        An answer that is still being written is left out.
        """
        branch = self.branch(leaf_id)
        source = self.conversation(branch[0].conversation_id)
        assert source is not None
        title = self.free_title(source.title)
        with self._writing() as cursor:
            copy = self._create(cursor, title, source.model_id, source.system, source.params)
            parent: int | None = None
            for message in branch:
                if message.state == "streaming":
                    break
                cursor.execute(
                    "INSERT INTO message (conversation_id, parent_id, role, text, reasoning, "
                    "state, note, model_id, params_json, seed, n_prompt, n_gen, ttft_ms, tok_s, "
                    "thinking_ms, created_at) SELECT ?, ?, role, text, reasoning, state, note, "
                    "model_id, params_json, seed, n_prompt, n_gen, ttft_ms, tok_s, thinking_ms, "
                    "created_at FROM message WHERE id = ?",
                    (copy, parent, message.id),
                )
                parent = row_id(cursor)
                cursor.execute(
                    "INSERT INTO attachment (message_id, place, sha256, name, mime) "
                    "SELECT ?, place, sha256, name, mime FROM attachment WHERE message_id = ?",
                    (parent, message.id),
                )
                self._index(cursor, parent)
            cursor.execute("UPDATE conversation SET leaf_id = ? WHERE id = ?", (parent, copy))
        made = self.conversation(copy)
        assert made is not None
        return made

    def _recover(self) -> int:
        """Mark and index the answers of a process that died; only the lock's holder may."""
        with self._writing() as cursor:
            rows = cursor.execute("SELECT id FROM message WHERE state = 'streaming'").fetchall()
            for (message_id,) in rows:
                cursor.execute(
                    "UPDATE message SET state = 'interrupted' WHERE id = ?", (message_id,)
                )
                self._index(cursor, message_id)
            self._sweep(cursor)
        return len(rows)
