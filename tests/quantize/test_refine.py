"""Learned scales bring layers nearer to the source, are kept only then, and are what is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.directory import Directory
from quantize.guidance import NO_GUIDANCE, Guidance
from quantize.layerwise import Layerwise
from quantize.learnable import packed_matrices
from quantize.pipeline import quantise
from quantize.plan import make_plan
from quantize.recipes import FAST, QuantSpec, Rule
from quantize.refine import Settings, refine

RECIPE = replace(
    FAST,
    default=QuantSpec(3, 64),
    rules=(Rule((".mlp.gate", "embed_tokens", "lm_head"), QuantSpec(8, 64)),),
    rounding="searched",
)
QUICK = Settings(passes=6, batch_tokens=64)


def text(seed: int, rows: int = 20) -> mx.array:
    return mx.random.randint(0, 512, (rows, 16), key=mx.random.key(seed))


def hidden(model: Layerwise, tokens: mx.array) -> mx.array:
    x = model.embed(tokens)
    for index in range(model.config.num_hidden_layers):
        x = model.layer(index)(x, None, model.step(tokens.shape[1]))
    return x


def error(source, folder, tokens: mx.array) -> float:
    wanted, got = (hidden(Layerwise.open(path), tokens) for path in (source, folder))
    return (mx.square(got - wanted).mean() / mx.square(wanted).mean()).item()


class Memory:
    """A cache that stops the run once it holds ``room`` layers."""

    def __init__(self, room: int = 99) -> None:
        self.entries: dict[str, Mapping[str, mx.array]] = {}
        self.room = room

    def load(self, key: str) -> Mapping[str, mx.array] | None:
        return self.entries.get(key)

    def save(self, key: str, arrays: Mapping[str, mx.array]) -> None:
        self.entries[key] = dict(arrays)
        if len(self.entries) == self.room:
            raise KeyboardInterrupt


def refined(source, *, seed: int = 1, settings: Settings = QUICK, **options) -> Guidance:
    directory = Directory.open(source)
    plan = make_plan(directory, RECIPE)
    return refine(directory, plan, NO_GUIDANCE, tokens=text(seed), settings=settings, **options)


@pytest.mark.parametrize("moe", [False, True])
def test_unseen_rows_come_out_nearer_and_the_output_holds_what_was_learned(crowded, tmp_path, moe):
    folder = crowded(moe=moe)
    guidance = refined(folder)
    quantise(folder, tmp_path / "plain", recipe=RECIPE)
    quantise(folder, tmp_path / "refined", recipe=RECIPE, guidance=guidance)
    before, after = (error(folder, tmp_path / n, text(2)) for n in ("plain", "refined"))
    assert after < 0.9 * before
    plain, output = (
        mx.load(str(tmp_path / name / "model.safetensors")) for name in ("plain", "refined")
    )
    learned = set()
    for module, (scales, biases) in guidance.affine.items():
        for kind, part in (("scales", scales), ("biases", biases)):
            name = f"{module}.{kind}"
            learned.add(name)
            assert mx.array_equal(output[name].reshape(part.shape), part)
    assert any(not mx.array_equal(plain[name], output[name]) for name in learned)
    for name in plain.keys() - learned:
        assert mx.array_equal(plain[name], output[name]), name


def test_what_does_not_help_is_not_kept(crowded):
    wild = refined(crowded(), settings=replace(QUICK, rate=100.0))
    assert wild.affine == {}


def test_an_interrupted_run_continues_behind_its_last_layer_bit_by_bit(crowded):
    folder = crowded()
    whole = refined(folder)
    cache = Memory(room=1)
    with pytest.raises(KeyboardInterrupt):
        refined(folder, cache=cache)
    first = dict(cache.entries)
    cache.room = 99
    continued = refined(folder, cache=cache)
    assert len(cache.entries) == 2
    assert all(cache.entries[key] is first[key] for key in first)
    assert continued.identity == whole.identity
    assert continued.affine.keys() == whole.affine.keys()
    for module, pair in whole.affine.items():
        assert all(
            mx.array_equal(a, b) for a, b in zip(pair, continued.affine[module], strict=True)
        )


def test_results_of_other_text_and_other_sources_are_not_taken(crowded):
    folder, cache = crowded(), Memory()
    short = replace(QUICK, passes=1)
    refined(folder, cache=cache, settings=short)
    refined(folder, cache=cache, settings=short, seed=5)
    refined(folder, cache=cache, settings=short, identity="another")
    assert len(cache.entries) == 6


def test_an_expert_that_no_row_chose_stays_where_it_started(crowded):
    # The last row gives 0, and of the other eight, in pairs of opposite sign, two give more.
    rows = mx.random.normal((4, 128), key=mx.random.key(3))
    router = mx.concatenate([rows, -rows, mx.zeros((1, 128))]).astype(mx.bfloat16)
    gates = {"model.layers.0.mlp.gate.weight": router}
    folder = crowded(moe=True, num_experts=9, num_hidden_layers=1, extra=gates)
    guidance = refined(folder)
    module = "model.layers.0.mlp.switch_mlp.up_proj"
    plan = make_plan(Directory.open(folder), RECIPE)
    start = packed_matrices(plan, f"{module}.", NO_GUIDANCE)[module].parts[1:]
    for part, learned in zip(start, guidance.affine[module], strict=True):
        before, after = (p.reshape(9, -1) for p in (part, learned))
        assert mx.array_equal(before[8], after[8])
        assert not mx.array_equal(before[:8], after[:8])
