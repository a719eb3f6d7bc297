"""What training minimises: next-token loss, with every expert kept at work.

The model is built anew from its parameters inside the loss, so that the very classes that run it
also train it; building costs nothing beside the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

from ..errors import UnsupportedModel
from ..model.config import ModelConfig
from ..model.decoder import Model
from ..model.moe import DenseMoE, route
from ..model.params import Params
from ..model.step import Step
from .arithmetic import logsumexp, swiglu

_GROUP, _BITS = 64, 4


@dataclass(frozen=True, slots=True)
class Loss:
    """``text``: nats per counted token; ``balance``: 1 where experts share evenly, else more."""

    text: mx.array
    balance: mx.array


def rounded(weight: mx.array) -> mx.array:
    """``weight`` as 4-bit storage gives it back, with the gradient of the unrounded one.

    Straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): the forward pass sees the
    rounding, so training moves the weights to where rounding does no harm.
    """
    stored = weight.astype(mx.bfloat16)
    packed = mx.quantize(stored, group_size=_GROUP, bits=_BITS)
    back = mx.dequantize(*packed, group_size=_GROUP, bits=_BITS).astype(weight.dtype)
    return weight + mx.stop_gradient(back - weight)


def as_stored(parameters: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """All matrices ``rounded`` but the routers, which are stored in eight bits."""
    return {
        name: value if value.ndim < 2 or name.endswith("mlp.gate.weight") else rounded(value)
        for name, value in parameters.items()
    }


def forward(model: Model, tokens: mx.array) -> tuple[mx.array, mx.array]:
    """``(B, L) -> (B, L, D)`` hidden states and the mean balance of the layers.

    Raises:
        UnsupportedModel: if a layer has no experts.
    """
    x = model.embed_tokens(tokens)
    balances: list[mx.array] = []
    step = Step.over(tokens.shape[1], 0, None)
    for layer in model.layers:
        if not isinstance(layer.mlp, DenseMoE):
            raise UnsupportedModel("Only models with experts in every layer are trained here.")
        x = x + layer.mixer(layer.input_layernorm(x), None, step)
        mixed, balance = mixture(layer.mlp, layer.post_attention_layernorm(x))
        x = x + mixed
        balances.append(balance)
    return x, mx.stack(balances).mean()


def mixture(layer: DenseMoE, x: mx.array) -> tuple[mx.array, mx.array]:
    """What ``layer(x)`` computes, ``(B, L, D) -> (B, L, D)``, and how evenly its experts work.

    All experts are two large products here instead of many small ones, and no gradient meets a
    scatter; each expert's share is applied before the second product, which then also sums.

    Balance is the auxiliary loss of Fedus et al. 2021 (arXiv 2101.03961), equation 4: experts
    times the sum over experts of (share of tokens sent) x (mean probability).
    """
    experts, width = layer.moe.num_experts, x.shape[-1]
    rows = x.reshape(-1, width)  # (N, D)
    logits = layer.gate(rows)  # (N, E)
    probabilities = mx.softmax(logits, axis=-1)
    chosen, _ = route(mx.stop_gradient(logits), layer.moe)  # (N, k)
    sent = (chosen[..., None] == mx.arange(experts)).any(axis=1).astype(x.dtype)  # (N, E)
    shares = probabilities * sent
    if layer.moe.norm_topk_prob:
        shares = shares / shares.sum(axis=-1, keepdims=True)
    gate, up = (
        rows @ part.reshape(-1, width).T for part in mx.split(layer.gate_up_proj, 2, axis=1)
    )  # (N, E·I)
    hidden = swiglu(gate, up).reshape(rows.shape[0], experts, -1) * shares[..., None]  # (N, E, I)
    hidden = hidden.reshape(rows.shape[0], -1)  # (N, E·I)
    out = hidden @ layer.down_proj.swapaxes(-1, -2).reshape(-1, width)  # (N, D)
    balance = experts * (sent.mean(axis=0) * probabilities.mean(axis=0)).sum()
    return out.reshape(x.shape), balance / layer.moe.num_experts_per_tok


def loss(
    config: ModelConfig,
    parameters: Mapping[str, mx.array],
    tokens: mx.array,
    counted: mx.array,
) -> Loss:
    """Mean next-token loss of rows ``tokens`` (B, L + 1) at the positions ``counted`` (N,).

    Positions index the flattened (B, L) predictions; the head is computed for these alone.
    """
    model = Model.build(config, Params(parameters), experts="dense")
    hidden, balance = forward(model, tokens[:, :-1])
    logits = model.logits(hidden.reshape(-1, config.hidden_size)[counted])  # (N, V)
    targets = tokens[:, 1:].reshape(-1)[counted]
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
    return Loss((logsumexp(logits) - chosen).mean(), balance)
