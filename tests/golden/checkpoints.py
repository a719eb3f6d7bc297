"""Writes the checkpoint folder of a case, and knows the exact float32 weights it stands for.

`build(case)` makes random weights (weights.py), rounds or packs them as the case says
(formats.py) and returns the stored tensors, the config and the reference weights.
`write(case, folder)` writes the folder as people have it on disk.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from formats import (
    Stored,
    awq,
    block_fp8,
    gptq,
    mlx_affine,
    store,
    widened,
    write_safetensors,
)
from weights import Config, Weights, make_weights, noise, text_config


@dataclass(frozen=True)
class Case:
    """One reference.

    layout: "hf", "packed" (Transformers 5), "packed_v4" (transposed), "mlx", "mlx_affine",
    "fp8", "gptq", "awq". dtype: of the unpacked tensors in the files. shards: number of files;
    tensors are spread over them by a hash of their names, so that experts of one layer lie apart.
    """

    name: str
    seed: int
    config: Config
    layout: str = "hf"
    dtype: str = "F32"
    shards: int = 1
    group_size: int = 64
    bits: int = 4
    router_bits: int = 8
    symmetric: bool = True
    act_order: bool = False
    stores_tied_head: bool = False
    foreign: dict[str, tuple[int, ...]] = field(default_factory=dict)
    long: int = 29
    short: int = 11


class Built(NamedTuple):
    config: Config
    stored: dict[str, Stored]
    exact: Weights  # per-expert names under `model.`, what the stored numbers mean in float32


EXPERT = re.compile(r"(.*\.mlp)\.experts\.(\d+)\.(\w+)\.weight$")
LINEAR = re.compile(r"_proj(_\w+)?\.weight$|embed_tokens\.weight$|lm_head\.weight$|gate\.weight$")
ZERO_CENTRED_NORM = re.compile(
    r"(input_layernorm|post_attention_layernorm|[qk]_norm|model\.norm)\.weight$"
)


def stack_experts(weights: Weights) -> tuple[Weights, dict[str, Weights]]:
    """-> the other tensors, and per MoE block `…mlp` its stacked gate, up and down."""
    rest: Weights = {}
    groups: dict[str, dict[str, list[np.ndarray]]] = {}
    for name, array in weights.items():
        match = EXPERT.match(name)
        if match is None:
            rest[name] = array
        else:
            groups.setdefault(match[1], {}).setdefault(match[3], []).append(array)
    return rest, {b: {k: np.stack(v) for k, v in g.items()} for b, g in groups.items()}


def unstack(block: str, kind: str, stacked: np.ndarray) -> Weights:
    return {f"{block}.experts.{e}.{kind}.weight": w for e, w in enumerate(stacked)}


def file_name(config: Config, name: str) -> str:
    """The name in the files: multimodal wrappers put their own prefix before the text model."""
    kind = config["model_type"]
    if kind == "qwen2_5_omni":
        return "thinker." + name
    if kind in {"qwen3_5", "qwen3_5_moe"}:
        return re.sub(r"^model\.", "model.language_model.", name)
    return name


def _float_dtype(case: Case, name: str) -> str:
    """qwen3_5 files keep these two in float32 beside bf16 weights."""
    keeps = case.config["model_type"].startswith("qwen3_5")
    return "F32" if keeps and name.endswith(("A_log", "linear_attn.norm.weight")) else case.dtype


def _plain(case: Case, weights: Weights) -> Built:
    stored, exact = {}, {}
    for name, w in weights.items():
        stored[name], exact[name] = store(w, _float_dtype(case, name))
    return Built(case.config, stored, exact)


def _packed(case: Case, weights: Weights) -> Built:
    rest, blocks = stack_experts(weights)
    built = _plain(case, rest)
    for block, stacked in blocks.items():
        fused = np.concatenate([stacked["gate_proj"], stacked["up_proj"]], axis=1)
        for name, w in (("gate_up_proj", fused), ("down_proj", stacked["down_proj"])):
            raw, values = store(w, case.dtype)
            if case.layout == "packed_v4":
                raw = Stored(raw.dtype, np.ascontiguousarray(raw.array.swapaxes(1, 2)))
            built.stored[f"{block}.experts.{name}"] = raw
            if name == "down_proj":
                built.exact.update(unstack(block, name, values))
            else:
                for kind, half in zip(
                    ("gate_proj", "up_proj"), np.split(values, 2, 1), strict=True
                ):
                    built.exact.update(unstack(block, kind, half))
    return built


def _mlx(case: Case, weights: Weights) -> Built:
    """mlx-lm's: experts stacked in `switch_mlp`, conv (C, K, 1), norms one-centred already."""
    rest, blocks = stack_experts(weights)
    built = _plain(case, rest)
    for block, stacked in blocks.items():
        for kind, w in stacked.items():
            built.stored[f"{block}.switch_mlp.{kind}.weight"], values = store(w, case.dtype)
            built.exact.update(unstack(block, kind, values))
    if text_config(case.config)["model_type"] in {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}:
        for name, w in rest.items():
            if name.endswith("conv1d.weight"):
                dtype, array = built.stored[name]
                built.stored[name] = Stored(dtype, np.ascontiguousarray(array.swapaxes(1, 2)))
            elif ZERO_CENTRED_NORM.search(name):
                built.stored[name], values = store(w + np.float32(1), case.dtype)
                built.exact[name] = values - np.float32(1)
    return built


