"""Models beside their sources: layer by layer, and brute force with both whole in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.checkpoint.load import load_model
from mlxqwen.errors import CheckpointError, TokenizerError, UsageError
from quantize import lockstep
from quantize.evaluate import BUILT_IN, evaluate, number
from quantize.layerwise import Layerwise
from quantize.lockstep import compare_models, sizes
from quantize.pipeline import quantise
from quantize.progress import Progress
from quantize.recipes import choose_recipe

Make = Callable[..., Path]
Add = Callable[[Path], None]

ROWS = np.random.default_rng(5).integers(0, 512, (6, 16))


@pytest.fixture
def pair(make: Make, add_tokenizer: Add, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Makes a source with a tokenizer, and a quantised form of it."""

    def build(bits: int = 4, **fields: Any) -> tuple[Path, Path]:
        source = make(**fields)
        add_tokenizer(source)
        quantise(source, tmp_path / "quantised", recipe=choose_recipe(None, "fast", bits=bits))
        return source, tmp_path / "quantised"

    return build


def log_softmax(logits: mx.array) -> np.ndarray:
    x = np.array(logits.astype(mx.float32)).astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("fields", [{}, {"moe": True}, {"tie_word_embeddings": True}])
def test_equals_both_models_in_memory(
    pair: Callable[..., tuple[Path, Path]], fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "_BATCH_TOKENS", 32)
    source, quantised = pair(**fields)
    tokens = mx.array(ROWS)
    got, parts = compare_models(Layerwise.open(quantised), Layerwise.open(source), tokens)

    log_p, log_q = (log_softmax(load_model(p)[0](tokens)[:, :-1]) for p in (source, quantised))
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    came = ROWS[:, 1:, None]
    nll = -np.take_along_axis(log_q, came, axis=-1)
    assert kl.mean() > 1e-3
    assert got.tokens == kl.size
    assert got.kl.value == pytest.approx(kl.mean(), rel=1e-3)
    assert got.kl.error == pytest.approx(kl.mean(axis=1).std(ddof=1) / 6**0.5, rel=1e-3)
    assert got.kl_p99 == pytest.approx(np.percentile(kl, 99), rel=1e-3)
    assert got.perplexity.value == pytest.approx(np.exp(nll.mean()), rel=1e-3)
    assert got.top1.value == pytest.approx((log_p.argmax(-1) == log_q.argmax(-1)).mean())

    tied = bool(fields.get("tie_word_embeddings"))
    assert [p.name for p in parts] == ["embedding", "0", "1", *([] if tied else ["head"])]
    x, y = (
        np.array(load_model(p)[0].hidden(tokens).astype(mx.float32)) for p in (source, quantised)
    )
    norms = [np.linalg.norm(v, axis=-1) for v in (x, y, x - y)]
    assert parts[2].error == pytest.approx((norms[2] / norms[0]).mean(), rel=1e-3)
    cosine = ((x * y).sum(axis=-1) / norms[0] / norms[1]).mean()
    assert parts[2].cosine == pytest.approx(cosine, rel=1e-4)


@pytest.mark.parametrize("moe", [False, True])
def test_a_model_is_itself(make: Make, add_tokenizer: Add, moe: bool) -> None:
    source = make(moe=moe)
    add_tokenizer(source)
    got = evaluate(source, against=source, tokens=120, length=40)
    assert got.divergence.kl.value == got.divergence.kl_max == 0.0
    assert got.divergence.top1.value == 1.0
    assert got.divergence.perplexity_ratio.value == 1.0
    assert all(part.error == 0 for part in got.parts if part.name != "head")
    assert got.bits == got.source_bits == 16
    assert "practically the same" in got.verdict


