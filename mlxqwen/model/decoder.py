"""The decoder: read this file first.

A Qwen model is an embedding, a stack of layers, a final norm and an output head. A layer adds to
its input what its mixer makes of it (attention, or a gated delta net), then what its feed-forward
makes of that (one dense MLP, or a few of many experts), each behind an RMSNorm. What differs
between the family's members is chosen once, in ``build``, and never asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

from .attention import Attention, Rope, make_rope
from .cache import Cache, LayerState
from .config import ModelConfig
from .gated_delta import GatedDelta
from .linear import Embedding, Projection, QuantizedEmbedding
from .mlp import MLP
from .moe import DenseMoE, SparseMoE, feed_forward
from .norm import RMSNorm
from .params import Params
from .step import Step

Experts = Literal["gathered", "dense"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer."""

    input_layernorm: RMSNorm
    mixer: Attention | GatedDelta
    post_attention_layernorm: RMSNorm
    mlp: MLP | SparseMoE | DenseMoE

    @classmethod
    def build(
        cls, config: ModelConfig, params: Params, index: int, rope: Rope, experts: Experts
    ) -> Layer:
        """Takes the tensors of layer ``index``."""
        path, width = f"model.layers.{index}", config.hidden_size
        return cls(
            RMSNorm.build(config, params, f"{path}.input_layernorm", width),
            GatedDelta.build(config, params, f"{path}.linear_attn")
            if config.is_linear(index)
            else Attention.build(config, params, f"{path}.self_attn", rope),
            RMSNorm.build(config, params, f"{path}.post_attention_layernorm", width),
            feed_forward(config, params, f"{path}.mlp", index, experts),
        )

    def __call__(self, x: mx.array, state: LayerState | None, step: Step) -> mx.array:
        """``(B, L, D) -> (B, L, D)``."""
        x = x + self.mixer(self.input_layernorm(x), state, step)
        return x + self.mlp(self.post_attention_layernorm(x))


@dataclass(frozen=True, slots=True)
class Model:
    """A Qwen language model: ``model(tokens (B, L), cache) -> logits (B, L, V)``."""

    config: ModelConfig
    embed_tokens: Embedding | QuantizedEmbedding
    layers: tuple[Layer, ...]
    norm: RMSNorm
    lm_head: Projection
    dtype: mx.Dtype

    @classmethod
    def build(cls, config: ModelConfig, params: Params, *, experts: Experts = "gathered") -> Model:
        """Builds the model from a checkpoint's tensors, taking each once.

        Args:
            experts: "gathered" computes the chosen experts only; "dense" computes all and masks,
                which training differentiates.

        Raises:
            CheckpointError: if a tensor is missing or has another shape than ``config`` asks for.
        """
        vocab, width = config.vocab_size, config.hidden_size
        dtype = params.dtype
        embed = params.embedding("model.embed_tokens", vocab, width)
        rope = make_rope(config.rope, config.rotary_dims)
        layers = tuple(
            Layer.build(config, params, index, rope, experts)
            for index in range(config.num_hidden_layers)
        )
        norm = RMSNorm.build(config, params, "model.norm", width)
        tied = config.tie_word_embeddings
        head = embed.as_head() if tied else params.linear("lm_head", vocab, width)
        return cls(config, embed, layers, norm, head, dtype)

    def __call__(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """Logits of every position.

        Args:
            tokens: ``(B, L)`` token ids of any integer dtype, all within the vocabulary: MLX does
                not check, and an id beyond reads memory that is not the table's.
            cache: From ``make_cache``; advanced by L. None reads ``tokens`` as whole sequences.

        Returns:
            ``(B, L, V)`` in the model's compute dtype.
        """
        return self.logits(self.hidden(tokens, cache))

    def hidden(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """The layers without norm and head: ``(B, L) -> (B, L, D)``."""
        batch, length = tokens.shape
        if cache is None:
            return self.run(tokens, (None,) * len(self.layers), Step.over(length, 0, None))
        cache.reserve(batch, length)
        step = Step.over(length, cache.offset, cache.left_padding)
        x = self.run(tokens, cache.layers, step)
        cache.advance(length)
        return x

    def run(self, tokens: mx.array, states: Sequence[LayerState | None], step: Step) -> mx.array:
        """``hidden`` for a step made by the caller, who also reserves room and advances."""
        x = self.embed_tokens(tokens)
        for layer, state in zip(self.layers, states, strict=True):
            x = layer(x, state, step)
        return x

    def logits(self, hidden: mx.array) -> mx.array:
        """Final norm and head: ``(..., D) -> (..., V)``."""
        return self.lm_head(self.norm(hidden))
