"""Turns encoded one by one give the ids of the whole, and are remembered within bounds."""

from __future__ import annotations

import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from mlxqwen.hub.library import resolve
from mlxqwen.text import turns
from mlxqwen.text.files import TokenizerFiles
from mlxqwen.text.tokenizer import Tokenizer
from mlxqwen.text.turns import TurnEncoder

GUIDE = Tokenizer.from_directory(resolve("guide"))
PIECES = st.sampled_from(
    ["<|im_start|>", "<|im_end|>", "\n", "user", " ", "e\u0301", "\u0301", "你好", "<|im_", "x"]
)


@given(st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_ids_are_those_of_the_whole(text):
    encoder = TurnEncoder(GUIDE)
    assert encoder.encode(text) == GUIDE.encode(text)
    assert encoder.encode(text) == GUIDE.encode(text)  # from memory, too


def test_qwens_own_tokenizer_parts_so_too(qwen3_tokenizer_dir):
    qwen = Tokenizer.from_directory(qwen3_tokenizer_dir)
    text = "".join(
        f"<|im_start|>{role}\n {said}\n<|im_end|>\n"
        for role in ("system", "user", "assistant")
        for said in (
            "Perché?",
            "e\u0301 你好 👩‍👩‍👧",
            "  def f():\n\treturn 1\n\n",
            "<think>\n\n</think>",
        )
    )
    encoder = TurnEncoder(qwen)
    assert encoder.encode(text) == qwen.encode(text)
    assert len(encoder._known) == 12


def test_only_new_turns_are_encoded():
    encoded = []

    class Counting(Tokenizer):
        def encode(self, text, *, add_special_tokens=False):
            encoded.append(text)
            return super().encode(text, add_special_tokens=add_special_tokens)

    encoder = TurnEncoder(Counting.from_directory(resolve("guide")))
    encoder.encode("<|im_start|>user\none<|im_end|>\n<|im_start|>user\nd")
    encoded.clear()
    ids = encoder.encode("<|im_start|>user\none<|im_end|>\n<|im_start|>user\ndr")
    assert encoded == ["<|im_start|>user\ndr"]
    ids.append(0)  # what was given away is not what is remembered
    assert encoder.encode("<|im_start|>user\ndr") == GUIDE.encode("<|im_start|>user\ndr")


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(turns, "_REMEMBERED", 100)
    encoder = TurnEncoder(GUIDE)
    for number in range(50):
        text = f"<|im_start|>user\n{number}"
        assert encoder.encode(text) == GUIDE.encode(text)
    assert sum(map(len, encoder._known)) == encoder._characters <= 100
    long = "<|im_start|>" + "x" * 300
    assert encoder.encode(long) == GUIDE.encode(long)
    assert encoder._characters == 0


def test_a_tokenizer_without_turns_takes_the_whole():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.normalizer = normalizers.NFC()
    plain = Tokenizer(backend, TokenizerFiles.read(resolve("guide")))
    text = "<|im_start|>user\ne\u0301<|im_start|>assistant"
    assert TurnEncoder(plain).encode(text) == plain.encode(text)
