"""Mixture of experts: a router that chooses k experts per token, and the chosen experts' MLPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import mlx.core as mx

from .config import ModelConfig, MoEConfig
from .linear import Params, Projection, join
from .mlp import MLP, swiglu
from .quantspec import QuantSpec

# From this many chosen rows on, rows are sorted by expert: then each expert's rows lie together and
# its weights are read once. Below it, sorting costs more than it saves.
_SORT_FROM = 64


class StackedProjection(Protocol):
    """One matrix per expert, applied to rows by expert index."""

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array: ...


@dataclass(frozen=True, slots=True)
class StackedLinear:
    """``weight`` (E, out, in)."""

    weight: mx.array

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array:
        """``(..., 1, in), (...) -> (..., 1, out)``; see ``mx.gather_mm``."""
        return mx.gather_mm(
            x, self.weight.swapaxes(-1, -2), rhs_indices=experts, sorted_indices=ordered
        )


@dataclass(frozen=True, slots=True)
class QuantizedStackedLinear:
    """Packed: ``weight`` (E, out, in·bits/32), ``scales`` and ``biases`` (E, out, in/group)."""

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    spec: QuantSpec

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array:
        """``(..., 1, in), (...) -> (..., 1, out)``; see ``mx.gather_qmm``."""
        return mx.gather_qmm(
            x,
            self.weight,
            self.scales,
            self.biases,
            rhs_indices=experts,
            transpose=True,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
            sorted_indices=ordered,
        )


@dataclass(frozen=True, slots=True)
class StackedPair:
    """gate and up that cannot be one matrix (quantised differently), side by side."""

    gate: StackedProjection
    up: StackedProjection

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array:
        """``(..., 1, in), (...) -> (..., 1, 2·I)``."""
        parts = [self.gate(x, experts, ordered=ordered), self.up(x, experts, ordered=ordered)]
        return mx.concatenate(parts, axis=-1)


def stacked(
    params: Params, modules: tuple[str, ...], shape: tuple[int, int, int]
) -> StackedProjection:
    """The experts' projections ``modules``, each ``(E, out, in)``, as one along ``out``."""
    experts, out, width = shape
    spec = params.spec(modules[0])
    taken = [params.weight(module, out, width, (experts,)) for module in modules]
    weight = join([part[0] for part in taken], axis=1)
    if spec is None:
        return StackedLinear(weight)
    scales = join([part[1] for part in taken if part[1] is not None], axis=1)
    biases = [part[2] for part in taken if part[2] is not None]
    return QuantizedStackedLinear(weight, scales, join(biases, axis=1) if biases else None, spec)


def route(logits: mx.array, moe: MoEConfig) -> tuple[mx.array, mx.array]:
    """Chooses experts: ``(..., E) -> (..., k) indices, (..., k) weights``.

    Softmax over all experts in float32, then the k largest; their probabilities are divided by
    their sum only where the configuration says ``norm_topk_prob``.
    """
    probabilities = mx.softmax(logits.astype(mx.float32), axis=-1)
    k = moe.num_experts_per_tok
    experts = mx.argpartition(probabilities, kth=-k, axis=-1)[..., -k:]
    weights = mx.take_along_axis(probabilities, experts, axis=-1)
    if moe.norm_topk_prob:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return experts, weights


@dataclass(frozen=True, slots=True)
class SparseMoE:
    """The routed feed-forward of one layer.

    ``gate`` is the router (Hugging Face's name), ``gate_up_proj`` and ``down_proj`` the experts.
    """

    gate: Projection
    gate_up_proj: StackedProjection
    down_proj: StackedProjection
    moe: MoEConfig

    def __call__(self, x: mx.array) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        experts, weights = route(self.gate(x), self.moe)
        chosen = self._experts(x, experts)  # (B, L, k, D)
        return (chosen * weights[..., None].astype(chosen.dtype)).sum(axis=-2)

    def _experts(self, x: mx.array, experts: mx.array) -> mx.array:
        """``(B, L, D), (B, L, k) -> (B, L, k, D)``: each row through each of its experts."""
        if experts.size < _SORT_FROM:
            hidden = swiglu(self.gate_up_proj(x[..., None, None, :], experts, ordered=False))
            return self.down_proj(hidden, experts, ordered=False).squeeze(-2)
        *lead, k = experts.shape
        flat = experts.flatten()
        order = mx.argsort(flat)
        ordered = flat[order]
        rows = x.reshape(-1, 1, x.shape[-1])[order // k]  # (B·L·k, 1, D)
        hidden = swiglu(self.gate_up_proj(rows, ordered, ordered=True))
        out = self.down_proj(hidden, ordered, ordered=True).squeeze(-2)
        return out[mx.argsort(order)].reshape(*lead, k, -1)


@dataclass(frozen=True, slots=True)
class DenseMoE:
    """The same function with every expert computed for every token, the unchosen masked out.

    Wasteful to run and simple to differentiate: this is what training uses, and the reference that
    the gathered form is tested against. ``gate_up_proj`` (E, 2I, D), ``down_proj`` (E, D, I).
    """

    gate: Projection
    gate_up_proj: mx.array
    down_proj: mx.array
    moe: MoEConfig

    def __call__(self, x: mx.array) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        rows = x.reshape(-1, x.shape[-1])  # (N, D)
        experts, weights = route(self.gate(rows), self.moe)
        spread = mx.zeros((rows.shape[0], self.moe.num_experts), weights.dtype)
        spread = mx.put_along_axis(spread, experts, weights, axis=-1)  # (N, E)
        hidden = swiglu(rows[None] @ self.gate_up_proj.swapaxes(-1, -2))  # (E, N, I)
        out = hidden @ self.down_proj.swapaxes(-1, -2)  # (E, N, D)
        return (out * spread.T[..., None].astype(out.dtype)).sum(axis=0).reshape(x.shape)


def feed_forward(
    config: ModelConfig,
    params: Params,
    path: str,
    layer: int,
    experts: Literal["gathered", "dense"],
) -> MLP | SparseMoE | DenseMoE:
    """The feed-forward of layer ``layer``, from the tensors under ``path`` (``…layers.N.mlp``)."""
    moe = config.moe
    width = config.hidden_size
    if moe is None or not config.is_sparse(layer):
        return MLP.build(params, path, width, config.intermediate_size)
    gate = params.linear(f"{path}.gate", moe.num_experts, width)
    shape = (moe.num_experts, moe.moe_intermediate_size, width)
    names = (f"{path}.switch_mlp.gate_proj", f"{path}.switch_mlp.up_proj")
    down_name = f"{path}.switch_mlp.down_proj"
    down_shape = (moe.num_experts, width, moe.moe_intermediate_size)
    if experts == "dense":
        pair = [params.take(f"{name}.weight", shape) for name in names]
        return DenseMoE(
            gate, join(pair, axis=1), params.take(f"{down_name}.weight", down_shape), moe
        )
    if params.spec(names[0]) == params.spec(names[1]):
        gate_up: StackedProjection = stacked(params, names, shape)
    else:
        gate_up = StackedPair(*(stacked(params, (name,), shape) for name in names))
    return SparseMoE(gate, gate_up, stacked(params, (down_name,), down_shape), moe)
