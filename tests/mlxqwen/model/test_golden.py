"""The model against Hugging Face transformers in float32 (references: tests/golden/make.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from cases import CASES, CASES_NEXT, EOS
from checkpoints import Case, build
from weights import checksum

from mlxqwen.checkpoint.load import load_model
from mlxqwen.generate import decode
from mlxqwen.generate.decode import generate_tokens
from mlxqwen.generate.step import compiled_step
from mlxqwen.model.cache import Cache, make_cache
from mlxqwen.model.decoder import Model

REFERENCES = Path(__file__).parents[2] / "golden" / "references"
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Golden:
    case: Case
    model: Model
    reference: dict[str, np.ndarray]

    def ids(self, key: str) -> list[int]:
        return self.reference[key].tolist()


@pytest.fixture(scope="module", params=CASES + CASES_NEXT, ids=lambda case: case.name)
def golden(request: pytest.FixtureRequest, folder_of: Callable[..., Path]) -> Golden:
    case: Case = request.param
    model, _ = load_model(folder_of(case))
    with np.load(REFERENCES / f"{case.name}.npz") as file:
        return Golden(case, model, dict(file))


def run(model: Model, tokens: list[list[int]], cache: Cache | None = None) -> np.ndarray:
    """(B, L) ids -> (B, L, V) float32 logits."""
    return np.array(model(mx.array(tokens), cache).astype(mx.float32))


def assert_close(logits: np.ndarray, reference: np.ndarray) -> None:
    assert logits.shape == reference.shape
    assert np.isfinite(logits).all()
    error = np.linalg.norm(logits - reference) / np.linalg.norm(reference)
    assert error < TOLERANCE


def test_generated_weights_are_those_of_the_reference(golden: Golden) -> None:
    assert checksum(build(golden.case).exact) == golden.reference["checksum"]


def test_one_pass(golden: Golden) -> None:
    logits = run(golden.model, [golden.ids("long")])
    assert_close(logits[0], golden.reference["prefill"])


def test_decode_with_cache(golden: Golden) -> None:
    cache = make_cache(golden.model)
    prefill = run(golden.model, [golden.ids("long")], cache)
    assert_close(prefill[0], golden.reference["prefill"])
    expected = golden.reference["decode"]
    steps = [run(golden.model, [[token]], cache) for token in golden.ids("greedy")[: len(expected)]]
    assert_close(np.concatenate(steps)[:, 0], expected)
    assert cache.offset == golden.case.long + len(expected)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_prefill_in_chunks(golden: Golden, chunk: int) -> None:
    cache, prompt = make_cache(golden.model), golden.ids("long")
    pieces = [
        run(golden.model, [prompt[start : start + chunk]], cache)
        for start in range(0, len(prompt), chunk)
    ]
    assert_close(np.concatenate(pieces, axis=1)[0], golden.reference["prefill"])
    after = run(golden.model, [golden.ids("greedy")[:1]], cache)
    assert_close(after[0], golden.reference["decode"][:1])


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_left_padded_batch(golden: Golden, chunk: int) -> None:
    long, short = golden.ids("long"), golden.ids("short")
    padding = len(long) - len(short)
    rows = [long, [0] * padding + short]
    cache = make_cache(golden.model, left_padding=[0, padding])
    pieces = [
        run(golden.model, [row[start : start + chunk] for row in rows], cache)
        for start in range(0, len(long), chunk)
    ]
    logits = np.concatenate(pieces, axis=1)
    assert_close(logits[0], golden.reference["prefill"])
    assert_close(logits[1, padding:], golden.reference["batch_short"])
    fed, expected = golden.reference["batch_next"], golden.reference["batch_decode"]
    steps = [run(golden.model, fed[:, [i]].tolist(), cache)[:, 0] for i in range(len(expected))]
    assert_close(np.stack(steps), expected)


def test_greedy_tokens(golden: Golden) -> None:
    expected = golden.ids("greedy")
    tokens = generate_tokens(
        golden.model, golden.ids("long"), max_tokens=len(expected), eos_token_ids=[EOS]
    )
    assert list(tokens) == expected


@pytest.mark.parametrize(
    "name", ["dense_untied", "qwen2_untied", "moe_yarn", "mlx_4bit_moe", "next_interval2"]
)
def test_greedy_tokens_of_the_compiled_step(
    name: str, folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in (*CASES, *CASES_NEXT) if case.name == name)
    model, _ = load_model(folder_of(case))
    with np.load(REFERENCES / f"{name}.npz") as file:
        prompt, expected = file["long"].tolist(), file["greedy"].tolist()
    monkeypatch.setattr(decode, "plain_step", compiled_step)
    tokens = generate_tokens(model, prompt, max_tokens=len(expected), eos_token_ids=[EOS])
    assert list(tokens) == expected


def test_stored_copy_of_a_tied_head_is_not_kept(folder_of: Callable[..., Path]) -> None:
    case = next(case for case in CASES if case.stores_tied_head)
    model, config = load_model(folder_of(case))
    assert config.tie_word_embeddings
    assert model.lm_head.weight is model.embed_tokens.weight
