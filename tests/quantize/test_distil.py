"""The whole model's scales, learned from the source's predictions."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.load import load_model
from mlxqwen.model.config import ModelConfig
from quantize.distil import Distillation, Student, distil, distil_need
from quantize.divergence import compare
from quantize.guidance import NO_GUIDANCE
from quantize.layerwise import Layerwise
from quantize.pipeline import quantise
from quantize.plan import make_plan
from quantize.recipes import FAST, QuantSpec, Rule

RECIPE = replace(
    FAST,
    default=QuantSpec(3, 64),
    rules=(Rule((".mlp.gate", "embed_tokens"), QuantSpec(8, 64)),),
    rounding="searched",
)
QUICK = Distillation(passes=6, batch_tokens=64, rate=0.02, checks=3)


def text(seed: int) -> mx.array:
    return mx.random.randint(0, 512, (20, 16), key=mx.random.key(seed))


def divergence(source, folder) -> float:
    tokens = text(2)
    wanted, got = (load_model(path)[0](tokens).reshape(-1, 512) for path in (source, folder))
    return compare(wanted, got, tokens.flatten()).kl.mean().item()


@pytest.mark.parametrize("options", [{}, {"moe": True}, {"tie_word_embeddings": True}])
def test_what_learns_is_the_model_that_is_written(crowded, tmp_path, options):
    folder = crowded(**options)
    model = Layerwise.open(folder)
    plan = make_plan(model.directory, RECIPE)
    student = Student.read(model, plan, NO_GUIDANCE, model.head())
    quantise(folder, tmp_path / "plain", recipe=RECIPE)
    written, tokens = load_model(tmp_path / "plain")[0], text(2)
    assert mx.allclose(student.logits(tokens, {}), written(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("moe", [False, True])
def test_unseen_text_is_predicted_more_like_the_source_does(crowded, tmp_path, moe):
    folder = crowded(moe=moe)
    directory = Directory.open(folder)
    plan = make_plan(directory, RECIPE)
    guidance = distil(directory, plan, NO_GUIDANCE, tokens=text(1), settings=QUICK)
    quantise(folder, tmp_path / "plain", recipe=RECIPE)
    quantise(folder, tmp_path / "distilled", recipe=RECIPE, guidance=guidance)
    before, after = (divergence(folder, tmp_path / n) for n in ("plain", "distilled"))
    assert after < 0.9 * before
    assert "model.embed_tokens" not in guidance.affine


def test_what_does_not_help_is_not_kept(crowded):
    directory = Directory.open(crowded())
    plan = make_plan(directory, RECIPE)
    wild = replace(QUICK, rate=100.0, passes=1)
    assert distil(directory, plan, NO_GUIDANCE, tokens=text(1), settings=wild).affine == {}


def test_need_covers_the_packed_model_and_the_logits(crowded):
    directory = Directory.open(crowded())
    plan = make_plan(directory, RECIPE)
    config = ModelConfig.parse(directory.config)
    few, many = (distil_need(plan, config, replace(QUICK, batch_tokens=n)) for n in (64, 128))
    assert few > plan.tensor_bytes + 64 * config.vocab_size * 4
    assert many - few >= 64 * config.vocab_size * 4
