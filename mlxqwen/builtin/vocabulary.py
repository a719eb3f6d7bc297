"""The built-in model's tokenizer: a byte-level BPE of its own, in the layout of Qwen's files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from .corpus import LANGUAGES, Dialogues, prose

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Control tokens, whose text is never part of an answer, and markers, whose text is.
CONTROL = (END_OF_TEXT, TURN_START, TURN_END)
MARKERS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
TEMPLATE = Path(__file__).parent / "template.jinja"

# Qwen2's splitting rule: contractions, words with one leading mark, digits, punctuation, space.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _training_text(seed: int) -> Iterator[str]:
    for language in LANGUAGES:
        yield from prose(language).split("\n\n")
    dialogues, rng = Dialogues(), random.Random(seed)
    for _ in range(3000):
        dialogue = dialogues.draw(rng)
        yield from (message["content"] for message in dialogue.messages)
        yield dialogue.thought or ""


def train_tokenizer(size: int, seed: int) -> Tokenizer:
    """Trains a BPE of ``size`` tokens, the special ones being the last ids.

    Training is deterministic in ``seed``, which chooses the dialogues that are counted.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(CONTROL) - len(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(seed), trainer)
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    return tokenizer


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of the token ``text``.

    Raises:
        KeyError: if the vocabulary has no such token.
    """
    found = tokenizer.token_to_id(text)
    if found is None:
        raise KeyError(text)
    return found


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Writes tokenizer.json, tokenizer_config.json and generation_config.json into ``folder``."""
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {text: token_id(tokenizer, text) for text in CONTROL + MARKERS}
    added = {
        str(ids[text]): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": text in CONTROL,
        }
        for text in CONTROL + MARKERS
    }
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": added,
            "bos_token": None,
            "chat_template": TEMPLATE.read_text(encoding="utf-8"),
            "clean_up_tokenization_spaces": False,
            "eos_token": TURN_END,
            "errors": "replace",
            "model_max_length": context,
            "pad_token": END_OF_TEXT,
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    _write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": ids[END_OF_TEXT],
            "do_sample": True,
            "eos_token_id": [ids[TURN_END], ids[END_OF_TEXT]],
            "pad_token_id": ids[END_OF_TEXT],
            "temperature": 0.6,
            "top_k": 20,
            "top_p": 0.95,
        },
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
