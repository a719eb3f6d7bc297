"""The routed experts of one token in few launches: the fused counterpart of ``moe.SparseMoE``."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .kernels import expert_down, expert_gate_up, router
from .kernels.expert_down import Shared
from .kernels.packed import Packed
from .linear import Projection, QuantizedLinear
from .moe import QuantizedStackedLinear, SharedExpert, SparseMoE, route


@dataclass(frozen=True, slots=True)
class FusedShared:
    """The shared expert: its two matrices, the first as a stack of one, and its gate."""

    gate_up: Packed
    down: Packed
    gate: Projection
    only: mx.array

    @classmethod
    def of(cls, plain: SharedExpert) -> FusedShared | None:
        """None where it is not quantised."""
        gate_up, down = plain.mlp.gate_up_proj, plain.mlp.down_proj
        if not isinstance(gate_up, QuantizedLinear) or not isinstance(down, QuantizedLinear):
            return None
        first, second = _packed(gate_up), _packed(down)
        if first is None or second is None:
            return None
        stack = Packed(first.weight[None], first.scales[None], first.biases[None], first.spec)
        return cls(stack, second, plain.gate, mx.zeros(1, mx.uint32))

    def __call__(self, x: mx.array) -> Shared:
        """``(1, 1, D)`` to what the last launch adds as one slot more."""
        act = expert_gate_up.expert_gate_up(x.reshape(-1), self.gate_up, self.only)
        return Shared(act.reshape(-1), self.down, self.gate(x))


@dataclass(frozen=True, slots=True)
class FusedMoE:
    """``SparseMoE`` for one token, its residual included."""

    plain: SparseMoE
    gate_up: Packed
    down: Packed
    shared: FusedShared | None
    routes: bool

    @classmethod
    def of(cls, plain: SparseMoE, width: int, dtype: mx.Dtype) -> FusedMoE | None:
        """None where experts are not quantised, or not in a way that the kernels take."""
        gate_up, down = plain.gate_up_proj, plain.down_proj
        if not isinstance(gate_up, QuantizedStackedLinear) or not isinstance(
            down, QuantizedStackedLinear
        ):
            return None
        first, second = _packed(gate_up), _packed(down)
        shared = None if plain.shared is None else FusedShared.of(plain.shared)
        if first is None or second is None or (plain.shared is not None and shared is None):
            return None
        logits = mx.zeros((1, 1, plain.moe.num_experts), dtype)
        routes = router.fits(logits, plain.moe.num_experts_per_tok)
        fused = cls(plain, first, second, shared, routes)
        return fused if fused._fits(width, dtype) else None

    def _fits(self, width: int, dtype: mx.Dtype) -> bool:
        chosen = self.plain.moe.num_experts_per_tok
        row, indices = mx.zeros(width, dtype), mx.zeros(chosen, mx.uint32)
        act, scores = mx.zeros((chosen, self.down.width), dtype), mx.zeros(chosen)
        shared = None
        if self.shared is not None:
            inner = mx.zeros(self.shared.down.width, dtype)
            shared = Shared(inner, self.shared.down, mx.zeros(1, dtype))
            if not expert_gate_up.fits(row, self.shared.gate_up, self.shared.only):
                return False
        return expert_gate_up.fits(row, self.gate_up, indices) and expert_down.fits(
            act, self.down, indices, scores, row, shared
        )

    def __call__(self, x: mx.array, residual: mx.array) -> mx.array:
        """``(1, 1, D) normed, (1, 1, D) residual -> (1, 1, D)``."""
        experts, weights = self._route(self.plain.gate(x))
        row, indices, scores = x.reshape(-1), experts.reshape(-1), weights.reshape(-1)
        act = expert_gate_up.expert_gate_up(row, self.gate_up, indices)
        shared = None if self.shared is None else self.shared(x)
        out = expert_down.expert_down(act, self.down, indices, scores, residual.reshape(-1), shared)
        return out.reshape(residual.shape)

    def _route(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        moe = self.plain.moe
        if not self.routes:
            return route(logits, moe)
        return router.router(logits, moe.num_experts_per_tok, moe.norm_topk_prob)


def _packed(matrix: QuantizedLinear | QuantizedStackedLinear) -> Packed | None:
    if matrix.biases is None:
        return None
    return Packed(matrix.weight, matrix.scales, matrix.biases, matrix.spec)
