import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.errors import DoesNotFit, UsageError
from mlxqwen.model.capacity import cache_bytes
from mlxqwen.model.config import ModelConfig
from quantize.fit import Fit, fit
from quantize.guidance import Guidance
from quantize.plan import make_plan
from quantize.progress import Progress
from quantize.scores import Scores
from quantize.sizes import at_least, parse_size, parse_tokens

Make = Callable[..., Path]
TOKENS = mx.random.randint(0, 512, (4, 16), key=mx.random.key(3))


HYBRID = {
    "moe": True,
    "stacked": True,
    "model_type": "qwen3_next",
    "architectures": ["Qwen3NextForCausalLM"],
    "num_hidden_layers": 2,
    "full_attention_interval": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 64,
    "partial_rotary_factor": 0.5,
}
MODELS = [{"num_hidden_layers": 3}, {"num_hidden_layers": 3, "moe": True}, HYBRID]


@pytest.mark.parametrize("model", MODELS, ids=["dense", "moe", "hybrid"])
def test_never_exceeds_any_budget(make: Make, tmp_path: Path, model: dict[str, object]) -> None:
    directory = Directory.open(make(**model))
    config = ModelConfig.parse(directory.config)
    scores = Scores(tmp_path / "scores")
    most = fit(directory, 1 << 40).weights

    @settings(max_examples=6, deadline=None, database=None)
    @given(st.floats(0.05, 1.5), st.integers(1, 600), st.floats(0, 0.5))
    def check(share: float, context: int, reserve: float) -> None:
        budget = int(share * most)
        try:
            found = fit(
                directory,
                budget,
                context=context,
                reserve=reserve,
                tokens=TOKENS,
                guidance=Guidance("none"),
                scores=scores,
            )
        except DoesNotFit as error:
            needed = parse_size(re.search(r"--fit (\S+?)[,.]?( |$|,)", error.hint)[1])
            assert needed > budget
            roomier = fit(
                directory,
                needed,
                context=context,
                reserve=reserve,
                tokens=TOKENS,
                guidance=Guidance("none"),
                scores=scores,
            )
            assert roomier.total <= needed
            return
        plan = make_plan(directory, found.recipe)
        assert found.weights == plan.tensor_bytes
        assert found.cache == cache_bytes(config, context, 2)
        assert found.reserve >= reserve * budget
        assert found.total == found.weights + found.cache + found.reserve <= budget

    check()


def small_fit(folder: Path, scores: Scores, share: float, **options: object) -> Fit:
    """A budget for that share of the weights at 8 bits, and a short context."""
    directory = Directory.open(folder)
    most = fit(directory, 1 << 40, context=16)
    budget = int(share * most.weights) + most.cache
    given = {"context": 16, "reserve": 0.0, "tokens": TOKENS, "guidance": Guidance("none")}
    return fit(directory, budget, scores=scores, **(given | options))


def test_takes_8_bits_everywhere_without_measuring_where_that_fits(make: Make) -> None:
    found = fit(Directory.open(make()), 10_000_000)
    assert found.chosen == "finest"
    assert {s.bits for s in found.recipe.modules.values() if s} == {8}
    assert found.kl == {}
    assert not found.recipe.calibrated


def test_the_same_choice_again_and_from_what_was_kept(make: Make, tmp_path: Path) -> None:
    folder = make(num_hidden_layers=3)
    scores = Scores(tmp_path / "scores")
    stages: list[Progress] = []
    first = small_fit(folder, scores, 0.6, progress=stages.append)
    assert {p.stage for p in stages} == {"fit"}
    assert "measuring" in {p.message for p in stages}
    stages.clear()
    known = small_fit(folder, scores, 0.6, progress=stages.append)
    assert "measuring" not in {p.message for p in stages}
    anew = small_fit(folder, Scores(tmp_path / "other"), 0.6)
    assert first == known == anew
    assert first.recipe.digest() == anew.recipe.digest()


