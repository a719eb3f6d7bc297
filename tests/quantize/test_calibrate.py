"""Importance against an independent forward pass in NumPy, its fall-backs, and its cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.load import load_model
from mlxqwen.errors import CheckpointError
from quantize import calibrate as module_under_test
from quantize.calibrate import Calibration, calibrate, measure
from quantize.hidden import Hidden
from quantize.layerwise import Layerwise
from quantize.moments import PRIOR_ROWS, Accumulator, Moments, shrunk
from quantize.progress import Progress
from quantize.recording import Input
from quantize.scores import Scores

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from cases import CASES, CASES_NEXT
from checkpoints import Case, build, write
from weights import Weights

ALL = {case.name: case for case in CASES + CASES_NEXT}


def by_module(found: Iterator[Moments]) -> dict[str, Moments]:
    return {module: moments for moments in found for module in moments.modules}


class Forward:
    """Qwen3, dense or sparse, in float64, noting the input of every matrix with its weight."""

    def __init__(self, case: Case) -> None:
        built = build(case)
        self.config = built.config
        self.weights: Weights = {n: w.astype(np.float64) for n, w in built.exact.items()}
        # module -> (weight, input) of each row; of experts by number as well.
        self.seen: dict[str, list[tuple[int, float, np.ndarray]]] = {}

    def matrix(
        self, name: str, x: np.ndarray, expert: int | None = None, weight: float = 1.0
    ) -> np.ndarray:
        module = name
        if expert is not None:
            module = name.replace(f"experts.{expert}.", "switch_mlp.")
        for row in x.reshape(-1, x.shape[-1]):
            self.seen.setdefault(module, []).append((expert or 0, weight, row))
        return x @ self.weights[f"{name}.weight"].T

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        eps = self.config["rms_norm_eps"]
        scaled = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
        return scaled * self.weights[f"{name}.weight"]

    def rope(self, x: np.ndarray) -> np.ndarray:
        """(L, H, D), positions from 0."""
        half = x.shape[-1] // 2
        rates = self.config["rope_theta"] ** (-np.arange(half) / half)
        angle = np.arange(len(x))[:, None, None] * rates
        a, b = x[..., :half], x[..., half:]
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, path: str, x: np.ndarray) -> np.ndarray:
        heads, groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        q, k, v = (
            self.matrix(f"{path}.{n}_proj", x).reshape(len(x), count, -1)
            for n, count in (("q", heads), ("k", groups), ("v", groups))
        )
        q, k = (self.rope(self.norm(f"{path}.{n}_norm", y)) for n, y in (("q", q), ("k", k)))
        out = np.zeros_like(q)
        for head in range(heads):
            group = head * groups // heads
            scores = q[:, head] @ k[:, group].T / np.sqrt(q.shape[-1])
            scores[np.triu_indices(len(x), 1)] = -np.inf
            chances = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = chances / chances.sum(-1, keepdims=True) @ v[:, group]
        return self.matrix(f"{path}.o_proj", out.reshape(len(x), -1))

    def mlp(self, path: str, x: np.ndarray, **expert: float) -> np.ndarray:
        gate = self.matrix(f"{path}.gate_proj", x, **expert)
        up = self.matrix(f"{path}.up_proj", x, **expert)
        return self.matrix(f"{path}.down_proj", gate / (1 + np.exp(-gate)) * up, **expert)

    def experts(self, path: str, x: np.ndarray) -> np.ndarray:
        logits = self.matrix(f"{path}.gate", x)
        chances = np.exp(logits - logits.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        out = np.zeros_like(x)
        for row, chance in enumerate(chances):
            best = np.argsort(-chance)[: self.config["num_experts_per_tok"]]
            for expert in best:
                weight = chance[expert] / chance[best].sum()
                y = self.mlp(f"{path}.experts.{expert}", x[row], expert=int(expert), weight=weight)
                out[row] += weight * y
        return out

    def run(self, tokens: list[int]) -> None:
        x = self.weights["model.embed_tokens.weight"][tokens]
        for index in range(self.config["num_hidden_layers"]):
            path = f"model.layers.{index}"
            x = x + self.attention(f"{path}.self_attn", self.norm(f"{path}.input_layernorm", x))
            after = self.norm(f"{path}.post_attention_layernorm", x)
            sparse = f"{path}.mlp.gate.weight" in self.weights
            x = x + (self.experts if sparse else self.mlp)(f"{path}.mlp", after)
        last = self.norm("model.norm", x)
        if "lm_head.weight" in self.weights:
            self.matrix("lm_head", last)


def rows_for(case: Case, count: int, length: int) -> mx.array:
    shape = (count, length)
    return mx.random.randint(0, case.config["vocab_size"], shape, key=mx.random.key(4))


@pytest.mark.parametrize("name", ["dense_untied", "moe_2of8"])
def test_importance_is_that_of_an_independent_forward_pass(name: str, tmp_path: Path) -> None:
    case = ALL[name]
    write(case, tmp_path)
    rows = rows_for(case, 6, 24)
    found = by_module(measure(Layerwise.open(tmp_path), rows))
    forward = Forward(case)
    for row in rows.tolist():
        forward.run(row)
    assert found.keys() == forward.seen.keys()
    for module, moments in found.items():
        seen = forward.seen[module]
        if moments.importance.ndim == 1:
            expected = np.mean([row**2 for _, _, row in seen], axis=0)
            np.testing.assert_allclose(moments.importance, expected, rtol=2e-3)
            continue
        pooled = sum(w**2 * row**2 for _, w, row in seen) / sum(w**2 for _, w, _ in seen)
        for expert in range(case.config["num_experts"]):
            own = [(w, row) for e, w, row in seen if e == expert]
            mass = sum(w**2 for w, _ in own)
            assert moments.usage is not None
            assert moments.usage[expert].item() == pytest.approx(mass / rows.size, rel=2e-3)
            worth = mass**2 / sum(w**4 for w, _ in own) if own else 0.0
            mean = sum(w**2 * row**2 for w, row in own) / mass if own else 0.0
            expected = (worth * mean + PRIOR_ROWS * pooled) / (worth + PRIOR_ROWS)
            np.testing.assert_allclose(moments.importance[expert], expected, rtol=2e-3)


@pytest.mark.parametrize("name", ["next_interval4", "qwen3_5_dense", "gptq_moe", "mlx_4bit_moe"])
def test_every_matrix_of_every_architecture_gets_its_importance(name: str, tmp_path: Path) -> None:
    write(ALL[name], tmp_path)
    source = Layerwise.open(tmp_path)
    found = by_module(
        measure(source, rows_for(replace(ALL[name], config={"vocab_size": 150}), 2, 16))
    )
    matrices = {
        tensor.removesuffix(".weight"): (*shape[:-2], shape[-1])
        for tensor, shape in expected_tensors(source.config)
        if len(shape) > 1 and "conv1d" not in tensor
    }
    if not source.config.tie_word_embeddings:
        del matrices["model.embed_tokens"]
    assert {module: m.importance.shape for module, m in found.items()} == matrices
    assert all(mx.isfinite(m.importance).all() for m in found.values())


def test_order_and_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(ALL["moe_2of8"], tmp_path)
    source, rows = Layerwise.open(tmp_path), rows_for(ALL["moe_2of8"], 8, 16)
    whole = by_module(measure(source, rows))
    monkeypatch.setattr(module_under_test, "_BATCH_TOKENS", 48)
    parts = by_module(measure(source, rows[::-1]))
    for module, moments in whole.items():
        np.testing.assert_allclose(
            parts[module].importance, moments.importance, rtol=1e-3, err_msg=module
        )


def test_hidden_states_on_disk_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ALL["dense_tied"], tmp_path)
    source, rows = Layerwise.open(tmp_path), rows_for(ALL["dense_tied"], 8, 16)
    monkeypatch.setattr(module_under_test, "_BATCH_TOKENS", 48)
    held = by_module(measure(source, rows))

    def on_disk(batches: int, nbytes: int) -> Hidden:
        assert nbytes == 8 * 16 * 64 * 4
        return Hidden(batches, nbytes, limit=nbytes - 1, folder=tmp_path)

    monkeypatch.setattr(module_under_test, "Hidden", on_disk)
    for module, moments in by_module(measure(source, rows)).items():
        assert mx.array_equal(moments.importance, held[module].importance)


def test_a_tied_table_counts_half_as_output_and_half_alike(tmp_path: Path) -> None:
    write(ALL["dense_tied"], tmp_path)
    rows = rows_for(ALL["dense_tied"], 4, 16)
    found = by_module(measure(Layerwise.open(tmp_path), rows))
    model, _ = load_model(tmp_path)
    squares = mx.square(model.norm(model.hidden(rows))).mean(axis=(0, 1))
    expected = squares / 2 + squares.mean() / 2
    np.testing.assert_allclose(found["model.embed_tokens"].importance, expected, rtol=1e-4)


def test_an_expert_never_chosen_takes_the_mean_of_all() -> None:
    sums = Accumulator(3)
    rows = mx.array([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    sums.add(Input(("m",), rows, mx.array([0, 2, 2]), mx.array([1.0, 1.0, 0.5])))
    (moments,) = sums.moments(3)
    pooled = (np.array([1, 4]) + np.array([9, 0]) + 0.25 * np.array([1, 1])) / 2.25
    np.testing.assert_allclose(moments.importance[1], pooled, rtol=1e-6)
    np.testing.assert_allclose(moments.usage, [1 / 3, 0, 1.25 / 3], rtol=1e-6)
    # One row: nearly the mean of all, drawn towards its own.
    expected = (np.array([1, 4]) + PRIOR_ROWS * pooled) / (1 + PRIOR_ROWS)
    np.testing.assert_allclose(moments.importance[0], expected, rtol=1e-6)


def test_many_rows_outweigh_the_mean_of_all() -> None:
    squares, mass = mx.array([[4000.0], [0.0]]), mx.array([1000.0, 1000.0])
    own = shrunk(squares, mass, mass)[:, 0].tolist()
    assert own[0] == pytest.approx(4, rel=0.02)
    assert own[1] < 0.1


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_inputs_that_say_nothing_are_left_out(value: float) -> None:
    sums = Accumulator(2)
    sums.add(Input(("dead",), mx.full((4, 3), value)))
    sums.add(Input(("good",), mx.ones((4, 3))))
    chosen = mx.array([0, 1, 0, 1])
    sums.add(Input(("experts",), mx.full((4, 3), value), chosen, mx.ones(4)))
    assert [m.modules for m in sums.moments(4)] == [("good",)]


@pytest.fixture
def source(make: Callable[..., Path], add_tokenizer: Callable[[Path], None]) -> Path:
    folder = make(moe=True, vocab_size=320)
    add_tokenizer(folder)
    return folder


def run(source: Path, scores: Scores, **options: object) -> tuple[Calibration, list[Progress]]:
    told: list[Progress] = []
    found = calibrate(source, tokens=1100, scores=scores, progress=told.append, **options)
    return found, told


def test_a_second_run_computes_nothing_and_finds_the_same(source: Path, tmp_path: Path) -> None:
    scores = Scores(tmp_path / "scores")
    first, told = run(source, scores)
    assert first.tokens == 1024
    assert first.documents > 500
    layers = [(p.done, p.total) for p in told]
    assert layers == [(0, 2), (1, 2), (2, 2)]
    assert {p.stage for p in told} == {"calibrate"}
    again, told = run(source, scores)
    assert [p.message for p in told] == ["known from an earlier run"]
    assert again.identity == first.identity
    for kind in ("importance", "usage"):
        known, new = getattr(first, kind), getattr(again, kind)
        assert known.keys() == new.keys()
        assert all(mx.array_equal(known[m], new[m]) for m in known)
    assert first.usage.keys() == {
        f"model.layers.{n}.mlp.switch_mlp.{m}_proj" for n in (0, 1) for m in ("gate", "up", "down")
    }
    path = "model.layers.1.mlp.switch_mlp.down_proj"
    weights = again.guidance().weights_of(path, 128, 100, 300)
    assert mx.array_equal(weights, again.importance[path][mx.arange(100, 300) // 128])


def test_a_fresh_run_has_the_same_identity(source: Path, tmp_path: Path) -> None:
    first, _ = run(source, Scores(tmp_path / "a"))
    second, told = run(source, Scores(tmp_path / "b"))
    assert len(told) == 3
    assert first.identity == second.identity != ""


def test_other_text_or_another_source_is_measured(source: Path, tmp_path: Path) -> None:
    scores = Scores(tmp_path / "scores")
    first, _ = run(source, scores)
    text = tmp_path / "own.txt"
    text.write_text("A text of the user's own, about nothing much. " * 100)
    own, told = run(source, scores, text=text)
    assert len(told) == 3
    assert own.documents == 1
    assert own.identity != first.identity
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "rope_theta": 5000}))
    changed, told = run(source, scores)
    assert len(told) == 3
    assert changed.identity != first.identity


def test_a_damaged_entry_is_said_and_measured_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "home"))
    first = calibrate(source, tokens=512)
    (entry,) = (tmp_path / "home" / "scores").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    told: list[Progress] = []
    again = calibrate(source, tokens=512, progress=told.append)
    assert "damaged" in told[0].message
    assert told[-1].done == told[-1].total == 2
    assert again.identity == first.identity
    assert entry.exists()


def test_ids_beyond_the_model_are_refused(
    make: Callable[..., Path], add_tokenizer: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = make(vocab_size=64)
    add_tokenizer(folder)
    with pytest.raises(CheckpointError, match="but the model has 64 tokens"):
        calibrate(folder, tokens=512, scores=Scores(tmp_path / "scores"))


def test_shards_are_fetched_as_layers_need_them(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(shards=3)
    fetched: list[str] = []
    source = Layerwise.open(folder, fetch=lambda path: fetched.append(path.name))
    assert not fetched
    source.layer(0)
    names = {view.info.path.name for o in source.origins(0) for p in o.parts for view in p.views}
    assert set(fetched) == names
