"""Which operations of a compiled function MLX 0.32 joins into one kernel.

The rule is MLX's own (``compile_fuse`` in its compile.cpp), written down anew: from the last
operation backwards, each elementwise operation takes in the operations that it reads, as far as
nobody else reads them, 11 deep and up to 24 inputs. A broadcast is copied rather than kept out.
``mx.compile`` itself cannot be asked, for what it makes does not show in an exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import Node

UNARY = frozenset(
    "Abs ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTanh AsType Ceil Cos Conjugate Cosh Erf ErfInv "
    "Exp Expm1 Floor Log Log1p LogicalNot Negative Round Sigmoid Sign Sin Sinh Square Sqrt Tan "
    "Tanh Real Imag BitwiseInvert".split()
)
BINARY = frozenset(
    "Add Divide Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogAddExp Maximum "
    "Minimum Multiply NotEqual Power Remainder Subtract BitwiseBinary ArcTan2".split()
)
FUSABLE = UNARY | BINARY | {"Select", "Broadcast"}
_DEPTH, _INPUTS = 11, 24


def fuse(
    nodes: Sequence[Node],
    results: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    used_outside: frozenset[str],
) -> list[list[Node]]:
    """The nodes of one compiled function in groups of one kernel each.

    Args:
        nodes: In an order of evaluation.
        results: What the function returns.
        shapes: Of every array.
        used_outside: Arrays that leave the function, ``results`` among them.

    Returns:
        Groups, the members of each in order; most have one member.
    """
    return _Fusion(_depth_first(nodes, results), shapes, used_outside).groups()


def _depth_first(nodes: Sequence[Node], results: Sequence[str]) -> list[Node]:
    """The order in which MLX walks a compiled function: inputs first, from each result on."""
    made_by = {name: node for node in nodes for name in node.outputs}
    ordered: dict[str, Node] = {}
    waiting = [(name, False) for name in reversed(results)]
    while waiting:
        name, seen = waiting.pop()
        node = made_by.get(name)
        if node is None or node.outputs[0] in ordered:
            continue
        if seen:
            ordered[node.outputs[0]] = node
        else:
            waiting.append((name, True))
            waiting.extend((read, False) for read in reversed(node.inputs))
    return list(ordered.values())


class _Fusion:
    """One pass over a function, nodes known by the name of their first output."""

    def __init__(
        self,
        tape: Sequence[Node],
        shapes: Mapping[str, tuple[int, ...]],
        used_outside: frozenset[str],
    ) -> None:
        self._tape = list(tape)
        self._shapes = dict(shapes)
        self._results = used_outside
        self._nodes = {name: node for node in tape for name in node.outputs}
        self._readers: dict[str, set[str]] = {}
        for node in tape:
            for name in node.inputs:
                self._readers.setdefault(name, set()).add(node.outputs[0])
        self._group: dict[str, Node] = {}
        self._inputs: set[str] = set()
        self._copies = 0

    def groups(self) -> list[list[Node]]:
        """All groups, in an order of evaluation."""
        found: list[list[Node]] = []
        taken: set[str] = set()
        for node in reversed(self._tape):
            if node.outputs[0] in taken:
                continue
            # A copied broadcast replaces its original among what this node reads.
            node = self._nodes[node.outputs[0]]
            self._group, self._inputs = {}, set()
            if node.kind in FUSABLE and node.kind != "Broadcast":
                self._take(node.outputs[0], 0, self._shapes[node.outputs[0]])
            if len(self._group) <= 1:
                # An original whose every reader took a copy is read by nobody.
                if node.kind != "Broadcast" or self._is_read(node):
                    found.append([node])
                continue
            members = self._in_order(node.outputs[0])
            taken |= {member.outputs[0] for member in members}
            found.append(members)
        found.reverse()
        return found

    def _is_read(self, node: Node) -> bool:
        name = node.outputs[0]
        return bool(self._readers.get(name)) or name in self._results

    def _take(self, name: str, depth: int, shape: tuple[int, ...]) -> None:
        """Takes the node that makes ``name`` into the group where that is allowed."""
        if name in self._group:
            return
        node = self._nodes.get(name)
        if (
            depth >= _DEPTH
            or node is None
            or node.kind not in FUSABLE
            or (name in self._results and self._shapes[name] != shape)
        ):
            self._inputs.add(name)
            return
        if depth > 0 and not self._readers[name] <= self._group.keys():
            if node.kind == "Broadcast" and len(self._inputs) < _INPUTS:
                self._take(self._copied(node), depth, shape)
            else:
                self._inputs.add(name)
            return
        if name in self._results:
            self._inputs.add(name)
        else:
            self._inputs.discard(name)
        if len(self._inputs) >= _INPUTS:
            return
        self._group[name] = node
        for read in node.inputs:
            self._take(read, depth + 1, shape)

    def _copied(self, node: Node) -> str:
        """A copy of a broadcast for the readers within the group."""
        original = node.outputs[0]
        self._copies += 1
        name = f"{original}'{self._copies}"
        self._shapes[name] = self._shapes[original]
        self._nodes[name] = replace(node, outputs=(name,))
        inside = self._readers[original] & self._group.keys()
        self._readers[name] = inside
        self._readers[original] -= inside
        for read in node.inputs:
            self._readers[read].add(name)
        for reader in inside:
            changed = tuple(name if n == original else n for n in self._nodes[reader].inputs)
            self._nodes[reader] = replace(self._nodes[reader], inputs=changed)
            self._group[reader] = self._nodes[reader]
        return name

    def _in_order(self, last: str) -> list[Node]:
        members: dict[str, Node] = {}

        def walk(name: str) -> None:
            if name not in self._group or name in members:
                return
            for read in self._nodes[name].inputs:
                walk(read)
            members[name] = self._nodes[name]

        walk(last)
        return list(members.values())
