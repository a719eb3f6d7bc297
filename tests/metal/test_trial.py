"""The trial: what agrees and is faster is used; all else steps aside with a line in the log."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from test_fused_step import BASE, DELTA, MOE, _Quantised

from mlxqwen.model import trial
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.decoder import Model
from mlxqwen.model.kernels.make import built_by
from mlxqwen.model.trial import fused_model
from mlxqwen.model.verdicts import verdicts


@pytest.fixture(scope="module")
def model() -> Model:
    config = {**BASE, "model_type": "qwen3_next", **MOE, **DELTA}
    return Model.build(ModelConfig.parse(config), _Quantised())


@pytest.fixture
def fused_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is slow; here the second of two measurements always wins."""
    times = iter(range(1000, 0, -1))
    monkeypatch.setattr(trial, "_microseconds", lambda call: float(next(times)))


@pytest.mark.usefixtures("kernels", "fused_is_faster")
def test_parts_that_agree_and_are_faster_are_used_and_remembered(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "kernels.json"
    fused = fused_model(model, record)
    assert fused is not None
    assert {type(layer.mixer).__name__ for layer in fused.layers} == {
        "FusedAttention",
        "FusedDelta",
    }
    found = verdicts(record)
    assert {v.part for v in found.values()} == {"add_norm", "attention", "delta", "experts"}
    assert all(v.used and v.error is not None and v.error < 1e-5 for v in found.values())
    monkeypatch.setattr(trial, "_try", lambda *_: pytest.fail("tried again"))
    assert fused_model(model, record) is not None


@pytest.mark.usefixtures("kernels")
def test_what_is_slower_is_not_used(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(1, 1000))
    monkeypatch.setattr(trial, "_microseconds", lambda call: float(next(times)))
    assert fused_model(model, tmp_path / "kernels.json") is None
    assert "faster" in next(iter(verdicts(tmp_path / "kernels.json").values())).why


@pytest.mark.usefixtures("fused_is_faster")
def test_a_kernel_that_fails_or_differs_steps_aside(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong:
        """Kernels that give zeros, and one that does not compile."""

        def __call__(self, *, name: str, **_: Any) -> Any:
            if name == "add_rms_norm":
                raise RuntimeError("error: unknown type name 'bfloat'")

            def kernel(*, output_shapes: Any, output_dtypes: Any, **_: Any) -> list[mx.array]:
                pairs = zip(output_shapes, output_dtypes, strict=True)
                return [mx.zeros(shape, dtype) for shape, dtype in pairs]

            return kernel

    with caplog.at_level(logging.WARNING, "mlxqwen.kernels"), built_by(Wrong()):
        assert fused_model(model, tmp_path / "kernels.json") is None
    assert "unknown type name" in caplog.text
    assert "differs from the plain operations" in caplog.text


def test_without_metal_nothing_is_tried(model: Model, tmp_path: Path) -> None:
    if not mx.metal.is_available():
        assert fused_model(model, tmp_path / "kernels.json") is None
        assert not (tmp_path / "kernels.json").exists()


@pytest.mark.usefixtures("kernels", "fused_is_faster")
@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"a": {"unknown": 1}})])
def test_a_damaged_record_is_replaced(model: Model, tmp_path: Path, content: str) -> None:
    record = tmp_path / "kernels.json"
    record.write_text(content)
    assert fused_model(model, record) is not None
    assert len(verdicts(record)) == 4
