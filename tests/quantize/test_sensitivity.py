import math
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.model.quantspec import QuantSpec
from quantize.divergence import compare
from quantize.guidance import NO_GUIDANCE, Guidance
from quantize.layerwise import Layerwise
from quantize.sensitivity import (
    PROBES,
    Curve,
    Sensitivity,
    groups_of,
    measure,
    sampled,
    unit_errors,
)
from quantize.units import Unit, units_of
from quantize.variants import Variant, divergences, rounded

Make = Callable[..., Path]
TOKENS = mx.random.randint(0, 512, (2, 24), key=mx.random.key(3))


def opened(folder: Path) -> tuple[Layerwise, tuple[Unit, ...]]:
    model = Layerwise.open(folder)
    return model, units_of(model.directory, model.layout)


def test_units_join_what_the_runtime_joins(make: Make) -> None:
    _, units = opened(make(moe=True))
    names = {unit.name: sorted(m.split(".")[-1] for m in unit.modules) for unit in units}
    assert names["0 attention"] == ["k_proj", "q_proj", "v_proj"]
    assert names["1 experts"] == ["gate_proj", "up_proj"]
    assert names["0 router"] == ["gate"]
    assert names["head"] == ["lm_head"]
    assert names["embedding"] == ["embed_tokens"]
    assert len(units) == len(names)


def test_candidates_divide_the_inputs(make: Make) -> None:
    _, units = opened(make(intermediate_size=96))
    for unit in units:
        widths = {m.origin.shape[-1] for m in unit.matrices}
        assert unit.candidates
        for spec in unit.candidates:
            assert spec is not None
            assert all(width % spec.group_size == 0 for width in widths)
    down = next(unit for unit in units if unit.kind == "feed-forward output")
    assert QuantSpec(8, 32) in down.candidates
    _, odd = opened(make("odd", hidden_size=80, tie_word_embeddings=True))
    assert next(u for u in odd if u.kind == "embedding").candidates == (None,)


def test_more_bits_and_finer_groups_err_less(make: Make) -> None:
    _, units = opened(make())
    specs = [QuantSpec(bits, 64) for bits in (2, 3, 4, 5, 6, 8)]
    for unit in units:
        errors = unit_errors(unit, specs, NO_GUIDANCE, "nearest")
        assert list(errors) == sorted(errors, reverse=True)
        assert errors[-1] > 0
        fine, coarse = unit_errors(
            unit, (QuantSpec(4, 32), QuantSpec(4, 64)), NO_GUIDANCE, "nearest"
        )
        assert fine < coarse


def test_errors_count_inputs_by_their_importance(make: Make) -> None:
    model, units = opened(make(moe=True))
    unit = next(u for u in units if u.name == "0 experts")
    experts, width = 4, model.config.hidden_size
    # Only the first group of inputs of the last expert is ever driven.
    driven = mx.zeros((experts, width))
    driven[3, :64] = 1.0
    guidance = Guidance("", dict.fromkeys(unit.modules, driven))
    spec = QuantSpec(3, 64)
    found = unit_errors(unit, (spec,), guidance, "nearest")[0]
    squared = power = 0.0
    arrays = model.tensors(0).arrays
    for module in unit.modules:
        rows = arrays[f"{module}.weight"][3, :, :64].astype(mx.float32)
        packed = mx.quantize(rows.astype(mx.bfloat16), group_size=64, bits=3)
        words, scales, biases = packed
        away = rows - mx.dequantize(
            words, scales.astype(mx.float32), biases.astype(mx.float32), group_size=64, bits=3
        )
        squared += away.square().sum().item()
        power += rows.square().sum().item()
    assert found == pytest.approx(squared / power, rel=1e-4)


