from __future__ import annotations

import json
import shutil
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.errors import TemplateError, TokenizerError
from mlxqwen.text.tokenizer import Tokenizer

QWEN3 = Path(__file__).parents[2] / "data" / "qwen3"
VOCABULARY = 151_669


@pytest.fixture(scope="module")
def parts(qwen3_tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer in the older files: vocab.json, merges.txt, tokenizer_config.json."""
    folder = tmp_path_factory.mktemp("parts")
    model = json.loads((qwen3_tokenizer_dir / "tokenizer.json").read_text("utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines), "utf-8")
    shutil.copy(QWEN3 / "tokenizer_config.json", folder)
    return folder


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    stream = tokenizer.detokenizer()
    return "".join([*map(stream.add, ids), stream.finish()])


def vectors() -> list[tuple[str, list[int]]]:
    # As bytes: reading as text would change the line ends that are under test.
    texts = (QWEN3 / "ggml-vocab-qwen2.gguf.inp").read_bytes().decode()
    ids = (QWEN3 / "ggml-vocab-qwen2.gguf.out").read_text("utf-8").splitlines()
    cases = texts.split("\n__ggml_vocab_test__\n")[:-1]
    return [(text, [int(n) for n in line.split()]) for text, line in zip(cases, ids, strict=True)]


def test_vectors_of_llama_cpp(tokenizer: Tokenizer) -> None:
    cases = vectors()
    assert len(cases) > 40
    for text, ids in cases:
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == text
        assert streamed(tokenizer, ids) == text


def test_facts_of_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == VOCABULARY
    assert tokenizer.eos_token_ids == {151_645}
    assert tokenizer.token_to_id("<think>") == 151_667
    assert tokenizer.token_to_id("no such token") is None
    assert tokenizer.encode("<|im_start|>user") == [151_644, 872]


def test_special_tokens_are_text_unless_skipped(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<think>\nhm</think> a<|im_end|>")
    assert tokenizer.decode(ids) == "<think>\nhm</think> a<|im_end|>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>\nhm</think> a"


def test_ids_outside_the_vocabulary_have_no_text(tokenizer: Tokenizer) -> None:
    ids = [9707, 151_935, 1 << 40, -1, 1879]
    assert tokenizer.decode(ids) == "Hello world"
    assert streamed(tokenizer, ids) == "Hello world"


def test_leading_spaces_stay(tokenizer: Tokenizer) -> None:
    stream = tokenizer.detokenizer()
    assert [stream.add(token) for token in tokenizer.encode("  a b")] == [" ", " a", " b"]


def test_a_character_comes_when_it_is_whole(tokenizer: Tokenizer) -> None:
    stream = tokenizer.detokenizer()
    pieces = [stream.add(token) for token in tokenizer.encode("𒀀")]
    assert pieces[-1] == "𒀀"
    assert not any(pieces[:-1])
    cut = tokenizer.detokenizer()
    assert [cut.add(token) for token in tokenizer.encode("𒀀")[:-1]][-1] == ""
    assert cut.finish() == "\N{REPLACEMENT CHARACTER}"


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, VOCABULARY + 300) | st.integers(94, 255), max_size=30))
def test_streaming_equals_decoding(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert streamed(tokenizer, ids) == tokenizer.decode(ids)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60))
def test_text_survives_up_to_normalisation(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == streamed(tokenizer, ids)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_lone_surrogates_are_replaced(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800é")) == "a\N{REPLACEMENT CHARACTER}é"


def test_added_tokens_with_spaces_and_accents(qwen3_tokenizer_dir: Path, tmp_path: Path) -> None:
    declared = json.loads((qwen3_tokenizer_dir / "tokenizer.json").read_text("utf-8"))
    for number, content in [(151_669, "a b "), (151_670, "éü"), (151_671, "日 本")]:
        entry = {**declared["added_tokens"][-1], "id": number, "content": content}
        declared["added_tokens"].append(entry)
    (tmp_path / "tokenizer.json").write_text(json.dumps(declared), "utf-8")
    tokenizer = Tokenizer.from_directory(tmp_path)
    ids = [151_669, 9707, 151_670, 151_671, 151_669]
    assert streamed(tokenizer, ids) == tokenizer.decode(ids)
    assert streamed(tokenizer, [151_669, 9707, 151_671]) == "a b Hello日 本"


def test_streaming_costs_the_same_at_any_length(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("Perché il cielo è blu? 因为光。" * 400)
    stream = tokenizer.detokenizer()
    for token in ids:
        stream.add(token)
    started = time.process_time()
    for _ in range(20):
        for token in ids:
            stream.add(token)
    assert (time.process_time() - started) / (20 * len(ids)) < 20e-6


def test_built_from_vocab_and_merges(tokenizer: Tokenizer, parts: Path) -> None:
    built = Tokenizer.from_directory(parts)
    texts = [text for text, _ in vectors()]
    texts.append(
        "<|im_start|>user\nI'll don't 12345 \r\n\n  Äpfel A\u0308 <tool_call></think><|im_end|>"
    )
    for text in texts:
        assert built.encode(text) == tokenizer.encode(text)
    ids = tokenizer.encode(texts[-1])
    assert built.decode(ids) == tokenizer.decode(ids)
    without = tokenizer.decode(ids, skip_special_tokens=True)
    assert built.decode(ids, skip_special_tokens=True) == without
    assert built.vocab_size == tokenizer.vocab_size


def test_built_with_added_tokens_json(tokenizer: Tokenizer, parts: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(parts, tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    decoder = config.pop("added_tokens_decoder")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    table = {entry["content"]: int(number) for number, entry in decoder.items()}
    (folder / "added_tokens.json").write_text(json.dumps(table), "utf-8")
    built = Tokenizer.from_directory(folder)
    text = "<|im_start|>a<think>b</think><|vision_start|><|im_end|>"
    assert built.encode(text) == tokenizer.encode(text)
    assert built.decode(built.encode(text), skip_special_tokens=True) == "a<think>b</think>"


def test_added_tokens_that_do_not_fit_the_vocabulary(parts: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(parts, tmp_path / "model")
    entry = {"content": "<new>", "special": True}
    config = {"added_tokens_decoder": {"151650": entry}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(TokenizerError, match="should have id 151650"):
        Tokenizer.from_directory(folder)


class TestDirectories:
    """Forms in which the small files are published, on a tokenizer of four tokens."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        end = {"id": 3, "content": "<end>", "special": True, "normalized": False}
        end |= {"single_word": False, "lstrip": False, "rstrip": False}
        whole = {
            "version": "1.0",
            "added_tokens": [end],
            "decoder": {
                "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                "use_regex": False,
            },
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
        }  # fmt: skip
        (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
        return tmp_path

    def config(self, folder: Path, **values: object) -> Tokenizer:
        (folder / "tokenizer_config.json").write_text(json.dumps(values))
        return Tokenizer.from_directory(folder)

    def test_tokenizer_json_alone_is_enough(self, folder: Path) -> None:
        tokenizer = Tokenizer.from_directory(folder)
        assert tokenizer.encode("ab<end>") == [2, 3]
        assert tokenizer.eos_token_ids == frozenset()
        assert tokenizer.chat_template is None

    @pytest.mark.parametrize("written", ["<end>", {"content": "<end>", "lstrip": False}])
    def test_eos_as_string_or_dictionary(self, folder: Path, written: object) -> None:
        assert self.config(folder, eos_token=written).eos_token_ids == {3}

    def test_eos_that_is_no_token_or_null(self, folder: Path) -> None:
        assert self.config(folder, eos_token="<other>").eos_token_ids == frozenset()
        assert self.config(folder, eos_token=None).eos_token_ids == frozenset()

    def test_eos_from_special_tokens_map(self, folder: Path) -> None:
        written = json.dumps({"eos_token": {"content": "<end>"}})
        (folder / "special_tokens_map.json").write_text(written)
        assert Tokenizer.from_directory(folder).eos_token_ids == {3}

    def test_template_as_string_sees_the_special_tokens(self, folder: Path) -> None:
        tokenizer = self.config(
            folder,
            eos_token={"content": "<end>"},
            chat_template="{{ messages[0].content }}{{ eos_token }}",
        )
        template = tokenizer.chat_template
        assert template is not None
        assert template.render([{"role": "user", "content": "x"}]) == "x<end>"

    def test_template_as_named_list(self, folder: Path) -> None:
        named = [
            {"name": "tool_use", "template": "with {{ tools | length }}"},
            {"name": "default", "template": "without"},
        ]
        template = self.config(folder, chat_template=named).chat_template
        assert template is not None
        assert template.render([]) == "without"
        assert template.render([], tools=[{"name": "f"}]) == "with 1"

    def test_separate_files_win(self, folder: Path) -> None:
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": "from json"}))
        template = self.config(folder, chat_template="from config").chat_template
        assert template is not None
        assert template.render([]) == "from json"
        (folder / "chat_template.jinja").write_text("from jinja")
        template = Tokenizer.from_directory(folder).chat_template
        assert template is not None
        assert template.render([]) == "from jinja"

    def test_additional_templates(self, folder: Path) -> None:
        (folder / "chat_template.jinja").write_text("plain")
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
        template = Tokenizer.from_directory(folder).chat_template
        assert template is not None
        assert (template.render([]), template.render([], tools=[{}])) == ("plain", "tools")

    @pytest.mark.parametrize("written", [5, ["x"], [{"name": "a"}], {"default": "x"}])
    def test_template_of_another_form(self, folder: Path, written: object) -> None:
        with pytest.raises(TokenizerError, match="chat_template in"):
            self.config(folder, chat_template=written)

    def test_broken_template_does_not_hinder_encoding(self, folder: Path) -> None:
        tokenizer = self.config(folder, chat_template="{% if %}")
        assert tokenizer.encode("ab") == [2]
        with pytest.raises(TemplateError, match="does not compile"):
            _ = tokenizer.chat_template

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match=r"neither tokenizer\.json nor vocab\.json"):
            Tokenizer.from_directory(tmp_path)

    @pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe{}", b"[" * 100_000])
    @pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
    def test_damaged_files(self, folder: Path, name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        with pytest.raises(TokenizerError, match=name):
            Tokenizer.from_directory(folder)


def test_config_that_mlx_lm_wrote(qwen3_tokenizer_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").symlink_to(qwen3_tokenizer_dir / "tokenizer.json")
    shutil.copy(QWEN3 / "tokenizer_config.mlx-1.7B.json", tmp_path / "tokenizer_config.json")
    tokenizer = Tokenizer.from_directory(tmp_path)
    assert tokenizer.eos_token_ids == {151_645}
    template = tokenizer.chat_template
    assert template is not None
    rendered = template.render([{"role": "user", "content": "Hello"}], enable_thinking=False)
    assert rendered.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def sentencepiece_like() -> dict[str, object]:
    """A tokenizer in the manner of Llama: spaces as ▁, unknown characters as bytes."""
    vocab = {"<unk>": 0, "▁a": 1, "b": 2, "▁": 3, "é": 4}
    vocab |= {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return {
        "version": "1.0",
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "vocab": vocab,
                  "merges": []},
    }  # fmt: skip


@given(words=st.lists(st.sampled_from(["▁a", "b", "▁", "é", "🦙", "日", "\n"]), max_size=20))
@settings(deadline=None)
def test_other_decoders_stream_too(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("llama")
    (folder / "tokenizer.json").write_text(json.dumps(sentencepiece_like()), "utf-8")
    tokenizer = Tokenizer.from_directory(folder)
    ids: list[int] = []
    for word in words:
        known = tokenizer.token_to_id(word)
        ids += [5 + byte for byte in word.encode()] if known is None else [known]
    assert streamed(tokenizer, ids) == tokenizer.decode(ids)
