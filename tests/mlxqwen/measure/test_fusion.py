"""Which operations fuse, by our account and by MLX's own compiler."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.measure.standins import metal_standins
from mlxqwen.measure.trace import Node, trace

X = mx.random.normal((4, 8), key=mx.random.key(0))
Y = mx.random.normal((4, 8), key=mx.random.key(1))
mx.eval(X, Y)


def swiglu(x, y):
    return [x * mx.sigmoid(x) * y]


def two_results(x, y):
    total = x + y
    return [total, mx.exp(total) * 2]


def across_a_reduction(x, y):
    return [(x * y) / (x * y).sum(axis=-1, keepdims=True) + 1]


def shared_value(x, y):
    a = mx.exp(x)
    return [(a @ y.T) + 1, a * y]


def deep(x, y):
    for _ in range(30):
        x = mx.sin(x) + 1
    return [x * y]


def wide(x, y):
    parts = [x[:, i % 8 : i % 8 + 1] * (i + 1.5) for i in range(40)]
    total = y
    for part in parts:
        total = total + part
    return [total]


def result_of_another_shape(x, y):
    row = mx.exp(x[0])
    return [row, row * y]


def broadcast_shared(x, y):
    row = mx.broadcast_to(x[:1], x.shape)
    return [row * y, row.sum(axis=-1), mx.exp(row @ y.T)]


def no_elementwise(x, y):
    return [mx.softmax(x @ y.T, axis=-1)]


def norm(x, y):
    scale = mx.rsqrt(mx.square(x).mean(axis=-1, keepdims=True) + 1e-6)
    return [(x * scale).astype(mx.float16) * y.astype(mx.float16)]


def by_mlx(function: Callable[..., list[mx.array]], folder: Path) -> list[str]:
    """Labels of the nodes of what MLX compiled; fused groups are called Compiled…"""
    file = folder / "graph.dot"
    mx.export_to_dot(str(file), *mx.compile(function)(X, Y))
    return re.findall(r'label ="([^"]*)"', file.read_text())


def by_us(function: Callable[..., list[mx.array]]) -> tuple[Node, ...]:
    with metal_standins() as standins:
        return trace(standins, mx.compile(function), X, Y).nodes


@pytest.mark.parametrize(
    "function",
    [
        swiglu,
        two_results,
        across_a_reduction,
        shared_value,
        deep,
        wide,
        result_of_another_shape,
        broadcast_shared,
        no_elementwise,
        norm,
    ],
)
def test_groups_are_those_of_mlx(function: Callable[..., list[mx.array]], tmp_path: Path) -> None:
    theirs, mine = by_mlx(function, tmp_path), by_us(function)
    fused = [label for label in theirs if label.startswith("Compiled")]
    assert sum(node.kind == "Compiled" for node in mine) == len(fused)
    others = [node for node in mine if node.kind != "Compiled"]
    assert len(others) == len(theirs) - len(fused)
    # The name that MLX gives a group lists its operations: as many of each kind in ours.
    for kind in ("Exp", "Sigmoid", "Sin", "Add", "Multiply"):
        in_theirs = sum(label.count(kind) for label in fused)
        assert sum(node.label.count(kind) for node in mine if node.kind == "Compiled") == in_theirs


def test_outside_of_compiled_functions_nothing_fuses() -> None:
    with metal_standins() as standins:
        graph = trace(standins, swiglu, X, Y)
    assert [node.kind for node in graph.nodes] == ["Sigmoid", "Multiply", "Multiply"]


def test_a_compiled_function_in_another_belongs_to_it() -> None:
    def outer(x: mx.array, y: mx.array) -> list[mx.array]:
        (product,) = inner(x, y)
        return [product + 1]

    with metal_standins() as standins:
        inner = mx.compile(swiglu)
        apart = trace(standins, outer, X, Y)
        together = trace(standins, mx.compile(outer), X, Y)
    assert [node.kind for node in apart.nodes if node.kind != "Broadcast"] == ["Compiled", "Add"]
    assert [node.label for node in together.nodes] == ["Sigmoid·Multiply·Multiply·Add"]