def test_samples_of_a_large_matrix_are_spread_and_repeat(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.sensitivity._SAMPLE", 128 * 32)
    model, units = opened(make())
    matrix = next(u for u in units if u.kind == "embedding").matrices[0]
    rows, weights, share = sampled(matrix, NO_GUIDANCE)
    assert weights is None
    assert rows.shape == (32, 128)
    assert share == 512 / 32
    whole = model.embed(mx.arange(512))
    places = [int((whole == row).all(axis=-1).argmax().item()) for row in rows.astype(whole.dtype)]
    assert places == [start + i for start in range(0, 512, 64) for i in range(4)]
    again, _, _ = sampled(matrix, NO_GUIDANCE)
    assert mx.array_equal(rows, again)


def test_variants_in_one_pass_equal_models_loaded_alone(make: Make, tmp_path: Path) -> None:
    from mlxqwen.checkpoint.load import load_model

    folder = make()
    model, units = opened(folder)
    spec = QuantSpec(2, 64)
    touched = [
        next(u for u in units if u.name == name)
        for name in ("0 attention", "1 feed-forward output", "embedding", "head")
    ]

    def variant(unit: Unit) -> Variant:
        modules = unit.modules

        def swap(module, matrix):
            if module not in modules:
                return matrix
            return rounded(matrix, module, spec, "BF16", "nearest", NO_GUIDANCE)

        return Variant(modules, swap)

    nothing = Variant(frozenset(), lambda module, matrix: matrix)
    found = divergences(model, TOKENS, [nothing, *map(variant, touched)])
    assert found[0] == 0
    source, config = load_model(folder)
    logits = source(TOKENS).reshape(-1, config.vocab_size)
    for unit, kl in zip(touched, found[1:], strict=True):
        tensors = dict(mx.load(str(folder / "model.safetensors")))
        for module in unit.modules:
            words, scales, biases = mx.quantize(tensors[f"{module}.weight"], group_size=64, bits=2)
            tensors[f"{module}.weight"] = mx.dequantize(
                words, scales.astype(mx.float32), biases.astype(mx.float32), group_size=64, bits=2
            )
        other = tmp_path / unit.name
        other.mkdir()
        (other / "config.json").write_text((folder / "config.json").read_text())
        mx.save_safetensors(str(other / "model.safetensors"), tensors)
        changed = load_model(other)[0](TOKENS).reshape(-1, config.vocab_size)
        expected = compare(logits, changed, mx.zeros(48, mx.int32)).kl.mean().item()
        assert kl > 0
        assert kl == pytest.approx(expected, rel=1e-3)


def test_a_curve_passes_its_points_and_is_proportional_beyond() -> None:
    curve = Curve.through(iter([(0.1, 2.0), (0.001, 0.01), (0.0, 5.0)]))
    assert curve(0.1) == pytest.approx(2.0)
    assert curve(0.001) == pytest.approx(0.01)
    assert curve(0.01) == pytest.approx(math.sqrt(2.0 * 0.01))
    assert curve(0.0001) == pytest.approx(0.001)
    assert curve(0.2) == pytest.approx(4.0)
    assert curve(0) == 0
    assert Curve.through(iter([]))(0.25) == pytest.approx(0.25)
    noisy = Curve.through(iter([(0.1, 0.5), (0.01, 0.6)]))
    assert noisy(0.01) == pytest.approx(noisy(0.05)) == pytest.approx(noisy(0.1))


def test_groups_are_runs_of_one_kind_within_the_limit(make: Make) -> None:
    _, units = opened(make(num_hidden_layers=9))
    for limit in (7, 14, 100):
        groups = groups_of(units, limit)
        assert len(groups) <= limit
        assert sorted(m for g in groups for m in g.members) == list(range(len(units)))
        assert len({g.name for g in groups}) == len(groups)
        for group in groups:
            assert len({units[m].kind for m in group.members}) == 1
            layers = [units[m].layer for m in group.members]
            assert layers == list(range(layers[0], layers[0] + len(layers)))
    assert len(groups_of(units, 100)) == len(units)


@pytest.mark.parametrize("moe", [False, True])
def test_measured_losses_fall_with_bits_and_repeat(make: Make, moe: bool) -> None:
    model, units = opened(make(moe=moe))
    done: list[tuple[int, int]] = []
    found = measure(
        model, units, TOKENS, NO_GUIDANCE, report=lambda done_, total: done.append((done_, total))
    )
    assert done[-1][0] == done[-1][1]
    assert [d for d, _ in done] == sorted(d for d, _ in done)
    again = measure(model, units, TOKENS, NO_GUIDANCE)
    assert again == found
    assert Sensitivity.from_json(found.to_json()) == found
    for unit, losses in zip(units, found.losses(units), strict=True):
        by_bits = {
            s.bits: x
            for s, x in zip(unit.candidates, losses, strict=True)
            if s and s.group_size == 64
        }
        ordered = [by_bits[bits] for bits in sorted(by_bits)]
        assert ordered == sorted(ordered, reverse=True)
    # Where a unit is alone in its group and rounded like its probe, the prediction is the probe.
    group = groups_of(units)[0]
    assert len(group.members) == 1
    curve = Curve.through(zip(found.probed[group.members[0]], found.kl[group.name], strict=True))
    assert curve(found.probed[group.members[0]][1]) == pytest.approx(found.kl[group.name][1])
    assert len(PROBES) == len(found.kl[group.name])
