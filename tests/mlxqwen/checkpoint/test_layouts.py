"""Headers to origins: every layout recognised, every contradiction and gap refused by name."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.layouts import Layout, read_layout
from mlxqwen.checkpoint.origins import Awq, BlockFp8, Gptq, Plain, Transposed
from mlxqwen.checkpoint.safetensors import DTYPE_BYTES, TensorInfo
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.config import ModelConfig
from mlxqwen.model.quantspec import QuantSpec

DENSE: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "head_dim": 32,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
MOE = {
    **DENSE,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 48,
    "num_experts": 12,
    "num_experts_per_tok": 2,
}
NEXT = {
    **MOE,
    "model_type": "qwen3_next",
    "layer_types": ["linear_attention"],
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 8,
    "shared_expert_intermediate_size": 32,
}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}

MLP = "model.layers.0.mlp"
DOWN = f"{MLP}.down_proj"
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def plain(config: dict[str, Any], *, stacked: bool = False) -> Shapes:
    """Name → (dtype, shape) of the unquantised checkpoint, experts one by one."""
    found: Shapes = {}
    for name, shape in expected_tensors(ModelConfig.parse(config)):
        if ".switch_mlp." in name and not stacked:
            for expert in range(shape[0]):
                found[name.replace("switch_mlp", f"experts.{expert}")] = ("BF16", shape[1:])
        elif name.endswith("conv1d.weight") and not stacked:
            found[name] = ("BF16", (shape[0], 1, shape[1]))
        else:
            found[name] = ("BF16", shape)
    return found


def layout(config: dict[str, Any], shapes: Shapes, *formats: str) -> Layout:
    infos = {
        name: TensorInfo(name, dtype, shape, Path("x"), 0, prod(shape) * DTYPE_BYTES[dtype])
        for name, (dtype, shape) in shapes.items()
    }
    directory = Directory(Path("model"), config, {}, infos, (), frozenset(formats or ("pt",)))
    return read_layout(directory, ModelConfig.parse(config))


def joined(gate_up: tuple[int, ...], down: tuple[int, ...], **change: Any) -> Layout:
    """A checkpoint of joined experts with these shapes, and ``change`` to its configuration."""
    config = {**MOE, **change}
    shapes = {n: s for n, s in plain(config).items() if ".experts." not in n}
    shapes[f"{MLP}.experts.gate_up_proj"] = ("BF16", gate_up)
    shapes[f"{MLP}.experts.down_proj"] = ("BF16", down)
    return layout(config, shapes)


def test_experts_are_gathered_in_numerical_order() -> None:
    origin = layout(MOE, dict(reversed(plain(MOE).items()))).origins[
        f"{MLP}.switch_mlp.gate_proj.weight"
    ]
    assert [int(p.views[0].info.name.split(".")[5]) for p in origin.parts] == list(range(12))
    assert origin.shape == (12, 48, 64)
    assert origin.nbytes == 12 * 48 * 64 * 2


def test_a_tied_head_and_computed_buffers_are_dropped() -> None:
    shapes = plain(DENSE) | {
        "lm_head.weight": ("BF16", (32, 64)),
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", (16,)),
    }
    assert set(layout(DENSE, shapes).origins) == set(plain(DENSE))
    untied = {**DENSE, "tie_word_embeddings": False}
    assert "lm_head.weight" in layout(untied, plain(untied)).origins


def test_a_missing_expert_is_named() -> None:
    shapes = plain(MOE)
    del shapes[f"{MLP}.experts.7.up_proj.weight"]
    with pytest.raises(CheckpointError, match=r"lacks 1 .*experts\.7\.up_proj\.weight"):
        layout(MOE, shapes)


@pytest.mark.parametrize(
    "foreign",
    [
        "transformer.h.0.attn.weight",
        "model.visual.patch_embed.weight",
        "mtp.layers.0.self_attn.q_proj.weight",
        f"{MLP}.experts.12.up_proj.weight",
        f"{MLP}.experts.3.up_proj.weight_scale_inv",
        "model.layers.0.self_attn.q_proj.input_scale",
    ],
)
def test_the_unknown_is_refused_by_name(foreign: str) -> None:
    with pytest.raises(UnsupportedModel, match=foreign.replace(".", r"\.")):
        layout(MOE, plain(MOE) | {foreign: ("BF16", (4, 4))})


@pytest.mark.parametrize(
    ("method", "part"),
    [(FP8, "weight"), (GPTQ, "qweight"), (AWQ, "qweight"), ({}, "weight")],
)
def test_experts_that_differ_in_kind_are_refused(method: dict[str, Any], part: str) -> None:
    shapes = plain(MOE)
    name = f"{MLP}.experts.3.up_proj"
    del shapes[f"{name}.weight"]
    words = {"qweight": (8, 48) if method is GPTQ else (64, 6), "weight": (48, 64)}[part]
    dtype = {"qweight": "I32", "weight": "F8_E4M3"}[part]
    shapes |= {
        f"{name}.{part}": (dtype, words),
        f"{name}.weight_scale_inv": ("F32", (1, 1)),
    }
    if part == "qweight":
        del shapes[f"{name}.weight_scale_inv"]
        shapes |= {f"{name}.qzeros": ("I32", (2, 6)), f"{name}.scales": ("F16", (2, 48))}
    with pytest.raises(UnsupportedModel, match="several ways" if method else "F8_E4M3"):
        layout({**MOE, "quantization_config": method or None}, shapes)


def test_orientation_of_joined_experts_is_read_off_their_shapes() -> None:
    up = f"{MLP}.switch_mlp.up_proj.weight"
    part = joined((12, 96, 64), (12, 64, 48)).origins[up].parts[5]
    assert isinstance(part, Plain)
    assert part.view.region.start == (5 * 96 + 48) * 64 * 2
    assert part.shape == (48, 64)
    turned = joined((12, 64, 96), (12, 48, 64)).origins[up].parts[5]
    assert isinstance(turned, Transposed)
    assert (turned.start, turned.stop, turned.shape) == (48, 96, (48, 64))


@pytest.mark.parametrize(
    ("inner", "gate_up", "down", "turned"),
    [
        (32, (12, 64, 64), (12, 64, 32), False),
        (32, (12, 64, 64), (12, 32, 64), True),
        (64, (12, 128, 64), (12, 64, 64), False),
        (64, (12, 64, 128), (12, 64, 64), True),
    ],
)
def test_the_other_of_the_pair_tells_how_a_square_lies(
    inner: int, gate_up: tuple[int, ...], down: tuple[int, ...], turned: bool
) -> None:
    found = joined(gate_up, down, moe_intermediate_size=inner).origins
    for projection in ("gate_proj", "up_proj", "down_proj"):
        kinds = {type(p) for p in found[f"{MLP}.switch_mlp.{projection}.weight"].parts}
        assert kinds == {Transposed if turned else Plain}


def test_joined_experts_at_odds_or_of_other_shape_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"gate_up_proj is at odds"):
        joined((12, 96, 64), (12, 48, 64))
    with pytest.raises(CheckpointError, match=r"gate_up_proj has shape \[12, 48, 64\]"):
        joined((12, 48, 64), (12, 64, 48))


def quantised(config: dict[str, Any], parts: Shapes) -> Layout:
    shapes = plain(config)
    del shapes[f"{DOWN}.weight"]
    return layout(config, shapes | {f"{DOWN}.{part}": value for part, value in parts.items()})


def test_block_fp8_with_partial_edges() -> None:
    config = {**DENSE, "quantization_config": FP8}
    parts: Shapes = {"weight": ("F8_E4M3", (64, 160)), "weight_scale_inv": ("BF16", (1, 2))}
    (part,) = quantised(config, parts).origins[f"{DOWN}.weight"].parts
    assert isinstance(part, BlockFp8)
    with pytest.raises(CheckpointError, match=r"has no .*down_proj\.weight_scale_inv"):
        quantised(config, {"weight": parts["weight"]})
    with pytest.raises(CheckpointError, match=r"shape \[1, 1\], .*\[1, 2\]"):
        quantised(config, {**parts, "weight_scale_inv": ("BF16", (1, 1))})


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_and_awq_stay_packed_where_mlx_has_the_group(bits: int) -> None:
    config = {**DENSE, "quantization_config": {**GPTQ, "bits": bits}}
    parts: Shapes = {
        "qweight": ("I32", (160 * bits // 32, 64)),
        "qzeros": ("I32", (5, 64 * bits // 32)),
        "scales": ("F16", (5, 64)),
    }
    origin = quantised(config, parts).origins[f"{DOWN}.weight"]
    assert isinstance(origin.parts[0], Gptq)
    assert origin.spec == QuantSpec(bits, 32)
    assert origin.memory_bytes(2) == 64 * 160 * bits // 8 + 64 * 5 * 4
    with pytest.raises(CheckpointError, match=r"3 groups of scales for 160 inputs"):
        quantised(config, {**parts, "scales": ("F16", (3, 64)), "qzeros": ("I32", (3, 2 * bits))})
    if bits == 4:
        awq: Shapes = {**parts, "qweight": ("I32", (160, 8))}
        origin = quantised({**DENSE, "quantization_config": AWQ}, awq).origins[f"{DOWN}.weight"]
        assert isinstance(origin.parts[0], Awq)
        assert origin.spec == QuantSpec(4, 32)
        whole: Shapes = {**awq, "qzeros": ("I32", (1, 8)), "scales": ("F16", (1, 64))}
        config = {**DENSE, "quantization_config": {**AWQ, "group_size": -1}}
        assert quantised(config, whole).origins[f"{DOWN}.weight"].spec is None
    with pytest.raises(CheckpointError, match=r"does not say that its weights are GPTQ or AWQ"):
        quantised(DENSE, parts)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        *(
            ({"quant_method": name}, name)
            for name in ("compressed-tensors", "bitsandbytes", "hqq", "aqlm", "auto-round")
        ),
        ({**FP8, "weight_block_size": None}, "weight_block_size"),
        ({**FP8, "activation_scheme": "static"}, "activation_scheme"),
        ({**FP8, "fmt": "e5m2"}, "fmt"),
        ({**GPTQ, "bits": 3}, "bits"),
        ({**GPTQ, "checkpoint_format": "marlin"}, "checkpoint_format"),
        ({**AWQ, "version": "gemv"}, "version"),
        ({**AWQ, "bits": 8}, "bits"),
    ],
)
def test_other_methods_are_refused_by_name(block: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedModel, match=told) as caught:
        layout({**DENSE, "quantization_config": block}, plain(DENSE))
    assert caught.value.hint


def converted(config: dict[str, Any]) -> Shapes:
    return plain(config, stacked=True)


def test_norms_are_centred_on_zero_in_an_original_and_not_in_a_conversion() -> None:
    raw, done = layout(NEXT, plain(NEXT)).origins, layout(NEXT, converted(NEXT)).origins
    centred = {name for name, origin in raw.items() if origin.plus_one}
    assert centred == {
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.norm.weight",
    }
    assert not [name for name, origin in done.items() if origin.plus_one]
    assert list(raw) == list(done)
    assert raw["model.layers.0.linear_attn.conv1d.weight"].shape == (64, 4, 1)


def test_contradicting_signs_of_a_conversion_are_refused() -> None:
    conv = "model.layers.0.linear_attn.conv1d.weight"
    mixed = converted(NEXT) | {conv: ("BF16", (64, 1, 4))}
    with pytest.raises(UnsupportedModel, match="centred on zero cannot be known"):
        layout(NEXT, mixed)
    with pytest.raises(UnsupportedModel, match="centred on zero cannot be known"):
        layout(NEXT, plain(NEXT), "mlx")


def test_without_any_sign_of_a_conversion_the_marker_decides() -> None:
    config = {
        **NEXT,
        "layer_types": ["full_attention"],
        "mlp_only_layers": [0],
    }
    norm = "model.norm.weight"
    assert layout(config, plain(config), "pt").origins[norm].plus_one
    assert not layout(config, plain(config), "mlx").origins[norm].plus_one
    with pytest.raises(UnsupportedModel, match="shows by nothing"):
        layout(config, plain(config), "other")


def test_prefixes_are_exact_and_what_is_left_out_is_told() -> None:
    omni = {
        "model_type": "qwen2_5_omni",
        "thinker_config": {"text_config": {**DENSE, "model_type": "qwen2_5_omni_text"}},
    }
    shapes = plain(omni)
    stored: Shapes = {f"thinker.{name}": value for name, value in shapes.items()}
    stored |= {
        "talker.model.layers.0.self_attn.q_proj.weight": ("BF16", (8, 8)),
        "talker.model.norm.weight": ("BF16", (8,)),
        "thinker.visual.blocks.0.attn.q.weight": ("BF16", (8, 8)),
    }
    found = layout(omni, stored)
    assert set(found.origins) == set(shapes)
    assert {part.part: (part.tensors, part.nbytes) for part in found.left_out} == {
        "talker": (2, 144),
        "vision tower": (1, 128),
    }
    with pytest.raises(CheckpointError, match=r"are both the text model's model\.norm\.weight"):
        layout(omni, stored | {"model.norm.weight": ("BF16", (64,))})
