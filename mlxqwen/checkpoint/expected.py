"""Which tensors a configuration calls for, by canonical name and shape.

Canonical are Hugging Face's names, with the experts of a layer stacked as mlx-lm stores them:
``model.layers.N.mlp.switch_mlp.{gate,up,down}_proj.weight`` (E, out, in).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..model.config import ModelConfig

Expected = Iterator[tuple[str, tuple[int, ...]]]


def expected_tensors(config: ModelConfig) -> Expected:
    """Name and shape of every tensor in natural order: embeddings, layers, norm, head."""
    hidden = config.hidden_size
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        if config.is_linear(layer):
            yield from _gated_delta(prefix + "linear_attn.", config)
        else:
            yield from _attention(prefix + "self_attn.", config)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield from _feed_forward(prefix + "mlp.", config, layer)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)


def _attention(prefix: str, config: ModelConfig) -> Expected:
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    # A gated attention's query projection gives the gate as well.
    doubled = queries * (2 if config.gated_attention else 1)
    for name, out in (("q_proj", doubled), ("k_proj", keys), ("v_proj", keys)):
        yield f"{prefix}{name}.weight", (out, config.hidden_size)
        if config.attention_bias:
            yield f"{prefix}{name}.bias", (out,)
    yield prefix + "o_proj.weight", (config.hidden_size, queries)
    if config.output_bias:
        yield prefix + "o_proj.bias", (config.hidden_size,)
    if config.qk_norm:
        yield prefix + "q_norm.weight", (config.head_dim,)
        yield prefix + "k_norm.weight", (config.head_dim,)


def _gated_delta(prefix: str, config: ModelConfig) -> Expected:
    delta, hidden = config.delta, config.hidden_size
    assert delta is not None
    heads = delta.num_value_heads
    if delta.grouped:
        yield prefix + "in_proj_qkvz.weight", (delta.conv_dim + delta.value_dim, hidden)
        yield prefix + "in_proj_ba.weight", (2 * heads, hidden)
    else:
        yield prefix + "in_proj_qkv.weight", (delta.conv_dim, hidden)
        yield prefix + "in_proj_z.weight", (delta.value_dim, hidden)
        yield prefix + "in_proj_b.weight", (heads, hidden)
        yield prefix + "in_proj_a.weight", (heads, hidden)
    yield prefix + "conv1d.weight", (delta.conv_dim, delta.conv_kernel_dim, 1)
    yield prefix + "A_log", (heads,)
    yield prefix + "dt_bias", (heads,)
    yield prefix + "norm.weight", (delta.value_head_dim,)
    yield prefix + "out_proj.weight", (hidden, delta.value_dim)


def _feed_forward(prefix: str, config: ModelConfig, layer: int) -> Expected:
    hidden, moe = config.hidden_size, config.moe
    if moe is None or not config.is_sparse(layer):
        yield from _mlp(prefix, (), hidden, config.intermediate_size)
        return
    yield prefix + "gate.weight", (moe.num_experts, hidden)
    yield from _mlp(prefix + "switch_mlp.", (moe.num_experts,), hidden, moe.moe_intermediate_size)
    if moe.shared_expert_intermediate_size:
        shared = moe.shared_expert_intermediate_size
        yield from _mlp(prefix + "shared_expert.", (), hidden, shared)
        yield prefix + "shared_expert_gate.weight", (1, hidden)


def _mlp(prefix: str, lead: tuple[int, ...], hidden: int, inner: int) -> Expected:
    yield prefix + "gate_proj.weight", (*lead, inner, hidden)
    yield prefix + "up_proj.weight", (*lead, inner, hidden)
    yield prefix + "down_proj.weight", (*lead, hidden, inner)


def is_zero_centred(name: str, config: ModelConfig) -> bool:
    """Whether a norm's factor is 1 + w in this architecture; a gated delta net's own is not."""
    return config.zero_centred_norms and name.endswith(
        ("layernorm.weight", ".q_norm.weight", ".k_norm.weight", "model.norm.weight")
    )


def is_exact(name: str, config: ModelConfig) -> bool:
    """Whether the tensor loses by being rounded below float32."""
    return is_zero_centred(name, config) or name.endswith(
        (".A_log", ".dt_bias", ".linear_attn.norm.weight")
    )
