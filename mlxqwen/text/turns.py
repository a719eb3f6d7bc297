"""Tokens of a growing conversation: turns that were encoded before are not encoded again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .tokenizer import Tokenizer

_MARK = "<|im_start|>"
_REMEMBERED = 2_000_000  # characters: twice the longest conversation that a context holds


class TurnEncoder:
    """Encodes rendered conversations as ``Tokenizer.encode`` does, each turn once.

    A special token parts a text before anything else is done to it, so the ids of a text are those
    of its pieces from one ``<|im_start|>`` to the next. Where a tokenizer has no such token, the
    whole text is one piece. Safe to use from any thread.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._known: OrderedDict[str, list[int]] = OrderedDict()
        self._characters = 0
        mark = tokenizer.token_to_id(_MARK)
        before, marked, after = (tokenizer.encode(piece) for piece in ("a \n", _MARK, " b"))
        whole = tokenizer.encode(f"a \n{_MARK} b")
        self._parts = marked == [mark] and [*before, *marked, *after] == whole

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``."""
        if not self._parts:
            return self._tokenizer.encode(text)
        first, *turns = text.split(_MARK)
        ids = self._tokenizer.encode(first) if first else []
        for turn in turns:
            ids += self._of(_MARK + turn)
        return ids

    def _of(self, turn: str) -> list[int]:
        with self._lock:
            ids = self._known.get(turn)
            if ids is not None:
                self._known.move_to_end(turn)
                return ids
        ids = self._tokenizer.encode(turn)
        with self._lock:
            if turn not in self._known:
                self._known[turn] = ids
                self._characters += len(turn)
            while self._characters > _REMEMBERED:
                oldest, _ = self._known.popitem(last=False)
                self._characters -= len(oldest)
        return ids
