"""The text that models are calibrated and measured on, and the rows of tokens made of it.

Built in is a mix of English, Italian and Chinese, of prose, code and chat, in two parts that share
no document (texts/ATTRIBUTION.md): one to calibrate on, one to measure with.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

import mlx.core as mx

from mlxqwen.errors import TemplateError, UsageError
from mlxqwen.text.tokenizer import Tokenizer

# What parts documents in the text that Qwen models were trained on.
_END_OF_TEXT = "<|endoftext|>"

# Long texts are tokenised in pieces about this long, until there are enough tokens.
_PIECE_CHARS = 16_384


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a conversation: then ``text`` is "" and ``messages`` are role and content."""

    text: str = ""
    messages: tuple[Mapping[str, str], ...] = ()


@cache
def calibration_text() -> tuple[Document, ...]:
    """The built-in calibration mix, some 80,000 tokens of Qwen3; kinds alternate throughout."""
    return _built_in("calibration")


@cache
def held_out_text() -> tuple[Document, ...]:
    """Text of the same kinds that calibration never saw, some 40,000 tokens of Qwen3."""
    return _built_in("held_out")


def read_text(path: Path) -> tuple[Document, ...]:
    """The documents of a user's file: one of any text file, one a line of ``.jsonl``.

    A line is an object with ``text``, or with ``messages``, each with ``role`` and ``content``.

    Raises:
        UsageError: It cannot be read, is not UTF-8, is empty, or a line is none of these.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    if path.suffix.lower() == ".jsonl":
        documents = _lines(path, text)
    else:
        documents = (Document(text),) if text.strip() else ()
    if not documents:
        raise UsageError(f"{path} holds no text.", "Give a .txt, .md or .jsonl file with text.")
    return documents


def token_rows(
    tokenizer: Tokenizer, documents: Sequence[Document], length: int, limit: int
) -> mx.array:
    """Tokens of the documents, one after another, as whole sequences.

    Conversations are written with the model's own chat template where it has one. Between documents
    stands the end-of-text token, or the tokenizer's own end token.

    Args:
        length: Tokens in a row.
        limit: Tokens in all, at most; the documents that come first are taken.

    Returns:
        ``(N, length)`` int32. What fills no row is left out, unless it is all there is: then one
        shorter row.

    Raises:
        UsageError: The documents have fewer than two tokens.
    """
    wanted = max(1, limit // length) * length
    tokens: list[int] = []
    for piece in _pieces(tokenizer, documents):
        tokens += piece
        if len(tokens) >= wanted:
            break
    if len(tokens) < 2:
        raise UsageError("The text has fewer than two tokens.", "Give a longer text.")
    tokens = tokens[: min(wanted, max(length, len(tokens) // length * length))]
    return mx.array(tokens, dtype=mx.int32).reshape(-1, min(length, len(tokens)))


def _built_in(name: str) -> tuple[Document, ...]:
    packed = files("quantize").joinpath("texts", f"{name}.jsonl.xz").read_bytes()
    return _lines(Path(name), lzma.decompress(packed).decode())


def _lines(path: Path, text: str) -> tuple[Document, ...]:
    # Not splitlines: JSON strings may hold separators that it takes for ends of lines.
    numbered = enumerate(text.split("\n"), 1)
    return tuple(_parse(path, number, line) for number, line in numbered if line.strip())


def _parse(path: Path, number: int, line: str) -> Document:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad_line(path, number, "is not JSON") from error
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    text, messages = fields.get("text"), fields.get("messages")
    if isinstance(text, str):
        return Document(text)
    if isinstance(messages, list) and messages:
        return Document(
            messages=tuple(_message(path, number, m) for m in cast("list[object]", messages))
        )
    raise _bad_line(path, number, "has neither text nor messages")


def _message(path: Path, number: int, value: object) -> Mapping[str, str]:
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if isinstance(role, str) and isinstance(content, str):
        return {"role": role, "content": content}
    raise _bad_line(path, number, "has a message without role and content as text")


def _bad_line(path: Path, number: int, what: str) -> UsageError:
    hint = 'Write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]} a line.'
    return UsageError(f"{path}, line {number}, {what}.", hint)


def _pieces(tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[list[int]]:
    """The documents' tokens, a part at a time, so that a long file is not tokenised for a few."""
    end = _end(tokenizer)
    for number, document in enumerate(documents):
        if number:
            yield end
        for part in _parts(_written(tokenizer, document)):
            yield tokenizer.encode(part)


def _parts(text: str) -> Iterator[str]:
    """A text cut at ends of lines."""
    start = 0
    while len(text) - start > _PIECE_CHARS:
        cut = text.rfind("\n", start, start + _PIECE_CHARS) + 1
        stop = cut if cut > start else start + _PIECE_CHARS
        yield text[start:stop]
        start = stop
    yield text[start:]


def _written(tokenizer: Tokenizer, document: Document) -> str:
    """A document as the model would meet it; plain where its template refuses the conversation."""
    if not document.messages:
        return document.text
    template = tokenizer.chat_template
    if template is not None:
        try:
            return template.render(document.messages, add_generation_prompt=False)
        except TemplateError:
            pass
    return "\n".join(message["content"] for message in document.messages) + "\n"


def _end(tokenizer: Tokenizer) -> list[int]:
    token = tokenizer.token_to_id(_END_OF_TEXT)
    return [token] if token is not None else sorted(tokenizer.eos_token_ids)
