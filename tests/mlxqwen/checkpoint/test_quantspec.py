from __future__ import annotations

import mlx.core as mx
import pytest

from mlxqwen.checkpoint.quantspec import (
    Quantization,
    QuantSpec,
    format_quantization,
    parse_quantization,
)
from mlxqwen.errors import UnsupportedModel
from mlxqwen.model.quantspec import COMBINATIONS, MODES

AFFINE = {"group_size": 64, "bits": 4, "mode": "affine"}


def test_default_overrides_and_false():
    block = {
        "group_size": 64,
        "bits": 4,
        "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8},
        "lm_head": False,
        "model.embed_tokens": True,
        "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    }
    parsed = parse_quantization({"quantization": block})
    assert parsed is not None
    assert parsed.default == QuantSpec(4, 64)
    assert parsed.of("model.layers.0.mlp.gate") == QuantSpec(8, 64)
    assert parsed.of("lm_head") is None
    assert parsed.of("model.embed_tokens") == QuantSpec(4, 64)
    assert parsed.of("model.layers.0.mlp.down_proj") == QuantSpec(4, 32, "mxfp4")
    assert parsed.of("anything.else") == QuantSpec(4, 64)


def test_quantization_wins_over_quantization_config():
    config = {"quantization": AFFINE, "quantization_config": {"quant_method": "fp8"}}
    assert parse_quantization(config) == Quantization(QuantSpec(4, 64), {})
    assert parse_quantization({"quantization_config": AFFINE}) == parse_quantization(config)
    assert parse_quantization({"quantization": None}) is None
    assert parse_quantization({}) is None


def test_format_writes_every_override_in_full_and_parses_back():
    value = Quantization(
        QuantSpec(4, 64), {"a.gate": QuantSpec(8, 64), "b": None, "c": QuantSpec(4, 16, "nvfp4")}
    )
    block = format_quantization(value)
    assert block == {
        **AFFINE,
        "a.gate": {"group_size": 64, "bits": 8, "mode": "affine"},
        "b": False,
        "c": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
    }
    assert parse_quantization({"quantization": block}) == value


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("x", "quantization is not an object"),
        ({**AFFINE, "mode": "q4_k"}, "quantization.mode is 'q4_k'"),
        ({**AFFINE, "mode": ["affine"]}, "quantization.mode"),
        ({**AFFINE, "group_size": None}, "quantization.group_size is None"),
        ({**AFFINE, "bits": "4"}, "quantization.bits is '4'"),
        ({**AFFINE, "bits": True}, "quantization.bits is True"),
        ({"bits": 4}, "quantization.group_size is missing"),
        ({**AFFINE, "bits": 7}, "affine with 7 bits"),
        ({**AFFINE, "mode": "mxfp4"}, "mxfp4 with 4 bits in groups of 64"),
        ({**AFFINE, "lm_head": {"bits": 8, "group_size": None}}, 'quantization["lm_head"].group'),
        ({**AFFINE, "lm_head": {**AFFINE, "global_scale": True}}, "global_scale"),
        ({**AFFINE, "lm_head": None}, 'quantization["lm_head"] is not a known setting'),
        ({**AFFINE, "linear_class": "x"}, 'quantization["linear_class"]'),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "quant_method is 'gptq'"),
    ],
)
def test_what_mlx_cannot_run_is_refused_by_key(block, told):
    with pytest.raises(UnsupportedModel) as caught:
        parse_quantization({"quantization": block})
    assert told in caught.value.what
    assert caught.value.hint


def test_combinations_are_those_of_mlx():
    weight = mx.zeros((8, 256))
    for mode in MODES:
        for bits in range(1, 9):
            for group in (8, 16, 32, 64, 128, 256):
                accepted = True
                try:
                    mx.eval(mx.quantize(weight, group_size=group, bits=bits, mode=mode))
                except ValueError:
                    accepted = False
                assert ((bits, group) in COMBINATIONS[mode]) is accepted, (mode, bits, group)


def test_spec_refuses_what_mlx_does_not_have():
    with pytest.raises(ValueError, match="no affine quantisation with 7 bits in groups of 64"):
        QuantSpec(7, 64)
    assert QuantSpec(4, 64).has_biases
    assert not QuantSpec(8, 32, "mxfp8").has_biases
