"""Tokenizer files and training rows have exactly the form that chatting uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mlxqwen.builtin.batches import Batches
from mlxqwen.builtin.corpus import Dialogue
from mlxqwen.builtin.vocabulary import (
    CONTROL,
    MARKERS,
    TEMPLATE,
    token_id,
    train_tokenizer,
    write_tokenizer,
)
from mlxqwen.text.template import ChatTemplate


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(1024, seed=0)


@pytest.fixture(scope="module")
def batches(tokenizer: Tokenizer) -> Batches:
    return Batches(tokenizer, seed=0, chat_share=0.5)


@pytest.mark.parametrize(
    "text",
    ["Perché il cielo è blu?  12345", "don't\n\n  stop", "日本 🙂\t", "<think>\nno</think>\n\nyes"],
)
def test_tokenizer_gives_back_any_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_are_the_last_ids(tokenizer: Tokenizer) -> None:
    ids = [token_id(tokenizer, text) for text in CONTROL + MARKERS]
    assert ids == list(range(1024 - len(ids), 1024))
    with pytest.raises(KeyError):
        token_id(tokenizer, "<|no_such_token|>")


def test_digits_are_single_tokens(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("20481").ids) == 5


def test_training_the_tokenizer_is_deterministic(tokenizer: Tokenizer) -> None:
    assert train_tokenizer(1024, seed=0).to_str() == tokenizer.to_str()


def test_tokenizer_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_tokenizer(tokenizer, tmp_path, 2048)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert config["eos_token"] == "<|im_end|>"
    assert config["chat_template"] == TEMPLATE.read_text()
    ends = [token_id(tokenizer, text) for text in ("<|im_end|>", "<|endoftext|>")]
    assert generation["eos_token_id"] == ends
    assert (generation["temperature"], generation["top_k"], generation["top_p"]) == (0.6, 20, 0.95)
    loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.encode("Ciao!").ids == tokenizer.encode("Ciao!").ids


def render(messages: list[dict[str, str]], **variables: object) -> str:
    return ChatTemplate(TEMPLATE.read_text()).render(messages, **variables)


def test_template_opens_and_closes_thinking() -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    opening = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render(asked) == opening
    assert render(asked, enable_thinking=True) == opening
    assert render(asked, enable_thinking=False) == opening + "<think>\n\n</think>\n\n"


def test_template_drops_old_thoughts_and_keeps_the_last() -> None:
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nold\n</think>\n\nb"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "reasoning_content": "new"},
    ]
    text = render(talk, add_generation_prompt=False)
    assert text == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nnew\n</think>\n\nd<|im_end|>\n"
    )


@pytest.mark.parametrize("thought", [None, "I greet."])
def test_a_dialogue_splits_at_what_the_model_writes(
    batches: Batches, tokenizer: Tokenizer, thought: str | None
) -> None:
    messages = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"})
    prompt, reply = batches.encode_dialogue(Dialogue(messages, thought))
    asked = render([messages[0]], enable_thinking=thought is not None)
    assert tokenizer.decode(prompt, skip_special_tokens=False) == asked
    expected = "Hello!<|im_end|>\n"
    if thought is not None:
        expected = f"<think>\n{thought}\n</think>\n\n{expected}"
    assert tokenizer.decode(reply, skip_special_tokens=False) == expected


def test_rows_have_one_length_and_depend_on_seed_and_step(
    batches: Batches, tokenizer: Tokenizer
) -> None:
    rows = batches.draw(7, 6, 96)
    assert [(len(row.tokens), len(row.counts)) for row in rows] == [(97, 96)] * 6
    again = Batches(tokenizer, seed=0, chat_share=0.5)
    assert again.draw(7, 6, 96) == rows
    assert again.draw(8, 6, 96) != rows


def test_replies_count_and_most_prompts_do_not(tokenizer: Tokenizer) -> None:
    chat = Batches(tokenizer, seed=0, chat_share=1.0).draw(0, 20, 256)
    share = sum(map(sum, (row.counts for row in chat))) / (20 * 256)
    assert 0.3 < share < 0.8
    books = Batches(tokenizer, seed=0, chat_share=0.0).draw(0, 2, 64)
    assert all(all(row.counts) for row in books)
