"""Builds custom kernels: the one place that names ``mx.fast.metal_kernel``."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

import mlx.core as mx

from ...device import device

Template = Sequence[tuple[str, mx.Dtype | int | bool]]


class Kernel(Protocol):
    """A built kernel, called as MLX's kernels are.

    ``grid`` counts threads, not threadgroups; outputs are uninitialised unless ``init_value``.
    """

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Template = (),
        init_value: float | None = None,
    ) -> Sequence[mx.array]: ...


class Factory(Protocol):
    """What makes a kernel out of its text: MLX, or a stand-in for it."""

    def __call__(
        self,
        *,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
    ) -> Kernel: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel's text: ``body`` is that of a function whose signature MLX generates."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: str
    header: str = ""


def metal(
    *,
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
) -> Kernel:
    """The real factory. Nothing is compiled before a kernel's first launch."""
    made = mx.fast.metal_kernel(name, input_names, output_names, source, header)
    return cast("Kernel", made)  # MLX's stubs call it an object


_factory: Factory = metal


def make(source: Source) -> Kernel:
    """The kernel of ``source``; the same object whenever the same source is asked for."""
    return _made(_factory, source)


@cache
def _made(factory: Factory, source: Source) -> Kernel:
    return factory(
        name=source.name,
        input_names=source.inputs,
        output_names=source.outputs,
        source=source.body,
        header=source.header,
    )


def available() -> bool:
    """Whether kernels can run here: on Metal, or where a stand-in builds them."""
    return _factory is not metal or device().kind == "metal"


@contextmanager
def built_by(factory: Factory) -> Generator[None, None, None]:
    """Lets ``factory``, which must be hashable, build every kernel asked for meanwhile."""
    global _factory
    before, _factory = _factory, factory
    try:
        yield
    finally:
        _factory = before
