"""The subtle rules, broken one at a time: the references must notice each.

A mutant is one replacement in the text of one module. The package is imported afresh with it, and
the case that the rule is about must then disagree with its reference, or be refused.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from cases import CASES, CASES_NEXT

import mlxqwen

REFERENCES = Path(__file__).parents[2] / "golden" / "references"
TOLERANCE = 1e-4
ROOT = Path(mlxqwen.__file__).parent


@dataclass(frozen=True)
class Mutant:
    rule: str
    module: str
    old: str
    new: str
    case: str


MUTANTS = [
    Mutant(
        "head_dim is explicit",
        "model.config",
        'if fields.has("head_dim"):',
        "if False:",
        "dense_head_dim",
    ),
    Mutant(
        "YaRN uses the factor, not max_position / original",
        "model.positions",
        'factor = rope.above_zero("factor", positions / original)',
        "factor = positions / original",
        "dense_yarn",
    ),
    Mutant(
        "YaRN scales cos and sin",
        "model.attention",
        "magnitude = 1.0 if config.rope.yarn is None else config.rope.yarn.attention_factor",
        "magnitude = 1.0",
        "dense_yarn",
    ),
    Mutant(
        "YaRN scales the turned dimensions only",
        "model.attention",
        "mx.arange(dim) < config.rotary_dims",
        "mx.arange(dim) >= 0",
        "next_yarn",
    ),
    Mutant(
        "YaRN holds for qwen3_moe too",
        "model.attention",
        "wavelengths = None if config.yarn is None else",
        "wavelengths = None if True else",
        "moe_yarn",
    ),
    Mutant(
        "q and k are normalised before they are turned",
        "model.attention",
        "            q, k = self.q_norm(q), self.k_norm(k)\n",
        "            pass\n",
        "dense_untied",
    ),
    Mutant(
        "RoPE is half-split",
        "model.attention",
        "traditional=False",
        "traditional=True",
        "dense_tied",
    ),
    Mutant(
        "qwen2 has no bias on o",
        "model.config",
        "output_bias=bias and not qwen2",
        "output_bias=bias",
        "qwen2_untied",
    ),
    Mutant(
        "softmax over all experts, then the choice",
        "model.kernels.router",
        "    weights = mx.take_along_axis(probabilities, experts, axis=-1)\n",
        "    weights = mx.softmax(mx.take_along_axis(logits, experts, axis=-1), axis=-1)\n",
        "moe_raw_topk",
    ),
    Mutant(
        "renormalise where the configuration says so",
        "model.kernels.router",
        "keepdims=True) if normalise else",
        "keepdims=True) if False else",
        "moe_8of128",
    ),
    Mutant(
        "do not renormalise where it does not",
        "model.kernels.router",
        "keepdims=True) if normalise else",
        "keepdims=True) if True else",
        "moe_raw_topk",
    ),
    Mutant(
        "sparse layers are counted from one",
        "model.config",
        "(layer + 1) % moe.decoder_sparse_step",
        "layer % moe.decoder_sparse_step",
        "moe_sparse_step",
    ),
    Mutant(
        "mlp_only_layers are dense",
        "model.config",
        "and layer not in moe.mlp_only_layers",
        "",
        "moe_mlp_only",
    ),
    Mutant(
        "layer_types win over the default interval",
        "model.config",
        'kinds = cast(list[object], config.get("layer_types") or [])\n    if kinds and',
        "kinds: list[object] = []\n    if kinds and",
        "next_transformers5",
    ),
    Mutant(
        "Qwen3.5 always renormalises",
        "model.config",
        'norm_topk_prob=always or fields.boolean("norm_topk_prob", hybrid)',
        "norm_topk_prob=False",
        "qwen3_5_moe",
    ),
    Mutant(
        "rows of qkvz are grouped per key head",
        "model.gated_delta",
        "qkvz.reordered(_ungrouped(delta.num_key_heads, (key, key, values, values)))",
        "qkvz",
        "next_interval4",
    ),
    Mutant(
        "rows of ba are grouped per key head",
        "model.gated_delta",
        "ba.reordered(_ungrouped(delta.num_key_heads, (ratio, ratio)))",
        "ba",
        "next_interval4",
    ),
    Mutant(
        "the epsilon of the l2 norm is on the sum of squares",
        "model.gated_delta",
        "_L2_EPS / width",
        "_L2_EPS * width",
        "next_interval4",
    ),
    Mutant(
        "queries are scaled",
        "model.gated_delta",
        "* delta.key_head_dim**-0.5",
        "* 1.0",
        "next_interval4",
    ),
    Mutant(
        "dt_bias is added before softplus",
        "model.gated_delta",
        "softplus(a.astype(mx.float32) + self.dt_bias)",
        "softplus(a.astype(mx.float32)) + self.dt_bias",
        "next_interval4",
    ),
    Mutant(
        "A_log stays in float32",
        "model.gated_delta",
        'decay=-mx.exp(params.take_exact(f"{path}.A_log", heads))',
        'decay=-mx.exp(params.take_exact(f"{path}.A_log", heads).astype(mx.bfloat16))',
        "qwen3_5_dense",
    ),
    Mutant(
        "the convolution's output passes silu",
        "model.gated_delta",
        "return out * mx.sigmoid(out)",
        "return out",
        "next_interval4",
    ),
    Mutant(
        "the convolution remembers across pieces shorter than itself",
        "model.gated_delta",
        "window[:, window.shape[1] - kept :]",
        "mx.concatenate([mx.zeros_like(before), qkv], axis=1)[:, -kept:]",
        "next_interval4",
    ),
    Mutant(
        "padding is kept out of the convolution and the state",
        "model.gated_delta",
        "x = mx.where(step.real, x, 0)",
        "pass",
        "next_interval4",
    ),
    Mutant(
        "the output gate is silu",
        "model.gated_delta",
        "(z * mx.sigmoid(z))",
        "mx.sigmoid(z)",
        "next_interval4",
    ),
    Mutant(
        "the gated norm uses the configuration's epsilon",
        "model.gated_delta",
        "mx.fast.rms_norm(out, self.norm, self.eps)",
        "mx.fast.rms_norm(out, self.norm, 10 * self.eps)",
        "next_interval4",
    ),
    Mutant(
        "query and gate alternate per head",
        "model.attention",
        "            q = q.reordered(rows.swapaxes(0, 1).flatten())\n",
        "            q = q.reordered(rows.flatten())\n",
        "next_interval4",
    ),
    Mutant(
        "attention's output is gated",
        "model.attention",
        "out = out * mx.sigmoid(gate.reshape",
        "out = out + 0 * mx.sigmoid(gate.reshape",
        "next_interval4",
    ),
    Mutant(
        "a quarter of each head turns",
        "model.config",
        "rotary_dims=int(head_dim * rotary_share)",
        "rotary_dims=head_dim",
        "next_interval4",
    ),
    Mutant(
        "the shared expert is gated",
        "model.moe",
        "return mx.sigmoid(self.gate(x)) * self.mlp(x)",
        "return self.mlp(x)",
        "next_interval4",
    ),
    Mutant(
        "padding is not attended to",
        "model.step",
        "(key <= query) & (real | (key == query))",
        "(key <= query) & (real | (key != query) | (key == query))",
        "dense_untied",
    ),
    Mutant(
        "zero-centred norms mean 1 + w",
        "checkpoint.layouts",
        "plus_one = zero_centred and is_zero_centred(name, config)",
        "plus_one = False",
        "next_interval4",
    ),
    Mutant(
        "a converted checkpoint's norms are left alone",
        "checkpoint.layouts",
        "and not is_converted(directory, remaining, config)",
        "",
        "next_mlx",
    ),
    Mutant(
        "the delta net's own norm is not zero-centred",
        "checkpoint.expected",
        '("layernorm.weight", ".q_norm.weight",',
        '("layernorm.weight", ".linear_attn.norm.weight", ".q_norm.weight",',
        "next_interval4",
    ),
    Mutant(
        "layers that predict further tokens are kept aside",
        "checkpoint.names",
        '_MTP = {"mtp.": _PREDICTION,',
        '_MTP = {"model.mtp.": _PREDICTION,',
        "next_interval4",
    ),
    Mutant(
        "the talker is no part of the thinker",
        "checkpoint.names",
        '"talker.": "talker",',
        "",
        "omni_thinker",
    ),
    Mutant(
        "weight_scale_inv multiplies",
        "checkpoint.numbers",
        "codes.reshape(stop - start, -1, wide) * factors[..., None]",
        "codes.reshape(stop - start, -1, wide) / factors[..., None]",
        "fp8_moe",
    ),
    Mutant(
        "partial edge blocks are blocks of 128 cut off",
        "checkpoint.numbers",
        "return codes * mx.repeat(factors, wide, axis=1)[:, :width]",
        "return codes * mx.repeat(factors, -(-width // factors.shape[1]), axis=1)[:, :width]",
        "fp8_dense",
    ),
    Mutant(
        "GPTQ stores the zero point less one",
        "checkpoint.numbers",
        ".astype(mx.uint32) + part.zero_offset",
        ".astype(mx.uint32)",
        "gptq_act_order",
    ),
    Mutant(
        "AWQ shuffles the outputs of a word",
        "checkpoint.origins",
        "AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)",
        "AWQ_ORDER = (0, 1, 2, 3, 4, 5, 6, 7)",
        "awq_dense",
    ),
]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves one module of the package with a replacement in its text."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = f"mlxqwen.{mutant.module}"
        self.path = ROOT / f"{mutant.module.replace('.', '/')}.py"
        text = self.path.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.rule}: the text to replace must occur once"
        self.text = text.replace(mutant.old, mutant.new)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The package as if ``mutant`` had been written; the real one is back afterwards."""
    finder = _Finder(mutant)
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if _ours(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _ours(name)]:
            del sys.modules[name]
        sys.modules.update(real)


