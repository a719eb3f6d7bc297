"""The decoder: read this file first.

A Qwen model is an embedding, a stack of layers, a final norm and an output head. A layer adds to
its input what attention makes of it, then what the feed-forward makes of that, each behind an
RMSNorm. What differs between the family's members (biases, q/k norms, experts, quantisation,
position scaling) is chosen once, in ``build``, and never asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

from .attention import Attention, Rope, make_rope
from .cache import Cache, KVCache
from .config import ModelConfig
from .linear import Embedding, Params, Projection, QuantizedEmbedding
from .mlp import MLP
from .moe import DenseMoE, SparseMoE, feed_forward

Experts = Literal["gathered", "dense"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer."""

    input_layernorm: mx.array
    self_attn: Attention
    post_attention_layernorm: mx.array
    mlp: MLP | SparseMoE | DenseMoE
    eps: float

    @classmethod
    def build(
        cls, config: ModelConfig, params: Params, index: int, rope: Rope, experts: Experts
    ) -> Layer:
        """Takes the tensors of layer ``index``."""
        path, width = f"model.layers.{index}", config.hidden_size
        return cls(
            params.take(f"{path}.input_layernorm.weight", (width,)),
            Attention.build(config, params, f"{path}.self_attn", rope),
            params.take(f"{path}.post_attention_layernorm.weight", (width,)),
            feed_forward(config, params, f"{path}.mlp", index, experts),
            config.rms_norm_eps,
        )

    def __call__(
        self,
        x: mx.array,
        cache: KVCache | None,
        offset: int,
        positions: int | mx.array,
        mask: mx.array | str | None,
    ) -> mx.array:
        """``(B, L, D) -> (B, L, D)``; the arguments are those of ``Attention``."""
        normed = mx.fast.rms_norm(x, self.input_layernorm, self.eps)
        x = x + self.self_attn(normed, cache, offset, positions, mask)
        return x + self.mlp(mx.fast.rms_norm(x, self.post_attention_layernorm, self.eps))


@dataclass(frozen=True, slots=True)
class Model:
    """A Qwen language model: ``model(tokens (B, L), cache) -> logits (B, L, V)``."""

    config: ModelConfig
    embed_tokens: Embedding | QuantizedEmbedding
    layers: tuple[Layer, ...]
    norm: mx.array
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
        rope = make_rope(config.rope, config.head_dim)
        layers = tuple(
            Layer.build(config, params, index, rope, experts)
            for index in range(config.num_hidden_layers)
        )
        norm = params.take("model.norm.weight", (width,))
        tied = config.tie_word_embeddings
        head = embed.as_head() if tied else params.linear("lm_head", vocab, width)
        return cls(config, embed, layers, norm, head, dtype)

    def __call__(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """Logits of every position.

        Args:
            tokens: ``(B, L)`` token ids of any integer dtype.
            cache: From ``make_cache``; advanced by L. None reads ``tokens`` as whole sequences.

        Returns:
            ``(B, L, V)`` in the model's compute dtype.
        """
        return self.logits(self.hidden(tokens, cache))

    def hidden(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """The layers without norm and head: ``(B, L) -> (B, L, D)``."""
        batch, length = tokens.shape
        offset = 0
        padding = None
        if cache is not None:
            cache.reserve(batch, length)
            offset, padding = cache.offset, cache.left_padding
        positions = offset if padding is None else offset - padding
        mask = attention_mask(length, offset, padding)
        x = self.embed_tokens(tokens)
        states = cache.layers if cache is not None else (None,) * len(self.layers)
        for layer, state in zip(self.layers, states, strict=True):
            x = layer(x, state, offset, positions, mask)
        if cache is not None:
            cache.advance(length)
        return x

    def logits(self, hidden: mx.array) -> mx.array:
        """Final norm and head: ``(..., D) -> (..., V)``."""
        return self.lm_head(mx.fast.rms_norm(hidden, self.norm, self.config.rms_norm_eps))


def attention_mask(length: int, offset: int, padding: mx.array | None) -> mx.array | str | None:
    """What each of ``length`` new tokens may see of ``offset`` old ones and of each other.

    Without padding MLX's own causal mask serves. With it the result is boolean, ``(B, 1, L, T)``;
    a padding token sees itself, for a row that sees nothing would turn into NaN and spread.
    """
    if padding is None:
        return None if length == 1 else "causal"
    query = mx.arange(offset, offset + length)[:, None]  # (L, 1)
    key = mx.arange(offset + length)[None, :]  # (1, T)
    real = key >= padding[:, None, None]  # (B, 1, T)
    return ((key <= query) & (real | (key == query)))[:, None]
