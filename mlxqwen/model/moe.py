"""Mixture of experts: a router that chooses k experts per token, and the chosen experts' MLPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import mlx.core as mx

from .config import ModelConfig, MoEConfig
from .kernels import router
from .linear import Projection, Stored, join_rows
from .mlp import MLP, swiglu
from .params import Params
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
class StackedJoined:
    """Projections that cannot be one matrix (quantised differently), side by side."""

    parts: tuple[StackedProjection, ...]

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array:
        """``(..., 1, in), (...) -> (..., 1, out₁ + out₂ + …)``."""
        return mx.concatenate([part(x, experts, ordered=ordered) for part in self.parts], axis=-1)


def stack(parts: Sequence[Stored]) -> StackedProjection:
    """The experts' projections of one input, each ``(E, out, in)``, as one along ``out``."""
    if len({part.spec for part in parts}) > 1:
        return StackedJoined(tuple(stack([part]) for part in parts))
    joined = join_rows(parts)
    if joined.spec is None or joined.scales is None:
        return StackedLinear(joined.weight)
    return QuantizedStackedLinear(joined.weight, joined.scales, joined.biases, joined.spec)


def route(logits: mx.array, moe: MoEConfig) -> tuple[mx.array, mx.array]:
    """Chooses experts: ``(..., E) -> (..., k) indices, (..., k) weights``.

    Softmax over all experts in float32, then the k largest; their probabilities are divided by
    their sum only where the configuration says ``norm_topk_prob``.
    """
    return router.reference(logits, moe.num_experts_per_tok, moe.norm_topk_prob)


@dataclass(frozen=True, slots=True)
class SharedExpert:
    """An expert that every token passes through, weighed by a gate of its own."""

    mlp: MLP
    gate: Projection

    @classmethod
    def build(cls, params: Params, path: str, width: int, inner: int) -> SharedExpert:
        """Takes ``shared_expert`` and ``shared_expert_gate`` under ``path``."""
        mlp = MLP.build(params, f"{path}.shared_expert", width, inner)
        return cls(mlp, params.linear(f"{path}.shared_expert_gate", 1, width))

    def __call__(self, x: mx.array) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        return mx.sigmoid(self.gate(x)) * self.mlp(x)


@dataclass(frozen=True, slots=True)
class SparseMoE:
    """The routed feed-forward of one layer.

    ``gate`` is the router (Hugging Face's name), ``gate_up_proj`` and ``down_proj`` the experts.
    """

    gate: Projection
    gate_up_proj: StackedProjection
    down_proj: StackedProjection
    shared: SharedExpert | None
    moe: MoEConfig

    def __call__(self, x: mx.array) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        experts, weights = route(self.gate(x), self.moe)
        chosen = self._experts(x, experts)  # (B, L, k, D)
        out = (chosen * weights[..., None].astype(chosen.dtype)).sum(axis=-2)
        return out if self.shared is None else out + self.shared(x)

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
        # A scatter inverts the permutation; a second sort would take as long as the first.
        places = mx.put_along_axis(mx.zeros_like(order), order, mx.arange(order.size), axis=0)
        return out[places].reshape(*lead, k, -1)


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
    inner, lead = moe.moe_intermediate_size, (moe.num_experts,)
    pair = [
        params.stored(f"{path}.switch_mlp.{name}", inner, width, lead)
        for name in ("gate_proj", "up_proj")
    ]
    down = params.stored(f"{path}.switch_mlp.down_proj", width, inner, lead)
    if experts == "dense":
        return DenseMoE(gate, join_rows(pair).weight, down.weight, moe)
    shared_inner = moe.shared_expert_intermediate_size
    shared = SharedExpert.build(params, path, width, shared_inner) if shared_inner else None
    return SparseMoE(gate, stack(pair), stack([down]), shared, moe)
