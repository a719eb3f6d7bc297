"""What a model will need, from its headers alone, before a byte of weights is read.

The estimate is weights as they will lie in memory, the key-value cache at the chosen context, and
a workspace: the larger of one layer (held twice while loading) and what reading one chunk of a
prompt needs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..checkpoint.directory import Directory
from ..checkpoint.layouts import read_layout
from ..checkpoint.safetensors import DTYPE_BYTES
from ..device import computes_in_float32, memory_budget, prefill_chunk
from ..errors import DoesNotFit
from ..hub.library import resolve
from ..model.capacity import cache_bytes
from ..model.config import ModelConfig
from .stretch import native_context, stretched

# Contexts are offered in steps of this many tokens, and none shorter is worth loading a model for.
_CONTEXT_STEP = 1024
_SHORTEST_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes that a model needs at a context, and whether this machine has them.

    ``str(plan)`` is a short table; ``why`` one sentence. ``notices`` are further sentences: that
    the context needs YaRN, or that a multimodal checkpoint's vision stays unread.
    """

    model: str
    context: int
    weights: int
    cache: int
    workspace: int
    budget: int
    notices: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.workspace

    @property
    def fits(self) -> bool:
        """Whether the total is within the budget."""
        return self.total <= self.budget

    @property
    def why(self) -> str:
        """One sentence that compares need and budget."""
        verb = "fits into" if self.fits else "does not fit into"
        return (
            f"{self.model} with {self.context:,} tokens of context needs {readable(self.total)} "
            f"and {verb} the {readable(self.budget)} that this machine gives."
        )

    def __str__(self) -> str:
        parts = (("weights", self.weights), ("cache", self.cache), ("workspace", self.workspace))
        lines = [f"  {name:<10}{readable(size):>10}" for name, size in parts]
        return "\n".join([self.why, *lines, *self.notices])


def readable(size: int) -> str:
    """Bytes as people read them: 1.5 GB, 340 MB, 12 KB (powers of ten)."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            number = size / scale
            return f"{number:.1f} {unit}" if number < 100 else f"{number:.0f} {unit}"
    return f"{size / 1000:.0f} KB"


def plan(
    source: str | os.PathLike[str], *, context: int | None = None, budget: int | None = None
) -> Plan:
    """What ``source`` needs on this machine.

    Args:
        source: A folder, an alias or a hub id that is on this machine already.
        context: Tokens of prompt and answer together. By default the model's own limit, or the
            longest context that fits where that does not. Beyond that limit YaRN is needed.
        budget: Bytes to stay within; by default what this machine gives.

    Raises:
        ModelNotFound: no such model here.
        CheckpointError, UnsupportedModel: its files cannot be used.
        ContextExceeded: it cannot be stretched to that context.
    """
    name = os.fspath(source)
    return plan_directory(Directory.open(resolve(name)), name, context=context, budget=budget)


def plan_directory(
    directory: Directory, name: str, *, context: int | None, budget: int | None
) -> Plan:
    """``plan`` for a folder that is open already."""
    config = ModelConfig.parse(directory.config)
    layout = read_layout(directory, config)
    stored = DTYPE_BYTES[layout.origins["model.norm.weight"].parts[0].dtype]
    width = max(stored, _width())
    sizes = {name: origin.memory_bytes(width) for name, origin in layout.origins.items()}
    senses = ", ".join(str(part) for part in layout.left_out if part.sense)
    left_out = (f"Text only, without: {senses}.",) if senses else ()
    weights = sum(sizes.values())
    available = memory_budget() if budget is None else budget

    def at(tokens: int) -> Plan:
        _, notices = stretched(config, tokens, name)
        cache = cache_bytes(config, tokens, _width())
        space = max(_largest_layer(sizes), _prefill_bytes(config, tokens))
        return Plan(name, tokens, weights, cache, space, available, (*left_out, *notices))

    if context is not None:
        return at(context)
    limit = native_context(config)
    wanted = at(limit)
    if wanted.fits or limit <= _SHORTEST_CONTEXT:
        return wanted
    # Need grows with context, so the longest context that fits is found by bisection.
    low = _SHORTEST_CONTEXT // _CONTEXT_STEP
    high = limit // _CONTEXT_STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at(middle * _CONTEXT_STEP).fits else (low, middle - 1)
    return at(low * _CONTEXT_STEP)


def require(plan: Plan) -> Plan:
    """``plan`` itself. Raises ``DoesNotFit``, with the figures, where it does not fit."""
    if not plan.fits:
        raise DoesNotFit(
            plan.why,
            "Choose a smaller model, fewer bits, or a shorter context"
            f" (weights take {readable(plan.weights)}, cache {readable(plan.cache)}).",
            plan,
        )
    return plan


def _largest_layer(sizes: dict[str, int]) -> int:
    layers: dict[str, int] = {}
    for name, size in sizes.items():
        layer = ".".join(name.split(".")[:3]) if name.startswith("model.layers.") else name
        layers[layer] = layers.get(layer, 0) + size
    return max(layers.values(), default=0)


def _width() -> int:
    """Bytes of one activation."""
    return 4 if computes_in_float32() else 2


def _prefill_bytes(config: ModelConfig, tokens: int) -> int:
    """Activations of one layer for one chunk, and one row of logits."""
    chunk = min(prefill_chunk(), tokens)
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    moe = config.moe
    inner = config.intermediate_size
    rows = 1
    if moe is not None:
        rows = moe.num_experts_per_tok
        inner = max(inner, rows * moe.moe_intermediate_size)
    per_token = 4 * config.hidden_size * rows + 3 * heads * config.head_dim + 3 * inner
    # Only the CPU writes attention scores to memory: scores, and their softmax.
    scores = 2 * config.num_attention_heads * tokens if computes_in_float32() else 0
    return chunk * (per_token + scores) * _width() + config.vocab_size * 4
