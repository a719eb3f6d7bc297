"""Contexts beyond a model's own: YaRN when asked for, with the smallest factor that reaches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxqwen import Engine, Sampling, plan
from mlxqwen.engine.stretch import longest_context, native_context, stretched
from mlxqwen.errors import ContextExceeded
from mlxqwen.model.config import ModelConfig

GREEDY = Sampling(temperature=0.0)
TEXT = "The quick brown fox jumps over the lazy dog, and nobody knows why it does."
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "head_dim": 16,
    "tie_word_embeddings": True,
}


def config(positions: int, model_type: str = "qwen3", **more: Any) -> ModelConfig:
    return ModelConfig.parse(
        {"model_type": model_type, "max_position_embeddings": positions, **SHAPE, **more}
    )


@pytest.mark.parametrize(
    ("positions", "model_type", "context", "factor", "original"),
    [
        (40_960, "qwen3", 40_960, None, None),
        (40_960, "qwen3", 40_961, 2.0, 32_768),
        (40_960, "qwen3", 65_536, 2.0, 32_768),
        (40_960, "qwen3", 65_537, 4.0, 32_768),
        (40_960, "qwen3", 131_072, 4.0, 32_768),
        (262_144, "qwen3", 131_072, None, None),
        (262_144, "qwen3", 262_144, None, None),
        (262_144, "qwen3", 300_000, 2.0, 262_144),
        (262_144, "qwen3", 1_000_000, 4.0, 262_144),
        (131_072, "qwen2", 131_072, None, None),  # QwQ
        (131_072, "qwen2", 200_000, 2.0, 131_072),
    ],
)
def test_the_smallest_factor_that_reaches(
    positions: int, model_type: str, context: int, factor: float | None, original: int | None
) -> None:
    declared = config(positions, model_type)
    chosen, notices = stretched(declared, context, "it")
    if factor is None:
        assert chosen is declared
        assert notices == ()
        return
    yarn = chosen.rope.yarn
    assert yarn is not None
    assert (yarn.factor, yarn.original_max_position_embeddings) == (factor, original)
    (notice,) = notices
    assert f"YaRN is on with factor {factor:g}" in notice
    assert f"{original:,}" in notice


@pytest.mark.parametrize(("positions", "limit"), [(40_960, 131_072), (262_144, 1_048_576)])
def test_beyond_four_times_is_refused_with_the_limit(positions: int, limit: int) -> None:
    assert longest_context(config(positions)) == limit
    with pytest.raises(ContextExceeded, match=f"{limit:,} tokens") as caught:
        stretched(config(positions), limit + 1, "it")
    assert f"{limit + 1:,}" in caught.value.what


def test_the_same_yarn_as_a_configuration_that_asks_for_it() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
    asking = config(40_960, rope_scaling=scaling)
    assert stretched(config(40_960), 131_072, "it")[0] == asking


def test_a_configuration_that_asks_is_followed_at_all_lengths() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
    asking = config(40_960, rope_scaling=scaling)
    assert native_context(asking) == longest_context(asking) == 131_072
    for context in (1, 40_000, 131_072):
        assert stretched(asking, context, "it") == (asking, ())
    with pytest.raises(ContextExceeded, match="131,072"):
        stretched(asking, 131_073, "it")


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny model (1,024 positions) with other keys in its config.json."""

    def change(**keys: Any) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(tiny, folder)
        declared = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(declared | keys))
        return folder

    return change


def answer(folder: Path, context: int | None, *, stretch: bool) -> str:
    with Engine.load(folder, context=context) as engine:
        assert bool(engine.notices) is stretch
        return engine.complete(TEXT, sampling=GREEDY, max_tokens=40).result().text


def test_an_engine_says_what_it_turned_on(tiny: Path, changed: Callable[..., Path]) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    asked = answer(tiny, 3000, stretch=True)
    assert asked == answer(changed(rope_scaling=scaling), None, stretch=False)
    assert asked != answer(tiny, None, stretch=False)
    with Engine.load(tiny, context=3000) as engine:
        assert engine.context == 3000
        assert engine.config.rope.yarn is not None
        assert "factor 4" in engine.notices[0]
        assert engine.complete("a" * 2000, max_tokens=1).result().usage.prompt_tokens == 2000
    with pytest.raises(ContextExceeded, match="4,096"):
        Engine.load(tiny, context=5000)


def test_plans_count_the_stretched_context(tiny: Path, changed: Callable[..., Path]) -> None:
    short, long = plan(tiny, context=1024), plan(tiny, context=4096)
    assert long.cache == 4 * short.cache
    assert not short.notices
    assert "YaRN" in str(long)
    with pytest.raises(ContextExceeded):
        plan(tiny, context=4097)
    scaling = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1024}
    assert plan(changed(rope_scaling=scaling)).context == 2048