def test_fewer_bits_are_further_away(
    pair: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    source, eight = pair(bits=8)
    quantise(source, tmp_path / "three", recipe=choose_recipe(None, "fast", bits=3))
    far = evaluate(tmp_path / "three", against=source, tokens=400, length=50)
    near = evaluate(eight, against=source, tokens=400, length=50)
    assert near.divergence.kl.value < far.divergence.kl.value / 10
    assert near.parts[-2].error < far.parts[-2].error
    # An MLX-quantised model can be the reference as well.
    between = evaluate(tmp_path / "three", against=eight, tokens=400, length=50)
    assert between.divergence.kl.value == pytest.approx(far.divergence.kl.value, rel=0.2)


def test_bits_count_every_stored_byte(pair: Callable[..., tuple[Path, Path]]) -> None:
    source, quantised = pair(moe=True)
    for folder in (source, quantised):
        model = Layerwise.open(folder)
        found = sizes(model)
        stored = sum(info.nbytes for info in model.directory.tensors.values())
        assert found["all"].nbytes == stored
        assert sum(s.nbytes for part, s in found.items() if part != "all") == stored
    assert sizes(Layerwise.open(source))["1"].bits == 16
    # 4 bits, and 32 of scale and bias for each 64; norms at 16 and the router at 8 above it.
    assert 4.5 < sizes(Layerwise.open(quantised))["1"].bits < 4.7


def test_text_of_a_file_and_everything_as_json(
    pair: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    source, quantised = pair()
    file = tmp_path / "held.jsonl"
    lines = [{"text": f"document {n}: a small text about a small model. " * 4} for n in range(5)]
    file.write_text("\n".join(map(json.dumps, lines)))
    reports: list[Progress] = []
    got = evaluate(
        quantised, against=source, text=file, tokens=100, length=20, progress=reports.append
    )
    assert (got.sequences, got.length, got.divergence.tokens) == (5, 20, 95)
    plain = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert plain["text"] == str(file)
    assert plain["kl"]["value"] == got.divergence.kl.value
    assert plain["parts"][-1]["name"] == "head"
    assert plain["parts"][-1]["error"] is None
    assert plain["verdict"] == got.verdict
    assert {name: value for name, value, _ in got.rows()}["Text"] == str(file)
    assert [row[0] for row in got.layer_rows()] == ["embedding", "0", "1", "head"]
    done = [report.done for report in reports]
    assert done == list(range(1, len(done) + 1))
    assert reports[-1].done == reports[-1].total


def test_built_in_text_is_the_default(pair: Callable[..., tuple[Path, Path]]) -> None:
    source, quantised = pair()
    got = evaluate(quantised, against=source, tokens=90, length=30)
    assert got.text == BUILT_IN
    assert (got.sequences, got.length) == (3, 30)


def test_a_short_text_is_one_short_sequence(
    pair: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    source, quantised = pair()
    (tmp_path / "short.txt").write_text("a small text")
    got = evaluate(quantised, against=source, text=tmp_path / "short.txt")
    assert got.sequences == 1
    assert "±" not in {row[0]: row[1] for row in got.rows()}["KL from the source"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"num_hidden_layers": 3}, "layers"),
        ({"hidden_size": 64}, "numbers per token"),
        ({"vocab_size": 544}, "vocabulary"),
    ],
)
def test_strangers_are_refused(
    make: Make, add_tokenizer: Add, fields: dict[str, Any], word: str
) -> None:
    one, other = make("one"), make("other", **fields)
    add_tokenizer(one)
    with pytest.raises(UsageError, match=word):
        evaluate(other, against=one)


def test_another_tokenizer_is_refused(pair: Callable[..., tuple[Path, Path]]) -> None:
    source, quantised = pair()
    path = quantised / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["model"]["merges"] = []
    path.write_text(json.dumps(fields))
    with pytest.raises(UsageError, match="other tokens"):
        evaluate(quantised, against=source)


def test_one_tokenizer_is_enough(pair: Callable[..., tuple[Path, Path]]) -> None:
    source, quantised = pair()
    (source / "tokenizer.json").unlink()
    assert evaluate(quantised, against=source, tokens=40, length=20).sequences == 2
    (quantised / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError):
        evaluate(quantised, against=source)


def test_tokens_beyond_the_vocabulary_are_refused(make: Make, add_tokenizer: Add) -> None:
    source = make(vocab_size=64)
    add_tokenizer(source)
    with pytest.raises(CheckpointError, match="beyond the 64"):
        evaluate(source, against=source)


def test_numbers_that_are_not_finite_are_named(make: Make, add_tokenizer: Add) -> None:
    bad = mx.full((64, 128), float("nan"), mx.bfloat16)
    source = make("whole")
    broken = make("broken", extra={"model.layers.1.self_attn.k_proj.weight": bad})
    add_tokenizer(source)
    with pytest.raises(CheckpointError, match=r"broken .* layer 1\."):
        evaluate(broken, against=source, tokens=40, length=20)
    with pytest.raises(CheckpointError, match=r"broken .* layer 1\."):
        evaluate(source, against=broken, tokens=40, length=20)


def test_too_few_tokens_are_refused(pair: Callable[..., tuple[Path, Path]]) -> None:
    source, quantised = pair()
    with pytest.raises(UsageError, match="too few"):
        evaluate(quantised, against=source, tokens=1)


def test_numbers_for_people() -> None:
    assert number(0) == "0"
    assert number(0.0123456) == "0.0123"
    assert number(12.3456) == "12.3"
    assert number(12345.6) == "12,346"
    assert number(0.00001234) == "1.2e-05"