def _ours(name: str) -> bool:
    return name == "mlxqwen" or name.startswith("mlxqwen.")


def errors(folder: Path, reference: dict[str, np.ndarray]) -> list[float]:
    """Relative errors of the package as it now is: one pass, in pieces, decoding, left-padded."""
    load = importlib.import_module("mlxqwen.checkpoint.load")
    make_cache = importlib.import_module("mlxqwen.model.cache").make_cache
    model, _ = load.load_model(folder)
    long, short = reference["long"].tolist(), reference["short"].tolist()

    def relative(logits: mx.array, expected: np.ndarray) -> float:
        got = np.array(logits)
        assert got.shape == expected.shape
        return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))

    cache = make_cache(model)
    pieces = [model(mx.array([long[i : i + 2]]), cache)[0] for i in range(0, len(long), 2)]
    found = [relative(mx.concatenate(pieces), reference["prefill"])]
    found.append(relative(model(mx.array([long]))[0], reference["prefill"]))
    padding = len(long) - len(short)
    cache = make_cache(model, left_padding=[0, padding])
    padded = model(mx.array([long, [0] * padding + short]), cache)
    found.append(relative(padded[1, padding:], reference["batch_short"]))
    return found


BY_NAME = {case.name: case for case in (*CASES, *CASES_NEXT)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_broken_rule_is_noticed(mutant: Mutant, folder_of: Callable[..., Path]) -> None:
    case = BY_NAME[mutant.case]
    folder = folder_of(case)
    with np.load(REFERENCES / f"{case.name}.npz") as file:
        reference = dict(file)
    assert max(errors(folder, reference)) < TOLERANCE
    with mutated(mutant):
        refusal = importlib.import_module("mlxqwen.errors").MlxqwenError
        try:
            found = errors(folder, reference)
        except refusal:
            return
    assert not max(found) < TOLERANCE  # NaN is noticed too