def test_keeps_the_better_of_measured_and_balanced(make: Make, tmp_path: Path) -> None:
    found = small_fit(make(num_hidden_layers=3), Scores(tmp_path), 0.62)
    assert set(found.kl) == {"measured", "balanced", "balanced, calibrated"}
    assert found.kl[found.chosen] == min(found.kl.values())
    assert found.recipe.name == "fit"


def test_matrices_that_the_runtime_joins_get_one_spec(make: Make, tmp_path: Path) -> None:
    found = small_fit(make(moe=True, num_hidden_layers=3), Scores(tmp_path), 0.5)
    chosen = found.recipe.modules
    for layer in range(3):
        path = f"model.layers.{layer}"
        assert len({chosen[f"{path}.self_attn.{n}_proj"] for n in "qkv"}) == 1
        assert len({chosen[f"{path}.mlp.switch_mlp.{n}_proj"] for n in ("gate", "up")}) == 1


def test_what_would_fit_is_said(make: Make) -> None:
    directory = Directory.open(make())
    with pytest.raises(DoesNotFit) as caught:
        fit(directory, 1_000_000, context=1 << 20, reserve=0.0)
    longest = int(re.search(r"--context (\d+)", caught.value.hint)[1])
    needed = parse_size(re.search(r"--fit (\w+(?:\.\w+)?)", caught.value.hint)[1])
    args = {"tokens": TOKENS, "guidance": Guidance("none"), "reserve": 0.0}
    assert fit(directory, needed, context=1 << 20, **args).total <= needed
    assert fit(directory, 1_000_000, context=longest, **args).total <= 1_000_000
    with pytest.raises(DoesNotFit):
        fit(directory, 1_000_000, context=longest + 1, **args)
    with pytest.raises(DoesNotFit) as caught:
        fit(directory, 20_000, context=1, reserve=0.15)
    assert "--context" not in caught.value.hint


def test_the_choice_is_told_by_kind(make: Make, tmp_path: Path) -> None:
    found = small_fit(make(moe=True, num_hidden_layers=3), Scores(tmp_path), 0.6)
    rows = {kind: (words, bits, nbytes) for kind, words, bits, nbytes in found.table()}
    assert list(rows) == [
        "embedding",
        "attention",
        "attention output",
        "router",
        "experts",
        "experts output",
        "head",
    ]
    plan = make_plan(Directory.open(tmp_path / "source"), found.recipe)
    norms = sum(r.nbytes for r in plan.table() if len(r.shape) == 1)
    assert sum(nbytes for _, _, nbytes in rows.values()) + norms == found.weights
    assert all("-bit" in words and 2 < bits < 9 for words, bits, _ in rows.values())
    assert "of cache" not in str(found)
    assert "reserve" in str(found)


@pytest.mark.parametrize(("context", "reserve"), [(0, 0.1), (10, 1.0), (10, -0.1)])
def test_nonsense_is_refused(make: Make, context: int, reserve: float) -> None:
    with pytest.raises(UsageError):
        fit(Directory.open(make()), 10**6, context=context, reserve=reserve)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GB", 16 * 10**9),
        ("16 GB", 16 * 10**9),
        (" 16gb ", 16 * 10**9),
        ("16G", 16 * 10**9),
        ("1.5GiB", 3 << 29),
        ("900MB", 900 * 10**6),
        ("0.1GB", 10**8),
        ("512KiB", 512 << 10),
        ("1TB", 10**12),
        ("1234567", 1234567),
        ("12 B", 12),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "16XB", "1e9", "16GB!", "1,5GB", "0", "0.1", "nan", "٣GB", "16 G B"]
)
def test_nonsense_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_tokens_are_read() -> None:
    assert parse_tokens("32k") == 32768
    assert parse_tokens("1M") == 1 << 20
    assert parse_tokens(" 4096 ") == 4096
    for text in ("", "0", "k", "32kb", "-1", "32GB"):
        with pytest.raises(UsageError):
            parse_tokens(text)


@given(st.integers(1, 10**15))
def test_a_size_rounded_up_is_enough_and_near(size: int) -> None:
    written = parse_size(at_least(size))
    assert size <= written <= size * 1.0101
