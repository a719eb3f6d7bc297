"""How far a model's predictions move when some of its matrices are rounded: true KL, of many such
changes in one pass over the checkpoint.

Each variant has its own stream of hidden states, which all pass through a layer while it is in
memory. A variant costs nothing before the first layer that it changes. So a checkpoint is read once
whatever is tried, and memory holds one layer, one changed copy of it, and the streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlxqwen.checkpoint.stored import float_dtype
from mlxqwen.model.decoder import Layer
from mlxqwen.model.linear import Stored, arrays_of
from mlxqwen.model.quantspec import QuantSpec

from .divergence import CHUNK_NUMBERS, compare
from .guidance import Guidance
from .layerwise import EMBEDDING, HEAD, Head, Layerwise, Replace
from .recipes import Rounding
from .search import search_affine

# Numbers of a chunk that is rounded at once: 32 MiB in float32.
_CHUNK_NUMBERS = 8 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """A model with other matrices for ``modules``; ``replace`` leaves all others as they are."""

    modules: frozenset[str]
    replace: Replace

    def touches(self, prefix: str) -> bool:
        """Whether it changes the module of that path, or one below it."""
        return any(m == prefix or m.startswith(f"{prefix}.") for m in self.modules)


def restored(
    rows: mx.array, spec: QuantSpec, rounding: Rounding, weights: mx.array | None
) -> mx.array:
    """What rows (any, width) are worth after being rounded, in float32.

    Args:
        weights: Importance of each input, (1 or any, width).
    """
    if rounding == "searched" and spec.mode == "affine":
        packed = search_affine(rows, spec, weights)
    else:
        packed = tuple(
            mx.quantize(rows, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
        )
    words, *scales = packed
    if spec.has_biases:
        scales = [part.astype(mx.float32) for part in scales]
    return mx.dequantize(
        words,
        *scales,
        group_size=spec.group_size,
        bits=spec.bits,
        mode=spec.mode,
        dtype=mx.float32,
    )


def rounded(
    matrix: Stored,
    module: str,
    spec: QuantSpec | None,
    target: str,
    rounding: Rounding,
    guidance: Guidance,
) -> Stored:
    """A matrix (…, out, in) as its quantised form multiplies, in floating numbers.

    Args:
        target: The safetensors dtype that it is cast to before it is rounded.
    """
    if spec is None:
        return matrix
    weight = floating(matrix)
    width, out = weight.shape[-1], weight.shape[-2]
    rows = weight.reshape(-1, width).astype(float_dtype(target))
    size = max(1, _CHUNK_NUMBERS // width)
    parts: list[mx.array] = []
    for start in range(0, rows.shape[0], size):
        stop = min(start + size, rows.shape[0])
        importance = guidance.weights_of(module, out, start, stop)
        part = restored(rows[start:stop], spec, rounding, importance).astype(weight.dtype)
        mx.eval(part)
        parts.append(part)
    whole = parts[0] if len(parts) == 1 else mx.concatenate(parts)
    return Stored(whole.reshape(weight.shape), None, None, None)


def floating(matrix: Stored) -> mx.array:
    """The numbers of a matrix that may be packed."""
    spec = matrix.spec
    if spec is None or matrix.scales is None:
        return matrix.weight
    return mx.dequantize(
        matrix.weight,
        matrix.scales,
        matrix.biases,
        group_size=spec.group_size,
        bits=spec.bits,
        mode=spec.mode,
    )


def divergences(
    source: Layerwise,
    tokens: mx.array,
    variants: Sequence[Variant],
    report: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Mean KL(source‖variant) in nats per token, of each variant.

    Args:
        tokens: (B, L) ids; every position counts.
        report: Told layers done, and all of them with embedding and head.
    """
    layers = source.config.num_hidden_layers
    plain = source.embed(tokens)
    mx.eval(plain)
    streams: dict[int, mx.array] = {}
    for number, variant in enumerate(variants):
        if variant.touches(EMBEDDING):
            streams[number] = source.embedding(variant.replace)(tokens)
            mx.eval(streams[number])
    source.release()
    for index in range(layers):
        if report is not None:
            report(index, layers + 1)
        plain = _through(source, index, variants, plain, streams)
        # Layers differ in size: what this one took is room for the next.
        mx.clear_cache()
    if report is not None:
        report(layers, layers + 1)
    return _compared(source, variants, plain, streams)


def _through(
    source: Layerwise,
    index: int,
    variants: Sequence[Variant],
    plain: mx.array,
    streams: dict[int, mx.array],
) -> mx.array:
    """Brings all streams through layer ``index``; returns what it makes of the plain one."""
    step = source.step(plain.shape[1])
    tensors = source.tensors(index)
    layer = _ready(source.build(index, tensors))
    for number, variant in enumerate(variants):
        own = layer
        if variant.touches(f"model.layers.{index}"):
            own = _ready(source.build(index, tensors, variant.replace))
        elif number not in streams:
            continue
        streams[number] = own(streams.get(number, plain), None, step)
        mx.eval(streams[number])
    plain = layer(plain, None, step)
    mx.eval(plain)
    return plain


def _ready(layer: Layer) -> Layer:
    mx.eval(list(arrays_of(layer)))
    return layer


def _compared(
    source: Layerwise, variants: Sequence[Variant], plain: mx.array, streams: dict[int, mx.array]
) -> list[float]:
    width = source.config.hidden_size
    rows = plain.reshape(-1, width)
    module = EMBEDDING if source.config.tie_word_embeddings else HEAD
    head = source.head()
    found = [0.0] * len(variants)
    same = [n for n, variant in enumerate(variants) if not variant.touches(module)]
    own = [n for n, variant in enumerate(variants) if variant.touches(module)]
    groups: list[tuple[Callable[[], Head], list[int]]] = [(lambda: head, same)]
    for number in own:
        groups.append((lambda v=variants[number]: source.head(v.replace), [number]))
    chunk = max(1, CHUNK_NUMBERS // source.config.vocab_size)
    for make, members in groups:
        changed = make()
        for start in range(0, rows.shape[0] if members else 0, chunk):
            logits = head(rows[start : start + chunk])
            came = mx.zeros(logits.shape[0], mx.int32)
            for number in members:
                stream = streams.get(number, plain).reshape(-1, width)[start : start + chunk]
                kl = compare(logits, changed(stream), came).kl.sum().item()
                assert isinstance(kl, float)
                found[number] += kl / rows.shape[0]
    return found