def _mlx_affine(case: Case, weights: Weights) -> Built:
    """As `mlx_lm.convert` writes it; a router of other bits and unquantised modules are listed."""
    plain = _mlx(case, weights)
    config = dict(case.config)
    block: Config = {"group_size": case.group_size, "bits": case.bits, "mode": "affine"}
    stored, exact = dict(plain.stored), dict(plain.exact)
    rest, blocks = stack_experts(weights)
    matrices = {n: w for n, w in rest.items() if LINEAR.search(n)}
    for mlp, stacked in blocks.items():
        matrices |= {f"{mlp}.switch_mlp.{kind}.weight": w for kind, w in stacked.items()}
    for name, w in matrices.items():
        module = name.removesuffix(".weight")
        if w.shape[-1] % case.group_size:
            block[module] = False
            continue
        bits = case.bits
        if module.endswith("gate") and case.router_bits != bits:
            bits = case.router_bits
            block[module] = {"group_size": case.group_size, "bits": bits}
        parts, values = mlx_affine(w, case.group_size, bits, case.dtype)
        stored.update({f"{module}.{part}": tensor for part, tensor in parts.items()})
        if ".switch_mlp." in module:
            mlp, kind = module.split(".switch_mlp.")
            exact.update(unstack(mlp, kind, values))
        else:
            exact[name] = values
    config["quantization"] = config["quantization_config"] = block
    return Built(config, stored, exact)


def _foreign_quantised(case: Case, weights: Weights) -> Built:
    """Block FP8, GPTQ or AWQ: every linear of the layers except routers and other gates."""
    built = _plain(case, weights)
    kept = [n for n in weights if n.endswith(("mlp.gate.weight", "shared_expert_gate.weight"))]
    for name, w in weights.items():
        if ".layers." not in name or not name.endswith("_proj.weight"):
            continue
        if case.layout == "fp8":
            parts, exact = block_fp8(w)
        elif case.layout == "gptq":
            order = None
            if case.act_order:
                order = np.argsort(noise(name + ".g_idx", (w.shape[1],), case.seed), kind="stable")
            parts, exact = gptq(w, case.group_size, symmetric=case.symmetric, act_order=order)
        else:
            parts, exact = awq(w, case.group_size)
        del built.stored[name]
        module = name.removesuffix("weight")
        built.stored.update({module + part: tensor for part, tensor in parts.items()})
        built.exact[name] = exact
    config = dict(case.config)
    if case.layout == "fp8":
        config["quantization_config"] = {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "modules_to_not_convert": ["lm_head"] + [n.removesuffix(".weight") for n in kept],
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        }
    elif case.layout == "gptq":
        config["quantization_config"] = {
            "bits": 4,
            "checkpoint_format": "gptq",
            "desc_act": case.act_order,
            "group_size": case.group_size,
            "lm_head": False,
            "pack_dtype": "int32",
            "quant_method": "gptq",
            "sym": case.symmetric,
        }
    else:
        config["quantization_config"] = {
            "backend": "autoawq",
            "bits": 4,
            "do_fuse": False,
            "group_size": case.group_size,
            "modules_to_not_convert": None,
            "quant_method": "awq",
            "version": "gemm",
            "zero_point": True,
        }
    return Built(config, built.stored, built.exact)


LAYOUTS = {
    "hf": _plain,
    "packed": _packed,
    "packed_v4": _packed,
    "mlx": _mlx,
    "mlx_affine": _mlx_affine,
    "fp8": _foreign_quantised,
    "gptq": _foreign_quantised,
    "awq": _foreign_quantised,
}


def build(case: Case) -> Built:
    built = LAYOUTS[case.layout](case, make_weights(case.config, case.seed))
    stored = {file_name(case.config, name): tensor for name, tensor in built.stored.items()}
    if case.stores_tied_head:
        stored["lm_head.weight"] = stored["model.embed_tokens.weight"]
    for name, shape in case.foreign.items():
        stored[name], _ = store(noise(name, shape, case.seed), case.dtype)
    return Built(built.config, stored, built.exact)


def write(case: Case, folder: Path, *, wide: bool = False) -> Built:
    """Write both configs and the safetensors files, with an index if there are several.

    wide: write the same values in float32, for readers that compute in the dtype they find.
    """
    built = build(case)
    if wide:
        stored = {name: widened(tensor) for name, tensor in built.stored.items()}
        built = built._replace(stored=stored)
    write_folder(folder, built.config, built.stored, case.shards)
    return built


def write_folder(folder: Path, config: Config, stored: dict[str, Stored], shards: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    text = text_config(config)
    generation = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    generation["eos_token_id"] = [text["eos_token_id"]]
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", stored)
        return
    files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    weight_map = {name: files[zlib.crc32(name.encode()) % shards] for name in stored}
    for file in files:
        write_safetensors(folder / file, {n: t for n, t in stored.items() if weight_map[n] == file})
    total = sum(tensor.array.nbytes for tensor in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def prompts(case: Case) -> tuple[list[int], list[int]]:
    """A long and a short row of token ids, never the end-of-text id."""
    vocab = text_config(case.config)["vocab_size"]
    state = np.random.RandomState(zlib.crc32(case.name.encode()))
    row = (state.random_sample(case.long + case.short) * (vocab - 1)).astype(int).tolist()
    return row[: case.long], row[case.long :]
