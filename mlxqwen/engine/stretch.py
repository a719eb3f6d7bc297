"""Contexts beyond what a configuration allows: YaRN, switched on because a person asked for it.

YaRN here is static: it changes every position, also those of short texts, which costs a little
accuracy there. So it is off until a longer context is asked for, and its factor is the smallest
published one that reaches. A configuration that asks for YaRN itself is followed at all lengths.
"""

from __future__ import annotations

from ..errors import ContextExceeded
from ..model.config import ModelConfig, yarn_config
from ..model.fields import Fields

# What Qwen's model cards use: 2 for 64k, 4 for 128k.
_FACTORS = (2.0, 4.0)
# The models of April 2025 were trained on 32,768 positions; their configurations allow 40,960, to
# leave room for a prompt beside an answer of that length (model card of Qwen3-8B).
_ALLOWED, _TRAINED = 40_960, 32_768


def native_context(config: ModelConfig) -> int:
    """Tokens that the configuration itself allows, its own YaRN included."""
    yarn = config.rope.yarn
    if yarn is None:
        return config.max_position_embeddings
    stretched = int(yarn.factor * yarn.original_max_position_embeddings)
    return max(config.max_position_embeddings, stretched)


def longest_context(config: ModelConfig) -> int:
    """Tokens that can be asked for, with YaRN switched on where that takes it further."""
    native = native_context(config)
    return native if config.rope.yarn is not None else max(native, _reach(config, _FACTORS[-1]))


def stretched(config: ModelConfig, context: int, name: str) -> tuple[ModelConfig, tuple[str, ...]]:
    """``config`` with positions for ``context`` tokens, and sentences for the user about it.

    Args:
        name: What the user calls the model.

    Raises:
        ContextExceeded: no published factor reaches that far.
    """
    if context <= native_context(config):
        return config, ()
    factor = next((factor for factor in _FACTORS if _reach(config, factor) >= context), None)
    if factor is None or config.rope.yarn is not None:
        limit = longest_context(config)
        raise ContextExceeded(
            f"{name} reaches {limit:,} tokens of context at most; {context:,} were asked for.",
            f"Ask for {limit:,} or fewer.",
        )
    original = _original(config)
    notice = (
        f"YaRN is on with factor {factor:g}: {name} was trained on {original:,} positions, and "
        f"{context:,} tokens of context need more. Answers to short texts can be a little worse."
    )
    return config.with_yarn(yarn_config(factor, original, Fields({}))), (notice,)


def _original(config: ModelConfig) -> int:
    """Positions that the model was trained on."""
    allowed = config.max_position_embeddings
    first = config.model_type in ("qwen3", "qwen3_moe") and allowed == _ALLOWED
    return _TRAINED if first else allowed


def _reach(config: ModelConfig, factor: float) -> int:
    return int(factor * _original(config))
