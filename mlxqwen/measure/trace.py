"""The graph of one decode step as MLX hands it to its backend, compiled regions fused.

MLX exports a function's graph primitive by primitive, with shapes and arguments. In doing so it
merges operations that compute the same from the same arrays, as ``mx.compile`` does; code that
computes something twice outside of a compiled function is therefore counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, cast

import mlx.core as mx

from .fusion import fuse
from .standins import Standins

Step = Callable[..., Sequence[mx.array]]


@dataclass(frozen=True, slots=True)
class Array:
    """Shape and dtype of one array; ``name`` is its own within a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Node:
    """One primitive.

    Attributes:
        kind: MLX's name of it; ``Compiled`` for a fused group, ``Custom`` for a custom kernel.
        label: The custom kernel's name, or the kinds within a fused group.
        arguments: The primitive's state, as MLX exports it.
        facts: Arguments of a stand-in by name.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    label: str = ""
    arguments: tuple[Any, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of evaluation, and the arrays between them.

    ``given`` are arrays that exist before: arguments, weights, caches, constants.
    """

    nodes: tuple[Node, ...]
    arrays: Mapping[str, Array]
    given: frozenset[str]
    outputs: tuple[str, ...]


def trace(standins: Standins, step: Step, *arguments: mx.array) -> Graph:
    """Records ``step(*arguments)`` without computing anything.

    ``metal_standins`` must be entered. What ``step`` captures and changes, such as a cache, is
    unusable afterwards.
    """
    recorder = _Recorder(standins)
    with standins.tracing():
        mx.export_function(recorder.take, step, *arguments)
    return recorder.graph()


class _Recorder:
    """Collects what ``mx.export_function`` reports."""

    def __init__(self, standins: Standins) -> None:
        self._standins = standins
        self._arrays: dict[str, Array] = {}
        self._nodes: list[Node] = []
        self._outputs: tuple[str, ...] = ()

    def take(self, report: Mapping[str, Any]) -> None:
        match report["type"]:
            case "primitive":
                self._nodes.append(self._node(report))
            case "outputs":
                self._outputs = self._names(report["outputs"])
            case "inputs":
                self._names(report["inputs"])
            case "constants":
                constants = cast("list[tuple[str, mx.array]]", report["constants"])
                self._names([(name, array.shape, array.dtype) for name, array in constants])
            case _:
                pass

    def graph(self) -> Graph:
        made = {name for node in self._nodes for name in node.outputs}
        nodes, alias = _fused_regions(self._nodes, self._arrays, frozenset(self._outputs))
        outputs = tuple(alias.get(name, name) for name in self._outputs)
        return Graph(tuple(nodes), self._arrays, frozenset(self._arrays.keys() - made), outputs)

    def _node(self, report: Mapping[str, Any]) -> Node:
        inputs, outputs = self._names(report["inputs"]), self._names(report["outputs"])
        kind, state = cast(str, report["name"]), tuple(report["arguments"])
        if kind != "CustomKernel":
            return Node(kind, inputs, outputs, arguments=state)
        call = self._standins.call_of(state[0])
        return Node(call.kind, inputs, outputs, call.label, facts=call.facts)

    def _names(self, described: Sequence[tuple[str, Sequence[int], mx.Dtype]]) -> tuple[str, ...]:
        for name, shape, dtype in described:
            if name not in self._arrays:
                kind = str(dtype).rpartition(".")[2]
                self._arrays[name] = Array(name, tuple(shape), kind, dtype.size)
        return tuple(name for name, _, _ in described)


def _fused_regions(
    nodes: Sequence[Node], arrays: Mapping[str, Array], outputs: frozenset[str]
) -> tuple[list[Node], dict[str, str]]:
    """Fuses between the marks of compiled functions and drops the marks.

    Also returns which array stands in place of a mark's.
    """
    alias: dict[str, str] = {}
    made_by = {name: node for node in nodes for name in node.outputs}
    replaced: dict[str, Node | None] = {}
    for leave in (node for node in nodes if node.kind == "Leave"):
        members = _region(leave, made_by)
        inside = [node for node in nodes if node.outputs[0] in members]
        used = _used_outside(inside, nodes)
        shapes = {name: arrays[name].shape for name in arrays}
        groups = fuse(inside, tuple(leave.inputs), shapes, used)
        replaced |= dict.fromkeys((node.outputs[0] for node in inside), None)
        for group in groups:
            made = group[0] if len(group) == 1 else _compiled(group, used)
            # A group runs when its last member would have.
            replaced[group[-1].outputs[0]] = made
    for node in nodes:
        if node.kind in ("Enter", "Leave"):
            alias |= {
                new: alias.get(old, old) for new, old in zip(node.outputs, node.inputs, strict=True)
            }
    kept: list[Node] = []
    for node in nodes:
        if node.kind in ("Enter", "Leave"):
            continue
        new = replaced.get(node.outputs[0], node)
        if new is not None:
            inputs = tuple(alias.get(name, name) for name in new.inputs)
            kept.append(Node(new.kind, inputs, new.outputs, new.label, new.arguments, new.facts))
    return kept, alias


def _region(leave: Node, made_by: Mapping[str, Node]) -> set[str]:
    """First outputs of the nodes between a compiled function's arguments and its results."""
    members: set[str] = set()
    waiting = list(leave.inputs)
    while waiting:
        node = made_by.get(waiting.pop())
        if node is None or node.kind in ("Enter", "Leave") or node.outputs[0] in members:
            continue
        members.add(node.outputs[0])
        waiting.extend(node.inputs)
    return members


def _used_outside(inside: Sequence[Node], nodes: Sequence[Node]) -> frozenset[str]:
    """What leaves a region: the results that marks or other nodes read."""
    own = {node.outputs[0] for node in inside}
    made = {name for node in inside for name in node.outputs}
    readers = (node for node in nodes if node.outputs[0] not in own)
    return frozenset(name for node in readers for name in node.inputs if name in made)


def _compiled(group: Sequence[Node], used: frozenset[str]) -> Node:
    """One node for a fused group; its last member's output comes first."""
    made = {name for node in group for name in node.outputs}
    read = dict.fromkeys(name for node in group for name in node.inputs if name not in made)
    last = group[-1].outputs[0]
    also = tuple(n.outputs[0] for n in group[:-1] if n.outputs[0] in used)
    label = "·".join(node.kind for node in group if node.kind != "Broadcast")
    return Node("Compiled", tuple(read), (last, *also), label)
