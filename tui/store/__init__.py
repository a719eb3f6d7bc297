"""Conversations on disk: a SQLite file in which nothing a person typed or read is ever lost.

A conversation is a tree of messages; ``leaf_id`` names the branch that is open. The user's message
is committed before an answer is asked for, the answer is a ``streaming`` row flushed as it grows,
and a row that has reached a terminal state never changes again (a trigger refuses it): editing and
regenerating add siblings. One process writes: it holds an advisory lock, which the kernel releases
however that process ends. A second process finds the lock taken and opens the file read-only.

Every call is synchronous and may wait for the disk: the interface makes them in one worker thread.
Every call raises ``OutputError`` where the disk refuses or the file is damaged. Lone surrogates in
a text are stored as U+FFFD.
"""

from .conversations import title_from
from .store import Store

__all__ = ["Store", "title_from"]
