"""The tokenizer files beside a checkpoint's weights, in every form they are published in.

====================================  ==========================================================
``tokenizer.json``                    the whole tokenizer; read by the library, never in Python
``vocab.json`` and ``merges.txt``     the older pair; completed here to the Qwen tokenizer
``tokenizer_config.json``             special tokens (strings or dictionaries), chat template(s)
``special_tokens_map.json``           special tokens where the config names none
``added_tokens.json``                 ids of added tokens where the config has none
``chat_template.jinja``, ``.json``    the chat template; wins over the one in the config
``additional_chat_templates/*.jinja`` further templates, by name
====================================  ==========================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors as post_processors

from ..errors import TokenizerError

_T = TypeVar("_T")
_DOWNLOAD = "Download the model again, with its tokenizer files."

# How Qwen2 and Qwen3 cut text into words before byte-pair encoding.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What the small files say; ``backend`` reads the large one."""

    path: Path
    config: Mapping[str, Any]
    special_tokens: Mapping[str, str]
    templates: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> TokenizerFiles:
        """Raises ``TokenizerError`` for a file that cannot be read or understood."""
        config = _json_object(path / "tokenizer_config.json") or {}
        special = _special_tokens(_json_object(path / "special_tokens_map.json") or {})
        special |= _special_tokens(config)
        return cls(path, config, special, _templates(path, config))

    def backend(self) -> Tokenizer:
        """The tokenizer itself. Raises ``TokenizerError``."""
        whole = self.path / "tokenizer.json"
        if whole.is_file():
            return _load(whole, lambda: Tokenizer.from_buffer(whole.read_bytes()))
        vocab, merges = self.path / "vocab.json", self.path / "merges.txt"
        if not (vocab.is_file() and merges.is_file()):
            raise TokenizerError(
                f"No tokenizer in {self.path}: neither tokenizer.json nor vocab.json with "
                "merges.txt.",
                _DOWNLOAD,
            )
        model = _load(vocab, lambda: models.BPE.from_file(str(vocab), str(merges)))
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.post_processor = post_processors.ByteLevel(
            add_prefix_space=False, trim_offsets=False, use_regex=False
        )
        tokenizer.decoder = decoders.ByteLevel()
        self._add_tokens(tokenizer)
        return tokenizer

    def _add_tokens(self, tokenizer: Tokenizer) -> None:
        """Give the added tokens the ids the files say: the library only counts upwards."""
        for wanted, token in self._added_tokens():
            if token.special:
                tokenizer.add_special_tokens([token])
            else:
                tokenizer.add_tokens([token])
            got = tokenizer.token_to_id(token.content)
            if got != wanted:
                raise TokenizerError(
                    f"The added token {token.content!r} in {self.path} should have id {wanted}, "
                    f"but the vocabulary leads to {got}.",
                    _DOWNLOAD,
                )

    def _added_tokens(self) -> list[tuple[int, AddedToken]]:
        declared = self.config.get("added_tokens_decoder")
        if isinstance(declared, dict):
            decoder = cast(dict[str, Any], declared)
            try:
                entries = sorted((int(number), entry) for number, entry in decoder.items())
                return [(number, _added_token(entry)) for number, entry in entries]
            except (TypeError, ValueError, KeyError) as error:
                raise TokenizerError(
                    f"added_tokens_decoder in {self.path / 'tokenizer_config.json'} is not a table "
                    "of ids and tokens.",
                    _DOWNLOAD,
                ) from error
        source = self.path / "added_tokens.json"
        ids = _json_object(source)
        if ids is None:
            raise TokenizerError(
                f"No added tokens in {self.path}: neither added_tokens_decoder in "
                "tokenizer_config.json nor added_tokens.json.",
                _DOWNLOAD,
            )
        special = {*self.special_tokens.values(), *_additional(self.config)}
        special |= _additional(_json_object(self.path / "special_tokens_map.json") or {})
        try:
            pairs = sorted((int(number), content) for content, number in ids.items())
        except (TypeError, ValueError) as error:
            raise TokenizerError(
                f"{source} is not a table of tokens and ids.", _DOWNLOAD
            ) from error
        return [
            (number, AddedToken(content, normalized=False, special=content in special))
            for number, content in pairs
        ]


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    return AddedToken(
        str(entry["content"]),
        single_word=bool(entry.get("single_word", False)),
        lstrip=bool(entry.get("lstrip", False)),
        rstrip=bool(entry.get("rstrip", False)),
        normalized=bool(entry.get("normalized", False)),
        special=bool(entry.get("special", False)),
    )


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """``eos_token`` and its like, whether written as strings or as dictionaries."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if key.endswith("_token"):
            text = _content(value)
            if text is not None:
                found[key] = text
    return found


def _additional(config: Mapping[str, Any]) -> set[str]:
    names = config.get("additional_special_tokens")
    listed = cast(list[Any], names) if isinstance(names, list) else []
    return {text for text in map(_content, listed) if text is not None}


def _content(token: Any) -> str | None:
    if isinstance(token, dict):
        token = cast(dict[str, Any], token).get("content")
    return token if isinstance(token, str) else None


def _templates(path: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name; a lone one is called ``default``."""
    alone = path / "chat_template.jinja"
    found: dict[str, str] = {}
    if alone.is_file():
        found["default"] = _text(alone)
    else:
        source = path / "chat_template.json"
        written = _json_object(source)
        origin = path / "tokenizer_config.json" if written is None else source
        found |= _named_templates((config if written is None else written), origin)
    for extra in sorted((path / "additional_chat_templates").glob("*.jinja")):
        found[extra.stem] = _text(extra)
    return found


def _named_templates(config: Mapping[str, Any], origin: Path) -> dict[str, str]:
    declared = config.get("chat_template")
    if declared is None:
        return {}
    if isinstance(declared, str):
        return {"default": declared}
    try:
        return {str(entry["name"]): str(entry["template"]) for entry in declared}
    except (TypeError, KeyError) as error:
        raise TokenizerError(
            f"chat_template in {origin} is neither a template nor a list of named templates.",
            _DOWNLOAD,
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path} cannot be read: {error}.", _DOWNLOAD) from error


def _json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where the file does not exist."""
    if not path.is_file():
        return None
    try:
        value: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not valid JSON: {error}.", _DOWNLOAD) from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} does not contain a JSON object.", _DOWNLOAD)
    return cast(dict[str, Any], value)


def _load(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except Exception as error:
        # The library raises the bare class for most faults of a file, so nothing narrower exists.
        if type(error) is not Exception and not isinstance(error, ValueError):
            raise
        raise TokenizerError(f"{path} is not a valid tokenizer: {error}.", _DOWNLOAD) from error
