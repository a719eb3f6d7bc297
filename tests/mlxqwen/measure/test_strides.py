"""Our account of strides against what MLX itself reports for evaluated arrays."""

from __future__ import annotations

import random

import mlx.core as mx
import pytest

from mlxqwen.measure.strides import (
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


def strides_of(x: mx.array) -> tuple[int, ...]:
    mx.eval(x)
    return tuple(stride // 4 for stride in memoryview(x).strides or ())


def one_view(draw: random.Random, x: mx.array, mine: Layout) -> tuple[mx.array, Layout | None]:
    """A random view of ``x``, by MLX and by us."""
    axes = list(range(x.ndim))
    match draw.randrange(7):
        case 0:
            draw.shuffle(axes)
            return x.transpose(axes), transposed(mine, axes)
        case 1:
            axis = draw.randrange(x.ndim + 1)
            return mx.expand_dims(x, axis), with_axes(mine, [axis])
        case 2:
            single = [axis for axis in axes if x.shape[axis] == 1][:1]
            return mx.squeeze(x, single), without_axes(mine, single)
        case 3:
            axis = draw.randrange(x.ndim)
            step = draw.choice([1, 2])
            begin = draw.randrange(x.shape[axis])
            parts = [slice(None)] * x.ndim
            parts[axis] = slice(begin, None, step)
            view = x[tuple(parts)]
            # MLX makes the step of a single element 1.
            taken = step if view.shape[axis] > 1 else 1
            return view, sliced(mine, view.shape, [taken if a == axis else 1 for a in axes])
        case 4:
            axis = draw.randrange(x.ndim)
            if x.shape[axis] < 2:
                return x, mine
            part = mx.split(x, [1], axis=axis)[1]
            return part, split_part(mine, part.shape)
        case 5:
            shape = (2, *(3 if n == 1 else n for n in x.shape))
            return mx.broadcast_to(x, shape), broadcasted(mine, shape)
        case _:
            shape = draw.choice(
                [(x.size,), (*x.shape[:-2], -1), (*x.shape[:-1], 1, x.shape[-1]), (1, *x.shape)]
            )
            view = x.reshape(shape)
            return view, reshaped(mine, view.shape)


@pytest.mark.parametrize("seed", range(150))
def test_chains_of_views_lie_where_mlx_says(seed: int) -> None:
    draw = random.Random(seed)
    shape = draw.choice([(4, 6), (1, 4, 6), (2, 1, 4, 6), (1, 1, 8, 4), (3, 4, 1)])
    x, mine = mx.arange(mx.zeros(shape).size, dtype=mx.float32).reshape(shape), fresh(shape, "x")
    for _ in range(5):
        mx.eval(x)
        x, made = one_view(draw, x, mine)
        # A reshape that copies begins anew.
        mine = fresh(x.shape, "copy") if made is None else made
        if x.ndim == 0 or x.ndim > 6:
            break
        assert mine.shape == x.shape
        assert mine.strides == strides_of(x)
        assert mine.row == memoryview(x).c_contiguous or x.size <= 1
