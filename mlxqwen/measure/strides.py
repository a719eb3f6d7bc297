"""Where an array's elements lie in memory, as MLX 0.32 tracks it: what is a view, what a copy.

The rules are MLX's own (backend/common), written down anew. They matter down to the strides of axes
of length 1, for its matrix kernels ask for those too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """One array's place in a buffer; strides in elements.

    Attributes:
        extent: Elements from its first to its last, which holes and broadcasts make differ from
            its size.
        whole: It has no holes, in whatever order its axes lie.
        row, column: It lies in the order of its axes, or in the reverse.
        buffer: Name of the array that the buffer was allocated for.
    """

    shape: Shape
    strides: Shape
    extent: int
    whole: bool
    row: bool
    column: bool
    buffer: str

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether the last two axes lie as those of a matrix, as quantised products ask."""
        if len(self.shape) < 2:
            return self.strides[0] == 1
        return self.strides[-2] == self.shape[-1] and self.strides[-1] == 1


def fresh(shape: Shape, buffer: str) -> Layout:
    """A newly allocated array."""
    vector = prod(shape) <= 1 or prod(shape) == max(shape)
    return Layout(shape, row_strides(shape), prod(shape), True, True, vector, buffer)


def row_strides(shape: Shape) -> Shape:
    """Strides of an array that lies in the order of its axes."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def transposed(x: Layout, axes: Sequence[int]) -> Layout:
    """The axes in another order."""
    shape = tuple(x.shape[axis] for axis in axes)
    strides = tuple(x.strides[axis] for axis in axes)
    row, column = x.row, x.column
    if x.whole and x.extent == x.size:
        row, column = _orders(shape, strides)
    return replace(x, shape=shape, strides=strides, row=row, column=column)


def broadcasted(x: Layout, shape: Shape) -> Layout:
    """Axes of length 1 repeated."""
    missing = len(shape) - len(x.shape)
    pairs = zip(x.shape, x.strides, strict=True)
    strides = (0,) * missing + tuple(0 if n == 1 else stride for n, stride in pairs)
    wider = prod(shape) > x.size
    return replace(
        x, shape=shape, strides=strides, row=x.row and not wider, column=x.column and not wider
    )


def sliced(x: Layout, shape: Shape, steps: Sequence[int]) -> Layout:
    """Every ``steps``-th element of each axis, ``shape`` of them."""
    strides = tuple(stride * step for stride, step in zip(x.strides, steps, strict=True))
    spans = [stride * (n - 1) for stride, n in zip(strides, shape, strict=True)]
    extent = sum(abs(span) for span in spans) + 1
    row, column = _orders(shape, strides)
    held = prod(n for n, stride in zip(shape, strides, strict=True) if stride > 0)
    return replace(
        x,
        shape=shape,
        strides=strides,
        extent=extent,
        whole=held == extent,
        row=row,
        column=column,
    )


def split_part(x: Layout, shape: Shape) -> Layout:
    """A part of ``x`` along one axis."""
    row, column = _orders(shape, x.strides)
    extent = prod(n for n, stride in zip(shape, x.strides, strict=True) if stride > 0)
    whole = extent == 1 or (x.whole if extent == x.extent else x.whole and (row or column))
    return replace(x, shape=shape, extent=extent, whole=whole, row=row, column=column)


def without_axes(x: Layout, axes: Sequence[int]) -> Layout:
    """Axes of length 1 removed."""
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    return replace(
        x,
        shape=tuple(x.shape[axis] for axis in kept),
        strides=tuple(x.strides[axis] for axis in kept),
    )


def with_axes(x: Layout, axes: Sequence[int]) -> Layout:
    """Axes of length 1 inserted."""
    shape, strides = list(x.shape), list(x.strides)
    for axis in axes:
        shape.insert(axis, 1)
        strides.insert(axis, 1)
    return replace(x, shape=tuple(shape), strides=tuple(strides))


def reshaped(x: Layout, shape: Shape) -> Layout | None:
    """The same elements in another shape; None where that takes a copy."""
    if x.size == 0 or x.row:
        vector = prod(shape) <= 1 or prod(shape) == max(shape)
        return replace(x, shape=shape, strides=row_strides(shape), column=vector)
    if not x.shape:
        return replace(x, shape=shape, strides=(0,) * len(shape))
    lengths, strides = _collapsed(x)
    found: list[int] = []
    place = 0
    for n in shape:
        if place < len(lengths) and lengths[place] % n == 0:
            lengths[place] //= n
            found.append(lengths[place] * strides[place])
            place += lengths[place] == 1
        elif n == 1:
            found.append(found[-1])
        else:
            return None
    return replace(x, shape=shape, strides=tuple(found))


def _orders(shape: Shape, strides: Shape) -> tuple[bool, bool]:
    """Whether elements lie in the order of the axes, and in the reverse."""
    row = all(
        n == 1 or stride == expected
        for n, stride, expected in zip(shape, strides, row_strides(shape), strict=True)
    )
    backwards = row_strides(shape[::-1])[::-1]
    column = all(
        n == 1 or stride == expected
        for n, stride, expected in zip(shape, strides, backwards, strict=True)
    )
    return row, column


def _collapsed(x: Layout) -> tuple[list[int], list[int]]:
    """Neighbouring axes joined where one continues the other; axes of length 1 left out."""
    lengths: list[int] = []
    strides: list[int] = []
    for n, stride in zip(x.shape, x.strides, strict=True):
        if n == 1:
            continue
        if lengths and stride * n == strides[-1]:
            lengths[-1] *= n
            strides[-1] = stride
        else:
            lengths.append(n)
            strides.append(stride)
    return lengths, strides
