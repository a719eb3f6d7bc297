"""The decode step with custom kernels: the same layers, arranged so that each launch does more.

At one token a GPU waits for launches. Here the residual addition joins the norm after it, q and k
are normalised, turned and joined with v at once, a delta net moves on in one launch, and of the
chosen experts' work two launches remain, the second of which also adds the residual. Each part of a
layer is fused or plain by itself: where a shape does not fit, or a trial on the user's chip decided
so (``trial.py``), the part of ``decoder.py`` that it must equal goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import mlx.core as mx

from .attention import Attention
from .cache import DeltaState, KVCache, LayerState
from .decoder import Layer, Model
from .fused_moe import FusedMoE
from .gated_delta import GatedDelta
from .kernels import add_rms_norm as adding
from .kernels import conv_delta as delta
from .kernels import gated_norm, output_gate, qk_norm_rope
from .mlp import MLP, swiglu
from .moe import DenseMoE, SparseMoE
from .norm import RMSNorm
from .step import Step

Part = Literal["add_norm", "attention", "delta", "experts"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class FusedAttention:
    """``Attention`` for one token."""

    plain: Attention
    layout: qk_norm_rope.Layout
    norms: tuple[mx.array, mx.array] | None

    @classmethod
    def of(cls, plain: Attention, dtype: mx.Dtype) -> FusedAttention | None:
        """None where the kernels do not take its shapes."""
        q_norm, k_norm = plain.q_norm, plain.k_norm
        norms = None if q_norm is None or k_norm is None else (q_norm.weight, k_norm.weight)
        layout = qk_norm_rope.Layout(
            heads=plain.heads,
            kv_heads=plain.kv_heads,
            dim=plain.head_dim,
            gated=plain.gated,
            rotary_dims=plain.rope.dims,
            theta=plain.rope.theta,
            eps=1e-6 if q_norm is None else q_norm.eps,
        )
        mixed = mx.zeros((1, 1, layout.width), dtype)
        out = mx.zeros((1, plain.heads, 1, plain.head_dim), dtype)
        fits = qk_norm_rope.fits(mixed, layout, norms, plain.rope.wavelengths)
        fits = fits and (not plain.gated or output_gate.fits(out, mixed, layout.gates))
        return cls(plain, layout, norms) if fits else None

    def __call__(self, x: mx.array, state: LayerState | None, step: Step) -> mx.array:
        """``(1, 1, D) -> (1, 1, D)``."""
        assert isinstance(state, KVCache)
        plain = self.plain
        mixed = plain.qkv_proj(x)
        wavelengths = plain.rope.wavelengths
        q, kv = qk_norm_rope.qk_norm_rope(
            mixed, step.position, self.layout, self.norms, wavelengths
        )
        k, v = state.write(kv, step.offset)
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=plain.scale, mask=step.mask)
        if plain.gated:
            return plain.o_proj(output_gate.output_gate(out, mixed, self.layout.gates))
        return plain.o_proj(out.reshape(1, 1, plain.heads * plain.head_dim))


@dataclass(frozen=True, slots=True)
class FusedDelta:
    """``GatedDelta`` for one token."""

    plain: GatedDelta

    @classmethod
    def of(cls, plain: GatedDelta, dtype: mx.Dtype) -> FusedDelta | None:
        """None where the kernels do not take its shapes."""
        net = plain.delta
        width = net.conv_dim + net.value_dim + 2 * net.num_value_heads
        projected = mx.zeros((1, 1, width), dtype)
        window = mx.zeros((1, net.conv_kernel_dim - 1, net.conv_dim), dtype)
        heads = (net.num_value_heads, net.value_head_dim)
        recurrent, out = mx.zeros((1, *heads, net.key_head_dim)), mx.zeros((1, 1, *heads))
        fits = delta.fits(projected, window, plain.conv1d, recurrent, net.num_key_heads)
        fits = fits and gated_norm.fits(out, projected, plain.norm, net.conv_dim)
        return cls(plain) if fits else None

    def __call__(self, x: mx.array, state: LayerState | None, step: Step) -> mx.array:
        """``(1, 1, D) -> (1, 1, D)``."""
        assert isinstance(state, DeltaState)
        assert state.convolution is not None
        assert state.recurrent is not None
        plain = self.plain
        projected = plain.in_proj(x)
        out, window, recurrent = delta.conv_delta(
            projected,
            state.convolution,
            plain.conv1d,
            plain.decay,
            plain.dt_bias,
            state.recurrent,
            plain.delta.num_key_heads,
        )
        state.adopt(window, recurrent)
        return plain.out_proj(
            gated_norm.gated_norm(out, projected, plain.norm, plain.delta.conv_dim, plain.eps)
        )


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """One layer; ``pending`` is what the layer before still has to add to the residual."""

    input_layernorm: RMSNorm
    mixer: FusedAttention | FusedDelta | Attention | GatedDelta
    post_attention_layernorm: RMSNorm
    mlp: FusedMoE | SparseMoE | DenseMoE | MLP
    adds: bool

    @classmethod
    def of(cls, plain: Layer, dtype: mx.Dtype, parts: Collection[Part]) -> FusedLayer:
        """The layer with those of ``parts`` fused whose shapes fit."""
        width = plain.input_layernorm.weight.size
        x = mx.zeros((1, 1, width), dtype)
        return cls(
            plain.input_layernorm,
            fused_mixer(plain, dtype, parts) or plain.mixer,
            plain.post_attention_layernorm,
            fused_experts(plain, dtype, parts) or plain.mlp,
            "add_norm" in parts and adding.fits(x, plain.input_layernorm.weight),
        )

    def __call__(
        self, x: mx.array, pending: mx.array | None, state: LayerState | None, step: Step
    ) -> tuple[mx.array, mx.array | None]:
        """``(1, 1, D), pending -> (1, 1, D), pending``."""
        if pending is None:
            normed = self.input_layernorm(x)
        else:
            x, normed = self._add_norm(x, pending, self.input_layernorm)
        mixed = self.mixer(normed, state, step)
        x, normed = self._add_norm(x, mixed, self.post_attention_layernorm)
        if isinstance(self.mlp, FusedMoE):
            return self.mlp(normed, x), None
        if isinstance(self.mlp, MLP):
            return x, _one_token(self.mlp, normed)
        return x, self.mlp(normed)

    def _add_norm(self, x: mx.array, y: mx.array, norm: RMSNorm) -> tuple[mx.array, mx.array]:
        combine = adding.add_rms_norm if self.adds else adding.reference
        return combine(x, y, norm.weight, norm.eps)


def _one_token(mlp: MLP, x: mx.array) -> mx.array:
    """``mlp(x)`` for (1, 1, D), through one dimension: halves of a longer row would be copied."""
    hidden = swiglu(mlp.gate_up_proj(x).reshape(-1))
    return mlp.down_proj(hidden.reshape(1, 1, -1))


def fused_mixer(
    plain: Layer, dtype: mx.Dtype, parts: Collection[Part]
) -> FusedAttention | FusedDelta | None:
    """The layer's mixer with kernels; None where it is not among ``parts`` or does not fit."""
    if isinstance(plain.mixer, Attention):
        return FusedAttention.of(plain.mixer, dtype) if "attention" in parts else None
    return FusedDelta.of(plain.mixer, dtype) if "delta" in parts else None


def fused_experts(plain: Layer, dtype: mx.Dtype, parts: Collection[Part]) -> FusedMoE | None:
    """The layer's experts with kernels, likewise."""
    if "experts" not in parts or not isinstance(plain.mlp, SparseMoE):
        return None
    return FusedMoE.of(plain.mlp, plain.input_layernorm.weight.size, dtype)


@dataclass(frozen=True, slots=True)
class FusedModel:
    """A model's layers for one token of one sequence; shares all arrays with the plain ones."""

    model: Model
    layers: tuple[FusedLayer, ...]

    @classmethod
    def of(cls, model: Model, parts: Collection[Part] = PARTS) -> FusedModel:
        """The model with ``parts`` of its layers fused, where their shapes fit."""
        return cls(model, tuple(FusedLayer.of(layer, model.dtype, parts) for layer in model.layers))

    def run(self, tokens: mx.array, states: Sequence[LayerState | None], step: Step) -> mx.array:
        """``Model.run`` for tokens (1, 1) over states that have read something before."""
        x, pending = self.model.embed_tokens(tokens), None
        for layer, state in zip(self.layers, states, strict=True):
            x, pending = layer(x, pending, state, step)
        return x if pending is None else x + pending
