"""Which fused parts a model uses on this chip: decided once by trial, and remembered.

A part is tried on real weights of the first layer that has it. It must agree with the plain part
within the dtype's rounding, and be faster. The verdict is kept per chip, MLX version and shape, so
that answers do not change from run to run. Whatever goes wrong, the plain part is used and the log
says why.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import cast

import mlx.core as mx

from ..device import device
from .attention import Attention
from .cache import DeltaState, KVCache, LayerState
from .decoder import Layer, Model
from .fused import PARTS, FusedLayer, FusedModel, Part, fused_experts, fused_mixer
from .kernels.make import available
from .linear import arrays_of
from .step import Step
from .verdicts import Verdict, remember, verdicts

_LOG = logging.getLogger("mlxqwen.kernels")
# Relative error of a part's output against the plain part's, both rounded in their own places.
_TOLERANCE = {mx.float32: 1e-4, mx.float16: 5e-3, mx.bfloat16: 4e-2}
_REPEATS, _CALLS = 5, 20


def fused_model(model: Model, record: Path) -> FusedModel | None:
    """The model with the parts that proved themselves here; None where kernels cannot run.

    Trials take some milliseconds each; verdicts that ``record`` holds are not tried again.
    """
    if not available():
        return None
    known = verdicts(record)
    fresh: dict[str, Verdict] = {}
    parts: list[Part] = []
    for part in PARTS:
        layer = next((one for one in model.layers if _has(one, part, model.dtype)), None)
        if layer is None:
            continue
        key = _key(model, layer, part)
        verdict = known.get(key) or _try(model, layer, part)
        if key not in known:
            fresh[key] = verdict
        if verdict.used:
            parts.append(part)
    if fresh:
        remember(record, {**known, **fresh})
    return FusedModel.of(model, parts) if parts else None


def _has(layer: Layer, part: Part, dtype: mx.Dtype) -> bool:
    if part == "add_norm":
        return FusedLayer.of(layer, dtype, (part,)).adds
    if part == "experts":
        return fused_experts(layer, dtype, (part,)) is not None
    return fused_mixer(layer, dtype, (part,)) is not None


def _key(model: Model, layer: Layer, part: Part) -> str:
    config = model.config
    # The arrays' shapes tell how they are quantised, which the configuration here does not.
    shapes = [(array.shape, str(array.dtype)) for array in arrays_of(layer)]
    shape = hashlib.sha256(f"{config} {shapes}".encode()).hexdigest()[:12]
    facts = (
        device().name,
        f"MLX {version('mlx')}",
        config.model_type,
        shape,
        str(model.dtype),
        part,
    )
    return " | ".join(facts)


def _try(model: Model, layer: Layer, part: Part) -> Verdict:
    try:
        fused, plain = _calls(model, layer, part)
        made, expected = fused(0).astype(mx.float32), plain(0).astype(mx.float32)
        error = cast(float, (mx.linalg.norm(made - expected) / mx.linalg.norm(expected)).item())
        if not error <= _TOLERANCE[model.dtype]:
            return _refuse(Verdict(part, False, "it differs from the plain operations", error))
        plain_us, fused_us = _microseconds(plain), _microseconds(fused)
    except (RuntimeError, ValueError) as failure:
        return _refuse(Verdict(part, False, f"it failed: {failure}"))
    faster = fused_us < plain_us
    why = "it is faster" if faster else "the plain operations are faster"
    return Verdict(part, faster, why, error, plain_us, fused_us)


def _refuse(verdict: Verdict) -> Verdict:
    _LOG.warning("The fused %s is not used: %s.", verdict.part, verdict.why)
    return verdict


def _calls(
    model: Model, layer: Layer, part: Part
) -> tuple[Callable[[int], mx.array], Callable[[int], mx.array]]:
    """The layer with the part fused and without, each of the number of a random input."""
    config, dtype = model.config, model.dtype
    shape = (_CALLS, 1, 1, config.hidden_size)
    inputs = mx.random.normal(shape, key=mx.random.key(0)).astype(dtype)
    step = Step.over(1, 1, None)
    before = mx.random.normal(shape[1:], key=mx.random.key(1)).astype(dtype)

    def call(fused: FusedLayer) -> Callable[[int], mx.array]:
        def run(index: int) -> mx.array:
            state = _state(model, layer, before)
            x, pending = fused(inputs[index], inputs[index - 1], state, step)
            return x if pending is None else x + pending

        return run

    return call(FusedLayer.of(layer, dtype, (part,))), call(FusedLayer.of(layer, dtype, ()))


def _state(model: Model, layer: Layer, before: mx.array) -> LayerState:
    """What the layer remembers after one token."""
    config = model.config
    state: LayerState = DeltaState()
    if isinstance(layer.mixer, Attention):
        state = KVCache(config.num_key_value_heads, config.head_dim, model.dtype)
        state.reserve(1, 0, 2)
    layer.mixer(before, state, Step.over(1, 0, None))
    return state


def _microseconds(call: Callable[[int], mx.array]) -> float:
    """Time of one call among twenty that are handed over at once, the best of five times."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        mx.eval([call(index) for index in range(_CALLS)])
        best = min(best, time.perf_counter() - began)
    return best / _CALLS * 1e6
