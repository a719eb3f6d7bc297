"""Text to token ids and back, on the ``tokenizers`` library alone.

``Tokenizer.from_directory`` reads the files that lie beside a checkpoint's weights, in any of the
forms in which they are published; ``Detokenizer`` turns ids into text one at a time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import tokenizers
from tokenizers.decoders import ByteLevel

from .files import TokenizerFiles
from .template import ChatTemplate

_ID_LIMIT = 1 << 32  # the library keeps ids in 32 bits


class Detokenizer(Protocol):
    """One stream of ids becoming text: all pieces together equal ``Tokenizer.decode``."""

    def add(self, token_id: int) -> str:
        """The text that this id completes: whole characters only, so it may be empty."""
        ...

    def finish(self) -> str:
        """What was held back; an unfinished character becomes U+FFFD."""
        ...


class Tokenizer:
    """Encodes and decodes text as the checkpoint was trained to.

    Safe to use from several threads; each stream of ids has its own ``detokenizer()``.
    """

    def __init__(self, backend: tokenizers.Tokenizer, files: TokenizerFiles) -> None:
        self._backend = backend
        self._files = files
        self._pieces: dict[int, bytes] = {}

    @classmethod
    def from_directory(cls, path: Path) -> Tokenizer:
        """Read ``tokenizer.json``, or build Qwen's tokenizer from ``vocab.json``, ``merges.txt``.

        Raises:
            TokenizerError: Files are missing, unreadable, or contradict each other.
        """
        files = TokenizerFiles.read(path)
        return cls(files.backend(), files)

    @cached_property
    def vocab_size(self) -> int:
        """How many ids have text; a model's own vocabulary is often padded beyond this."""
        return self._backend.get_vocab_size()

    @cached_property
    def eos_token_ids(self) -> frozenset[int]:
        """The id of the tokenizer's own end token; other files of a checkpoint may name more."""
        token = self._files.special_tokens.get("eos_token")
        found = None if token is None else self._backend.token_to_id(token)
        return frozenset() if found is None else frozenset((found,))

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's chat template; None where it has none.

        Raises:
            TemplateError: The template does not compile.
        """
        sources = self._files.templates
        if not sources:
            return None
        return ChatTemplate(
            sources.get("default", next(iter(sources.values()))),
            tool_use=sources.get("tool_use"),
            special_tokens=self._files.special_tokens,
        )

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of ``text``; special tokens written in it become their ids.

        Args:
            text: Any text; a lone surrogate, which UTF-8 cannot express, counts as U+FFFD.
            add_special_tokens: Whether to add what the tokenizer puts around a bare text (nothing,
                in the Qwen family). A rendered chat template contains it already.
        """
        if not text.isascii():
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Text of ``ids``; an id outside the vocabulary has none, broken UTF-8 becomes U+FFFD."""
        known = [token for token in ids if 0 <= token < _ID_LIMIT]
        return self._backend.decode(known, skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """The id of exactly this token, or None."""
        return self._backend.token_to_id(token)

    def detokenizer(self) -> Detokenizer:
        """A new stream of ids becoming text, special tokens included."""
        if isinstance(self._backend.decoder, ByteLevel):
            return _ByteDetokenizer(self)
        return _WindowDetokenizer(self)

    def piece(self, token_id: int) -> bytes:
        """The bytes that a byte-level token stands for; none outside the vocabulary."""
        known = self._pieces.get(token_id)
        if known is None:
            known = self._pieces[token_id] = self._bytes_of(token_id)
        return known

    def _bytes_of(self, token_id: int) -> bytes:
        token = self._backend.id_to_token(token_id) if 0 <= token_id < _ID_LIMIT else None
        if token is None:
            return b""
        try:
            return bytes([_BYTE_OF[character] for character in token])
        except KeyError:  # an added token, written as itself
            return token.encode()


class _ByteDetokenizer:
    """For byte-level tokenizers: each id is some bytes, decoded as UTF-8 as they come."""

    __slots__ = ("_piece", "_utf8")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._piece = tokenizer.piece
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token_id: int) -> str:
        return self._utf8.decode(self._piece(token_id))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WindowDetokenizer:
    """For other tokenizers, whose text of an id depends on its neighbours.

    The last ids are decoded with and without the new one; the difference is the new text. The
    window starts again at each new word, and keeps one word before it as context.
    """

    __slots__ = ("_emitted", "_ids", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._emitted = 0  # ids at the front of the window whose text is out already

    def add(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._new_text()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""  # perhaps the first bytes of a character
        self._ids = self._ids[self._emitted :]
        self._emitted = len(self._ids)
        return text

    def finish(self) -> str:
        text = self._new_text()
        self._emitted = len(self._ids)
        return text

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._ids[: self._emitted])
        return self._tokenizer.decode(self._ids)[len(before) :]


def _byte_level_alphabet() -> dict[str, int]:
    """Which byte a character of a byte-level token stands for (GPT-2's reversible encoding).

    Printable Latin-1 bytes stand for themselves; the other 68 are numbered from U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_level_alphabet()
