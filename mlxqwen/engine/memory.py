"""What a model will need, before a byte of weights is read: from headers, or from the catalogue.

The estimate is weights as they will lie in memory, the key-value cache at the chosen context, and
a workspace: the larger of one layer (held twice while loading) and what reading one chunk of a
prompt needs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..checkpoint.directory import Directory
from ..checkpoint.layouts import read_layout
from ..checkpoint.safetensors import DTYPE_BYTES
from ..device import computes_in_float32, memory_budget
from ..errors import DoesNotFit, ModelNotFound, UsageError
from ..hub.catalogue import KnownModel, find
from ..hub.configurations import configuration
from ..hub.library import resolve
from ..model.capacity import cache_bytes
from ..model.config import ModelConfig
from .known import memory_sizes, quantised_bytes, released_bytes
from .stretch import native_context, stretched

# Contexts are offered in steps of this many tokens, and none shorter is worth loading a model for.
_CONTEXT_STEP = 1024
_SHORTEST_CONTEXT = 2048

Source = Literal["headers", "verified", "derived"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes that a model needs at a context, and whether this machine has them.

    ``str(plan)`` is a short table; ``why`` one sentence. ``notices`` are further sentences: that
    the context needs YaRN, or that a multimodal checkpoint's vision stays unread.

    ``source`` says what the weights were counted from: the ``headers`` of files on this machine, a
    total of the published files that is ``verified``, or one ``derived`` from the configuration.
    ``stored`` counts the tensors in those files, which differs from ``weights`` in memory: files
    hold parts that are never loaded, and the CPU computes in float32.
    """

    model: str
    context: int
    weights: int
    cache: int
    workspace: int
    budget: int
    notices: tuple[str, ...] = ()
    source: Source = "headers"
    stored: int = 0

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
    source: str | os.PathLike[str],
    *,
    context: int | None = None,
    budget: int | None = None,
    bits: int | None = None,
) -> Plan:
    """What ``source`` needs on this machine.

    Args:
        source: A folder, or an alias or hub id; of a released model that is not on this machine,
            its published configuration decides.
        context: Tokens of prompt and answer together. By default the model's own limit, or the
            longest context that fits where that does not. Beyond that limit YaRN is needed.
        budget: Bytes to stay within; by default what this machine gives.
        bits: Plans the form that ``mlxqwen quantize --bits`` writes, in place of the one named.

    Raises:
        ModelNotFound: no such model here, and its configuration is not known either.
        CheckpointError, UnsupportedModel: its files cannot be used.
        ContextExceeded: it cannot be stretched to that context.
        UsageError: MLX has no matrices of so many bits.
    """
    name = os.fspath(source)
    known = find(name)
    try:
        directory = Directory.open(resolve(name))
    except ModelNotFound:
        declared = None if known is None else configuration(known)
        if known is None or declared is None:
            raise
        if bits is None and name.lower() in {conversion.lower() for conversion in known.mlx_ids}:
            bits = 4
        config = ModelConfig.parse(declared)
        return _plan_known(known, config, name, context=context, budget=budget, bits=bits)
    if bits is None:
        return plan_directory(directory, name, context=context, budget=budget)
    config = ModelConfig.parse(directory.config)
    weights = _Weights(
        memory_sizes(config, _width(), bits), quantised_bytes(config, bits), "derived"
    )
    return _at_best(weights, config, name, context=context, budget=budget)


def plan_directory(
    directory: Directory, name: str, *, context: int | None, budget: int | None
) -> Plan:
    """``plan`` for a folder that is open already."""
    config = ModelConfig.parse(directory.config)
    layout = read_layout(directory, config)
    stored = DTYPE_BYTES[layout.origins["model.norm.weight"].parts[0].dtype]
    width = max(stored, _width())
    sizes = {name: origin.memory_bytes(width) for name, origin in layout.origins.items()}
    making = {name: origin.making_bytes for name, origin in layout.origins.items()}
    senses = ", ".join(str(part) for part in layout.left_out if part.sense)
    left_out = (f"Text only, without: {senses}.",) if senses else ()
    total = sum(tensor.nbytes for tensor in directory.tensors.values())
    weights = _Weights(sizes, total, "headers", left_out, making)
    return _at_best(weights, config, name, context=context, budget=budget)


def plan_sizes(
    sizes: Mapping[str, int], config: ModelConfig, name: str, *, context: int | None = None
) -> Plan:
    """``plan`` for a model that is not written yet.

    Args:
        sizes: Bytes in memory of every tensor, by canonical name.
    """
    weights = _Weights(sizes, sum(sizes.values()), "derived")
    return _at_best(weights, config, name, context=context, budget=None)


def _plan_known(
    known: KnownModel,
    config: ModelConfig,
    name: str,
    *,
    context: int | None,
    budget: int | None,
    bits: int | None,
) -> Plan:
    """``plan`` from the catalogue alone."""
    if bits is None:
        stored, published = released_bytes(known, config), known.tensor_bytes
        verified = known.verified and stored == published
    else:
        stored = quantised_bytes(config, bits)
        verified = bits == 4 and stored == known.mlx_bytes
    basis = "equal those of the published files" if verified else "follow from its configuration"
    form = "" if bits is None else f" in {bits} bits"
    notice = f"{name}{form} is not on this machine; these figures {basis}."
    source: Source = "verified" if verified else "derived"
    weights = _Weights(memory_sizes(config, _width(), bits), stored, source, (notice,))
    return _at_best(weights, config, name, context=context, budget=budget)


@dataclass(frozen=True, slots=True)
class _Weights:
    """``sizes`` in memory by canonical name, and the other fields of a plan that they decide.

    ``making`` is what loading takes beside a tensor while it is made of foreign codes.
    """

    sizes: Mapping[str, int]
    stored: int
    source: Source
    notices: tuple[str, ...] = ()
    making: Mapping[str, int] = field(default_factory=dict[str, int])


def _at_best(
    weights: _Weights, config: ModelConfig, name: str, *, context: int | None, budget: int | None
) -> Plan:
    """The plan at ``context``, or at the longest one that fits."""
    available = memory_budget() if budget is None else budget
    total = sum(weights.sizes.values())
    making = weights.making
    layer = _largest_layer({n: size + making.get(n, 0) for n, size in weights.sizes.items()})

    def at(tokens: int) -> Plan:
        _, notices = stretched(config, tokens, name)
        return Plan(
            model=name,
            context=tokens,
            weights=total,
            cache=cache_bytes(config, tokens, _width()),
            workspace=max(layer, _prefill_bytes(config, tokens)),
            budget=available,
            notices=(*weights.notices, *notices),
            source=weights.source,
            stored=weights.stored,
        )

    if context is not None:
        if context < 1:
            raise UsageError(f"A context of {context} tokens holds nothing; it must be at least 1.")
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


def bytes_in_use(weights: int, config: ModelConfig, tokens: int) -> int:
    """Bytes that a loaded model takes once it has read and written ``tokens`` in one sequence."""
    return weights + cache_bytes(config, tokens, _width()) + _prefill_bytes(config, tokens)


def _largest_layer(sizes: Mapping[str, int]) -> int:
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
    chunk = min(config.prefill_chunk, tokens)
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
