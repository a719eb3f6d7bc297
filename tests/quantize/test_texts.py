"""The built-in texts, a user's own, and rows of tokens."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.errors import UsageError
from mlxqwen.text.tokenizer import Tokenizer
from quantize import texts
from quantize.texts import Document, calibration_text, held_out_text, read_text, token_rows


@pytest.fixture(scope="module")
def qwen3(qwen3_tokenizer_dir: Path) -> Tokenizer:
    return Tokenizer.from_directory(qwen3_tokenizer_dir)


def bodies(documents: tuple[Document, ...]) -> list[str]:
    return [d.text or "\n".join(m["content"] for m in d.messages) for d in documents]


def stretches(text: str) -> set[str]:
    text = " ".join(text.split())
    chinese = sum(c > "\u2e80" for c in text) * 3 > len(text)
    size = 24 if chinese else 48
    return {text[i : i + size] for i in range(max(1, len(text) - size + 1))}


def test_held_out_shares_no_stretch_with_calibration() -> None:
    seen = set().union(*map(stretches, bodies(calibration_text())))
    assert len(seen) > 100_000
    for body in bodies(held_out_text()):
        assert not stretches(body) & seen, body[:80]


def test_texts_are_small_and_attributed() -> None:
    folder = Path(texts.__file__).parent / "texts"
    packed = list(folder.glob("*.xz"))
    assert len(packed) == 2
    assert sum(path.stat().st_size for path in packed) < 250_000
    attribution = (folder / "ATTRIBUTION.md").read_text()
    for part in ("calibration", "held_out"):
        kinds = {json.loads(line)["kind"] for line in _lines(folder / f"{part}.jsonl.xz")}
        assert len(kinds) == 10
        assert all(f"`{kind}`" in attribution for kind in kinds)


def _lines(path: Path) -> list[str]:
    return lzma.decompress(path.read_bytes()).decode().splitlines()


def test_the_mix_alternates_and_is_long_enough(qwen3: Tokenizer) -> None:
    rows = token_rows(qwen3, calibration_text(), 512, 16_384)
    assert rows.shape == (32, 512)
    first = qwen3.decode(rows[:8].flatten().tolist())
    for sample in ("def ", "<|im_start|>user", "曰", " che ", " the ", "<|endoftext|>"):
        assert sample in first
    assert token_rows(qwen3, calibration_text(), 512, 65_536).shape == (128, 512)
    assert token_rows(qwen3, held_out_text(), 512, 32_768).shape == (64, 512)


def test_rows_are_the_documents_in_order(qwen3: Tokenizer) -> None:
    documents = (Document("One two three."), Document("Quattro cinque sei."))
    end = qwen3.token_to_id("<|endoftext|>")
    whole = [*qwen3.encode("One two three."), end, *qwen3.encode("Quattro cinque sei.")]
    assert token_rows(qwen3, documents, 4, 8).tolist() == [whole[:4], whole[4:8]]
    assert token_rows(qwen3, documents, 4, 1000).tolist() == [whole[:4], whole[4:8]]
    assert token_rows(qwen3, documents, 4, 1).tolist() == [whole[:4]]
    assert token_rows(qwen3, documents, 100, 1000).tolist() == [whole]
    with pytest.raises(UsageError, match="fewer than two"):
        token_rows(qwen3, (Document(""),), 4, 8)


def test_conversations_are_written_with_the_models_template(qwen3: Tokenizer) -> None:
    talk = ({"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."})
    rows = token_rows(qwen3, (Document(messages=talk),), 100, 100)
    written = qwen3.decode(rows[0].tolist())
    assert written.startswith("<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n")
    assert "Hello.<|im_end|>" in written


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_long_texts_are_cut_without_loss(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice("ab \n" if draw.random() < 0.3 else "abc") for _ in range(50_000))
    parts = list(texts._parts(text))
    assert "".join(parts) == text
    assert all(0 < len(part) <= 16_384 for part in parts)


def test_a_long_file_is_tokenised_only_as_far_as_needed(qwen3: Tokenizer) -> None:
    class Counting(Tokenizer):
        encoded = 0

        def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
            Counting.encoded += len(text)
            return super().encode(text, add_special_tokens=add_special_tokens)

    counting = Counting(qwen3._backend, qwen3._files)
    token_rows(counting, (Document("A line of words.\n" * 100_000),), 64, 64)
    assert Counting.encoded < 20_000


def test_files_of_users(tmp_path: Path) -> None:
    plain = tmp_path / "notes.md"
    plain.write_text("\ufeff# Größe\nText.", encoding="utf-8")
    assert read_text(plain) == (Document("# Größe\nText."),)
    lines = tmp_path / "chat.jsonl"
    talk = [{"role": "user", "content": "Hi\u2028there"}]
    lines.write_text(
        json.dumps({"text": "a"})
        + "\n\n"
        + json.dumps({"messages": talk, "id": 3}, ensure_ascii=False)
        + "\n"
    )
    assert read_text(lines) == (Document("a"), Document(messages=tuple(talk)))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"prompt": "x"}\n', "line 2, has neither"),
        ("a.jsonl", b"{", "line 1, is not JSON"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "line 1, has a message"),
        ("a.jsonl", b"[1]", "has neither"),
        ("a.txt", b" \n", "no text"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as raised:
        read_text(path)
    assert raised.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        read_text(tmp_path / "absent.txt")


def test_rows_are_integers_of_mlx(qwen3: Tokenizer) -> None:
    assert token_rows(qwen3, (Document("One two three four."),), 2, 2).dtype == mx.int32
