"""What goes into each matrix of a layer, told while the layer computes.

The layer's projections are wrapped, so that a recorded layer computes what the plain one does. The
rows of stacked experts come with the expert that reads them and the weight that the router gives
to what it makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import mlx.core as mx

from mlxqwen.model.attention import Attention
from mlxqwen.model.config import MoEConfig
from mlxqwen.model.decoder import Layer
from mlxqwen.model.gated_delta import GatedDelta
from mlxqwen.model.linear import Projection
from mlxqwen.model.mlp import MLP
from mlxqwen.model.moe import DenseMoE, SharedExpert, SparseMoE, StackedProjection, route


@dataclass(frozen=True, slots=True)
class Input:
    """What some matrices of a layer multiply: one input serves all that are fused.

    Attributes:
        modules: Canonical paths of the matrices that read it.
        rows: ``(R, in)``. Of experts each row comes once for every expert that was chosen for it,
            in no promised order.
        experts: ``(R,)`` which expert's matrix reads the row; None where there is one matrix.
        weights: ``(R,)`` float32, the router's weight of that expert for that row.
    """

    modules: tuple[str, ...]
    rows: mx.array
    experts: mx.array | None = None
    weights: mx.array | None = None


Sink = Callable[[Input], None]


def recorded(layer: Layer, index: int, sink: Sink) -> Layer:
    """Layer ``index`` of a model, telling ``sink`` every input as it goes in."""
    path = f"model.layers.{index}"
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        mixer = _attention(mixer, f"{path}.self_attn", sink)
    else:
        mixer = _gated_delta(mixer, f"{path}.linear_attn", sink)
    return replace(layer, mixer=mixer, mlp=_feed_forward(layer.mlp, f"{path}.mlp", sink))


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A projection that tells its input."""

    projection: Projection
    modules: tuple[str, ...]
    sink: Sink

    def __call__(self, x: mx.array) -> mx.array:
        self.sink(Input(self.modules, x.reshape(-1, x.shape[-1])))
        return self.projection(x)


class _Routing:
    """What the router chose in the forward pass under way, for the experts' rows that follow."""

    def __init__(self, moe: MoEConfig) -> None:
        self._moe = moe
        self._experts = self._weights = mx.array(0)

    def note(self, logits: mx.array) -> None:
        self._experts, self._weights = route(logits, self._moe)

    def weights(self, experts: mx.array, ordered: bool) -> mx.array:
        """Weights (R,) of rows that were handed over with ``experts``."""
        flat = self._weights.flatten().astype(mx.float32)
        # SparseMoE sorts rows by this very sort; the same one gives the same order again.
        return flat[mx.argsort(self._experts.flatten())] if ordered else flat


@dataclass(frozen=True, slots=True)
class _RecordedRouter:
    """A router that also notes what it chose."""

    gate: Projection
    modules: tuple[str, ...]
    routing: _Routing
    sink: Sink

    def __call__(self, x: mx.array) -> mx.array:
        self.sink(Input(self.modules, x.reshape(-1, x.shape[-1])))
        logits = self.gate(x)
        self.routing.note(logits)
        return logits


@dataclass(frozen=True, slots=True)
class _RecordedStack:
    """Stacked experts that tell their input."""

    projection: StackedProjection
    modules: tuple[str, ...]
    routing: _Routing
    sink: Sink

    def __call__(self, x: mx.array, experts: mx.array, *, ordered: bool) -> mx.array:
        width = x.shape[-1]
        # Unsorted, a row that several experts read comes once, to be broadcast: (B, L, 1, 1, in).
        rows = mx.broadcast_to(x, (*experts.shape, 1, width)).reshape(-1, width)
        weights = self.routing.weights(experts, ordered)
        self.sink(Input(self.modules, rows, experts.flatten(), weights))
        return self.projection(x, experts, ordered=ordered)


def _attention(mixer: Attention, path: str, sink: Sink) -> Attention:
    fused = tuple(f"{path}.{name}_proj" for name in "qkv")
    return replace(
        mixer,
        qkv_proj=_Recorded(mixer.qkv_proj, fused, sink),
        o_proj=_Recorded(mixer.o_proj, (f"{path}.o_proj",), sink),
    )


def _gated_delta(mixer: GatedDelta, path: str, sink: Sink) -> GatedDelta:
    names = ("qkvz", "ba") if mixer.delta.grouped else ("qkv", "z", "b", "a")
    fused = tuple(f"{path}.in_proj_{name}" for name in names)
    return replace(
        mixer,
        in_proj=_Recorded(mixer.in_proj, fused, sink),
        out_proj=_Recorded(mixer.out_proj, (f"{path}.out_proj",), sink),
    )


def _mlp(mlp: MLP, path: str, sink: Sink) -> MLP:
    pair = (f"{path}.gate_proj", f"{path}.up_proj")
    return replace(
        mlp,
        gate_up_proj=_Recorded(mlp.gate_up_proj, pair, sink),
        down_proj=_Recorded(mlp.down_proj, (f"{path}.down_proj",), sink),
    )


def _feed_forward(
    mlp: MLP | SparseMoE | DenseMoE, path: str, sink: Sink
) -> MLP | SparseMoE | DenseMoE:
    match mlp:
        case MLP():
            return _mlp(mlp, path, sink)
        case SparseMoE():
            return _sparse(mlp, path, sink)
        case DenseMoE():
            raise AssertionError("experts computed densely have no rows of their own to record")


def _sparse(block: SparseMoE, path: str, sink: Sink) -> SparseMoE:
    routing = _Routing(block.moe)
    stack = f"{path}.switch_mlp"
    pair = (f"{stack}.gate_proj", f"{stack}.up_proj")
    down = (f"{stack}.down_proj",)
    shared = block.shared
    return replace(
        block,
        gate=_RecordedRouter(block.gate, (f"{path}.gate",), routing, sink),
        gate_up_proj=_RecordedStack(block.gate_up_proj, pair, routing, sink),
        down_proj=_RecordedStack(block.down_proj, down, routing, sink),
        shared=None if shared is None else _shared(shared, path, sink),
    )


def _shared(shared: SharedExpert, path: str, sink: Sink) -> SharedExpert:
    return replace(
        shared,
        mlp=_mlp(shared.mlp, f"{path}.shared_expert", sink),
        gate=_Recorded(shared.gate, (f"{path}.shared_expert_gate",), sink),
    )
