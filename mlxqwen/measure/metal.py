"""Counts what the GPU is asked to launch for one step, by the rules of MLX 0.32's Metal backend.

A kernel counts one, whether MLX's or a custom one. Views count none. What a primitive launches
beside its own kernel counts as well: a copy where an argument does not lie as the kernel wants it,
a second pass, the offset that a dynamic slice computes first, one copy per part of a
concatenation. Buffers that nobody needs any more are reused, as MLX does: so an update of a cache
is one launch, not a copy of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

from .fusion import BINARY, UNARY
from .launches import Launch, Plan
from .strides import (
    Layout,
    broadcasted,
    fresh,
    reshaped,
    sliced,
    split_part,
    transposed,
    with_axes,
    without_axes,
)
from .trace import Graph, Node

# From so many keys on, Apple's larger GPUs (Max, Ultra) attend in two passes.
_TWO_PASS_KEYS = 1024
# A view of a buffer that is larger than itself by more than this is copied by ``mx.contiguous``.
_SLACK_BYTES = 16384
_SORT_BLOCK = 2048
_ONE_GROUP = 4 * 1024

_VIEWS = frozenset(
    "Broadcast BroadcastAxes Transpose Squeeze ExpandDims Slice Split AsStrided Copy StopGradient "
    "Depends".split()
)
_RESHAPES = frozenset({"Reshape", "Flatten", "Unflatten"})
_UPDATES = frozenset({"SliceUpdate", "DynamicSliceUpdate", "Scatter", "ScatterAxis"})
_SORTS = frozenset({"ArgPartition", "ArgSort", "Partition", "Sort"})
_PRODUCTS = frozenset({"QuantizedMatmul", "GatherQMM"})


def plan_launches(graph: Graph) -> Plan:
    """What Metal would launch for ``graph``."""
    return _Planner(graph).plan()


class _Planner:
    """Walks a graph in order, knowing where every array lies."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._arrays = graph.arrays
        self._layouts: dict[str, Layout] = {
            name: fresh(graph.arrays[name].shape, name) for name in graph.given
        }
        self._launches: list[Launch] = []
        # Who computes with a buffer: views of it do not.
        self._readers: dict[str, int] = {}
        self._rules: Mapping[str, Callable[[Node], None]] = {
            "Compiled": self._compiled,
            "Concatenate": self._concatenate,
            "Contiguous": self._contiguous,
            "Convolution": self._contiguous_arguments,
            "Custom": self._custom,
            "DynamicSlice": self._dynamic_slice,
            "Pad": self._pad,
            "Reduce": self._reduce,
            "RMSNorm": self._normalise,
            "LogSumExp": self._normalise_first,
            "RoPE": self._rope,
            "ScaledDotProductAttention": self._attention,
            "Scan": self._scan,
            "Softmax": self._normalise,
            "View": self._view_as,
        }

    def plan(self) -> Plan:
        self._count_readers()
        operations = 0
        for node in self._graph.nodes:
            if node.kind in _VIEWS:
                self._view(node)
                continue
            if node.kind in _RESHAPES:
                self._reshape(node)
                continue
            operations += 1
            self._rule_of(node)(node)
        return Plan(tuple(self._launches), operations)

    def _rule_of(self, node: Node) -> Callable[[Node], None]:
        if node.kind in UNARY:
            return self._unary
        if node.kind in BINARY:
            return self._binary
        if node.kind in _UPDATES:
            return self._update
        if node.kind in _SORTS:
            return self._sort
        if node.kind in _PRODUCTS:
            return self._product
        return self._rules.get(node.kind, self._kernel)

    def _count_readers(self) -> None:
        """How often each buffer is read, views followed to what they view."""
        root: dict[str, str] = {}
        for node in self._graph.nodes:
            if node.kind in _VIEWS or node.kind in _RESHAPES:
                source = root.get(node.inputs[0], node.inputs[0])
                root |= dict.fromkeys(node.outputs, source)
                continue
            for name in {root.get(name, name) for name in node.inputs}:
                self._readers[name] = self._readers.get(name, 0) + 1
        for name in self._graph.outputs:
            held = root.get(name, name)
            self._readers[held] = self._readers.get(held, 0) + 1
        self._root = root

    def _is_last_reader(self, name: str) -> bool:
        """Whether the buffer behind ``name`` is read by one node only, hence free for reuse."""
        return self._readers.get(self._root.get(name, name), 0) == 1

    def _launch(self, kind: str, node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._launches.append(
            Launch(
                kind,
                node.label if node.kind in ("Custom", "Compiled") else node.kind,
                tuple(self._arrays[name] for name in inputs),
                tuple(self._arrays[name] for name in outputs),
            )
        )

    def _copy(self, node: Node, name: str) -> Layout:
        self._launch("copy", node, [name], [name])
        return fresh(self._arrays[name].shape, f"copy of {name}")

    def _kernel(self, node: Node) -> None:
        """One launch that takes its arguments wherever they lie."""
        self._launch(node.kind, node, node.inputs, node.outputs)
        for name in node.outputs:
            self._layouts[name] = fresh(self._arrays[name].shape, name)

    def _same_layout(self, node: Node, like: Layout) -> None:
        """One launch whose result lies as an argument does."""
        self._kernel(node)
        (name,) = node.outputs
        mine = self._layouts[name]
        if like.whole:
            self._layouts[name] = Layout(
                like.shape, like.strides, like.extent, True, like.row, like.column, name
            )
        else:
            self._layouts[name] = mine

    def _unary(self, node: Node) -> None:
        self._same_layout(node, self._layouts[node.inputs[0]])

    def _binary(self, node: Node) -> None:
        one, two = (self._layouts[name] for name in node.inputs)
        if one.extent == 1:
            self._same_layout(node, two if two.extent > 1 else one)
        elif two.extent == 1 or (one.row and two.row) or (one.column and two.column):
            reused = not self._is_last_reader(node.inputs[0]) and self._is_last_reader(
                node.inputs[1]
            )
            self._same_layout(node, two if reused and two.extent > 1 else one)
        else:
            self._kernel(node)

    def _compiled(self, node: Node) -> None:
        self._launch("compiled", node, node.inputs, node.outputs)
        shape = self._arrays[node.outputs[0]].shape
        wide = [self._layouts[name] for name in node.inputs if self._arrays[name].size > 1]
        row = all(x.row and x.shape == shape for x in wide)
        column = all(x.column and x.shape == shape for x in wide)
        alone = len(wide) == 1 and wide[0].whole and wide[0].shape == shape
        for name in node.outputs:
            mine = fresh(self._arrays[name].shape, name)
            if wide and (row or column or alone):
                like = wide[0]
                mine = Layout(
                    like.shape, like.strides, like.extent, True, like.row, like.column, name
                )
            self._layouts[name] = mine

    def _view(self, node: Node) -> None:
        x = self._layouts[node.inputs[0]]
        shape = self._arrays[node.outputs[0]].shape
        match node.kind:
            case "Broadcast" | "BroadcastAxes":
                made = broadcasted(x, shape)
            case "Transpose":
                made = transposed(x, node.arguments[0])
            case "Squeeze":
                made = without_axes(x, node.arguments[0])
            case "ExpandDims":
                made = with_axes(x, node.arguments[0])
            case "Slice":
                made = sliced(x, shape, node.arguments[2])
            case "AsStrided":
                made = sliced(fresh(shape, x.buffer), shape, (1,) * len(shape))
            case _:
                made = x
        for name in node.outputs:
            part = node.kind == "Split"
            self._layouts[name] = split_part(x, self._arrays[name].shape) if part else made

    def _reshape(self, node: Node) -> None:
        (name,) = node.outputs
        shape = self._arrays[name].shape
        made = reshaped(self._layouts[node.inputs[0]], shape)
        if made is None:
            self._launch("copy", node, node.inputs, node.outputs)
            made = fresh(shape, name)
        self._layouts[name] = made

    def _view_as(self, node: Node) -> None:
        """Other elements of the same bytes: no launch where the argument lies in order."""
        x = self._layouts[node.inputs[0]]
        (name,) = node.outputs
        same = self._arrays[node.inputs[0]].itemsize == self._arrays[name].itemsize
        if not same and not x.row:
            self._copy(node, node.inputs[0])
        self._layouts[name] = x if same else fresh(self._arrays[name].shape, name)

    def _contiguous(self, node: Node) -> None:
        source, (name,) = node.inputs[0], node.outputs
        x = self._layouts[source]
        held = self._arrays.get(x.buffer)
        bytes_held = 0 if held is None else held.size * held.itemsize
        mine = self._arrays[name]
        if x.row and bytes_held <= mine.size * mine.itemsize + _SLACK_BYTES:
            self._layouts[name] = x
        else:
            self._launch("copy", node, [source], [name])
            self._layouts[name] = fresh(mine.shape, name)

    def _contiguous_arguments(self, node: Node) -> None:
        for name in node.inputs:
            if not self._layouts[name].row:
                self._copy(node, name)
        self._kernel(node)

    def _custom(self, node: Node) -> None:
        """A custom kernel; an initial value is one launch more for each output."""
        for name in node.inputs:
            if not self._layouts[name].row:
                self._copy(node, name)
        for name in node.outputs[: node.facts["filled"]]:
            self._launch("fill", node, [], [name])
        self._launch(node.label, node, node.inputs, node.outputs)
        for name in node.outputs:
            self._layouts[name] = fresh(self._arrays[name].shape, name)

    def _product(self, node: Node) -> None:
        """Quantised: activations and weights must lie as matrices; indices may lie anyhow."""
        packed = node.inputs[:-2] if node.kind == "GatherQMM" else node.inputs
        for name in packed:
            if not self._layouts[name].is_matrix:
                self._copy(node, name)
        self._kernel(node)

    def _normalise(self, node: Node) -> None:
        """Rows of the first argument must lie one after the other."""
        x = self._rows(node)
        self._same_layout(node, x)

    def _normalise_first(self, node: Node) -> None:
        self._rows(node)
        self._kernel(node)

    def _rows(self, node: Node) -> Layout:
        x = self._layouts[node.inputs[0]]
        good = x.whole and x.strides[-1] == 1
        if node.kind == "RMSNorm" and len(x.shape) > 1:
            good &= x.strides[-2] in (0, x.shape[-1]) or x.shape[-2] == 1
        return x if good else self._copy(node, node.inputs[0])

    def _rope(self, node: Node) -> None:
        x = self._layouts[node.inputs[0]]
        heads, length, width = x.shape[1], x.shape[-2], x.shape[-1]
        partial = node.facts["dims"] < width
        turned = len(x.shape) == 4 and x.strides[:3] == (
            length * heads * width,
            width,
            heads * width,
        )
        if partial:
            # The part that does not turn is copied, unless the buffer can be kept.
            if not (x.row and self._is_last_reader(node.inputs[0])):
                self._copy(node, node.inputs[0])
        elif not (x.row or turned or sum(n > 1 for n in x.shape[:-2]) <= 1):
            self._copy(node, node.inputs[0])
        self._kernel(node)

    def _attention(self, node: Node) -> None:
        q, k, v = (self._layouts[name] for name in node.inputs[:3])
        if not (
            q.row or (q.shape[0] == 1 and q.strides[1:] == (q.shape[3], q.shape[1] * q.shape[3], 1))
        ):
            self._copy(node, node.inputs[0])
        for name, x in zip(node.inputs[1:3], (k, v), strict=True):
            apart = 1 not in x.shape[:2] and x.strides[0] != x.strides[1] * x.shape[1]
            if x.strides[-1] != 1 or apart:
                self._copy(node, name)
        if q.shape[2] <= 8 and k.shape[2] >= _TWO_PASS_KEYS:
            self._launch("ScaledDotProductAttention", node, node.inputs, node.outputs)
        self._kernel(node)

    def _concatenate(self, node: Node) -> None:
        """One copy for each part."""
        (name,) = node.outputs
        for part in node.inputs:
            if self._arrays[part].size:
                self._launch("concatenate", node, [part], [name])
        self._layouts[name] = fresh(self._arrays[name].shape, name)

    def _update(self, node: Node) -> None:
        """Into the buffer of the first argument, which is copied where others need it too."""
        target, (name,) = node.inputs[0], node.outputs
        if not self._is_last_reader(target) or not self._layouts[target].row:
            self._launch("copy", node, [target], [name])
        if node.kind == "DynamicSliceUpdate":
            self._launch("dynamic offset", node, [node.inputs[-1]], [])
        self._launch(node.kind, node, node.inputs[1:], node.outputs)
        self._layouts[name] = fresh(self._arrays[name].shape, name)

    def _dynamic_slice(self, node: Node) -> None:
        self._launch("dynamic offset", node, [node.inputs[-1]], [])
        self._kernel(node)

    def _pad(self, node: Node) -> None:
        self._launch("fill", node, node.inputs[1:], node.outputs)
        self._kernel(node)

    def _sort(self, node: Node) -> None:
        """Up to 2,048 elements sort in one kernel; beyond, blocks are merged in two per level."""
        axis = int(node.arguments[-1])
        length = self._arrays[node.inputs[0]].shape[axis]
        blocks = ceil(length / _SORT_BLOCK)
        if blocks > 1:
            for _ in range(2 * (blocks - 1).bit_length() + 1):
                self._launch(node.kind, node, node.inputs, node.outputs)
        self._kernel(node)

    def _reduce(self, node: Node) -> None:
        """Reducing a large array to one number, or long columns, takes two passes."""
        source, (name,) = node.inputs[0], node.outputs
        x, axes = self._layouts[source], node.arguments[1]
        size = self._arrays[name].size
        length = x.size // max(size, 1)
        if size == 1 and x.whole:
            if x.size > _ONE_GROUP:
                self._launch(node.kind, node, node.inputs, node.outputs)
        elif x.strides[axes[-1]] > 1 and length > 256 and size < 32 * 1024:
            self._launch(node.kind, node, node.inputs, node.outputs)
        self._kernel(node)

    def _scan(self, node: Node) -> None:
        if not self._layouts[node.inputs[0]].whole:
            self._copy(node, node.inputs[0])
        self._kernel(node)
