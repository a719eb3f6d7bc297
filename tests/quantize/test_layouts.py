"""Every layout as a source: the bytes are those of quantising the weights that it stands for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.layouts import read_layout
from mlxqwen.checkpoint.load import load_model
from mlxqwen.checkpoint.numbers import part_rows
from mlxqwen.checkpoint.origins import rows_of
from mlxqwen.checkpoint.reading import read_rows
from mlxqwen.checkpoint.stored import FileReader
from mlxqwen.errors import UnsupportedModel
from mlxqwen.model.config import ModelConfig
from quantize import Progress, choose_recipe, pipeline, quantise

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from cases import CASES, CASES_NEXT
from checkpoints import build, file_name, write, write_folder
from formats import store

if TYPE_CHECKING:
    from checkpoints import Case

pytestmark = [pytest.mark.filterwarnings("default")]

BY_NAME = {case.name: case for case in CASES + CASES_NEXT}
UNPACKED = [case for case in BY_NAME.values() if case.layout != "mlx_affine" and case.long < 80]
RECIPE = choose_recipe(None, "fast", bits=5)


def content(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    infos = Directory.open(folder).tensors
    return {n: (i.dtype, i.shape, bytes(read_rows(i, 0, i.rows))) for n, i in infos.items()}


def write_meaning(case: Case, folder: Path) -> None:
    """The float32 weights that a case's files stand for, in the original layout.

    A_log stays in the dtype of the case's files: it is what decides the output's.
    """
    built = build(case)
    stored = {}
    for name, weight in built.exact.items():
        own = file_name(case.config, name)
        dtype = built.stored[own].dtype if name.endswith("A_log") else "F32"
        stored[own], _ = store(weight, dtype)
    write_folder(folder, dict(case.config), stored)


def logits(folder: Path) -> mx.array:
    model, _ = load_model(folder)
    return model(mx.array([[5, 17, 99, 3, 42, 8, 120]]))


@pytest.mark.parametrize("case", UNPACKED, ids=lambda case: case.name)
@pytest.mark.parametrize("chunk", [pipeline.CHUNK_BYTES, 40_000])
def test_same_bytes_as_from_the_exact_weights(
    case: Case, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", chunk)
    write(case, tmp_path / "source")
    write_meaning(case, tmp_path / "exact")
    result = quantise(tmp_path / "source", tmp_path / "ours", recipe=RECIPE)
    quantise(tmp_path / "exact", tmp_path / "theirs", recipe=RECIPE)
    assert content(tmp_path / "ours") == content(tmp_path / "theirs")
    assert mx.array_equal(logits(tmp_path / "ours"), logits(tmp_path / "theirs"))
    parts = {name.split(".")[0] for name in case.foreign}
    assert len([n for n in result.notices if n.startswith("Left out")]) >= len(parts & {"mtp"})


# Mathematics that mlx-lm 0.32 gets wrong or has not: biases of q, k, v and o in Qwen3, YaRN of
# MoE models, and an attention factor of its own.
FOREIGN_TO_MLX_LM = {"dense_attention_bias", "dense_yarn_old_key", "moe_yarn"}
SHARED = [case for case in UNPACKED if case.name not in FOREIGN_TO_MLX_LM]


CHOICES: dict[str, dict[str, Any]] = {
    "fast": {"name": "fast", "bits": 5},
    "balanced": {"name": "balanced"},
    "mxfp4": {"mode": "mxfp4"},
    "mxfp8": {"mode": "mxfp8"},
    "nvfp4": {"mode": "nvfp4"},
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_mlx_lm_loads_the_output_and_computes_the_same(
    case: Case, choice: str, tmp_path: Path
) -> None:
    from mlx_lm.utils import load_model as load_theirs

    write(case, tmp_path / "source")
    recipe = choose_recipe(ModelConfig.parse(case.config), **CHOICES[choice])
    quantise(tmp_path / "source", tmp_path / "ours", recipe=recipe)
    theirs, _ = load_theirs(tmp_path / "ours", strict=True)
    floats = mx.floating
    theirs.apply(lambda x: x.astype(mx.float32) if mx.issubdtype(x.dtype, floats) else x)
    expected = theirs(mx.array([[5, 17, 99, 3, 42, 8, 120]]))
    found = logits(tmp_path / "ours")
    assert mx.linalg.norm(found - expected) < 1e-5 * mx.linalg.norm(expected)


@pytest.mark.parametrize("name", ["gptq_dense", "gptq_moe", "gptq_qwen2", "awq_dense", "awq_moe"])
def test_numbers_that_fit_the_recipe_are_not_rounded_again(name: str, tmp_path: Path) -> None:
    write(BY_NAME[name], tmp_path / "source")
    recipe = choose_recipe(None, "fast", bits=4, group_size=32)
    result = quantise(tmp_path / "source", tmp_path / "ours", recipe=recipe)
    assert not result.notices
    ours, source = (
        read_layout(d, ModelConfig.parse(d.config)).origins
        for d in (Directory.open(tmp_path / folder) for folder in ("ours", "source"))
    )
    reader = FileReader()
    for module, origin in ((o.module, o) for o in source.values() if o.spec is not None):
        row = 0
        for part in origin.parts:
            rows = rows_of(part)
            exact = part_rows(part, reader, 0, rows)
            found = part_rows(ours[f"{module}.weight"].parts[0], reader, row, row + rows)
            # The configuration declares bfloat16: scales and offsets are rounded to 8 bits, far
            # less than the steps of about a tenth that rounding the weights again would cost.
            assert mx.abs(found - exact).max() <= 2**-7 * mx.abs(exact).max()
            row += rows


def test_rounding_a_second_time_is_told(tmp_path: Path) -> None:
    write(BY_NAME["gptq_dense"], tmp_path / "source")
    reports: list[Progress] = []
    result = quantise(
        tmp_path / "source", tmp_path / "ours", recipe=RECIPE, progress=reports.append
    )
    assert "GPTQ" in result.notices[0]
    assert reports[0].notices == result.notices


def test_an_mlx_source_is_requantised_only_to_fewer_bytes_or_on_demand(tmp_path: Path) -> None:
    write(BY_NAME["mlx_4bit_moe"], tmp_path / "four")
    with pytest.raises(UnsupportedModel, match="already quantised for MLX") as caught:
        quantise(tmp_path / "four", tmp_path / "refused")
    assert caught.value.hint
    assert not (tmp_path / "refused").exists()
    three = quantise(
        tmp_path / "four", tmp_path / "three", recipe=choose_recipe(None, "fast", bits=3)
    )
    assert any("MLX" in notice for notice in three.notices)
    before, after = logits(tmp_path / "four"), logits(tmp_path / "three")
    assert 1e-3 < mx.linalg.norm(after - before) / mx.linalg.norm(before) < 0.8
    source = content(tmp_path / "four")
    router = {name: value for name, value in source.items() if ".mlp.gate." in name}
    copied = content(tmp_path / "three")
    assert {name: copied[name] for name in router} == router


def test_a_larger_mlx_source_is_made_smaller_by_default(tmp_path: Path) -> None:
    write(BY_NAME["mlx_8bit_group32"], tmp_path / "eight")
    result = quantise(tmp_path / "eight", tmp_path / "four")
    assert result.nbytes < (tmp_path / "eight" / "model.safetensors").stat().st_size
    error = mx.linalg.norm(logits(tmp_path / "four") - logits(tmp_path / "eight"))
    assert error < 0.8 * mx.linalg.norm(logits(tmp_path / "eight"))
