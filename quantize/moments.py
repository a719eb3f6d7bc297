"""How strongly each input of a matrix is driven: mean squares over many rows, and per expert.

The error that rounding a matrix W makes in its output is, for independent errors, the sum of
ΔWᵢⱼ² · E[xⱼ²] (the diagonal of the layer's Hessian, as in optimal brain damage, LeCun et al. 1990;
llama.cpp's importance matrix is the same statistic). So E[xⱼ²] says how much input j counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx

from .recording import Input

# An expert's own mean square is mixed with that of all experts as if the latter had been seen on
# this many rows: a mean square over n rows errs by some sqrt(2 to 10 / n), which at this n is about
# as much as experts differ.
PRIOR_ROWS = 32.0


@dataclass(frozen=True, slots=True)
class Moments:
    """What calibration keeps about one input.

    Attributes:
        modules: The matrices that read it.
        importance: Mean square of each input channel, float32 ``(in,)``, or ``(E, in)``.
        usage: ``(E,)`` mean over all tokens of the squared router weight, 0 where the expert was
            not chosen: what an expert's squared error counts in the layer's output. None where
            there are no experts.
    """

    modules: tuple[str, ...]
    importance: mx.array
    usage: mx.array | None = None


class Accumulator:
    """Sums over the rows of one layer, by input; ``add`` is a ``Sink``."""

    def __init__(self, experts: int) -> None:
        self._experts = experts
        self._sums: dict[tuple[str, ...], tuple[mx.array, ...]] = {}
        self._rows: dict[tuple[str, ...], int] = {}

    def add(self, entry: Input) -> None:
        """Takes note of some rows, lazily; evaluate ``arrays`` now and then."""
        rows = entry.rows.astype(mx.float32)
        squares = rows * rows
        if entry.experts is None or entry.weights is None:
            new: tuple[mx.array, ...] = (squares.sum(axis=0),)
        else:
            # An expert's output is multiplied by its router weight w, so is its error: a row
            # counts w². (As a product, not a scatter, whose order would vary on a GPU.)
            own = entry.experts[None] == mx.arange(self._experts)[:, None]  # (E, R)
            counts = mx.where(own, mx.square(entry.weights.astype(mx.float32)), 0.0)
            new = (counts @ squares, counts.sum(axis=1), mx.square(counts).sum(axis=1))
        known = self._sums.get(entry.modules)
        if known is not None:
            new = tuple(a + b for a, b in zip(known, new, strict=True))
        self._sums[entry.modules] = new
        self._rows[entry.modules] = self._rows.get(entry.modules, 0) + rows.shape[0]

    @property
    def arrays(self) -> list[mx.array]:
        """All sums so far."""
        return [array for sums in self._sums.values() for array in sums]

    def moments(self, tokens: int) -> Iterator[Moments]:
        """The statistics after ``tokens`` tokens, without inputs that say nothing.

        These are inputs that were always zero or not finite: a matrix is then better rounded with
        all its inputs alike.
        """
        for modules, sums in self._sums.items():
            if len(sums) == 1:
                importance, usage = sums[0] / self._rows[modules], None
            else:
                importance, usage = shrunk(*sums), sums[1] / tokens
            mx.eval(importance)
            if mx.isfinite(importance).all() and (importance > 0).any():
                yield Moments(modules, importance, usage)


def shrunk(squares: mx.array, mass: mx.array, fourth: mx.array) -> mx.array:
    """Mean squares of each expert, those of few rows drawn towards the mean of all: ``(E, in)``.

    Args:
        squares: ``(E, in)`` Σ w² x² over the expert's rows.
        mass: ``(E,)`` Σ w².
        fourth: ``(E,)`` Σ w⁴: with ``mass`` it says how many rows of equal weight the expert's are
            worth (Kish's effective sample size, (Σ w²)² / Σ w⁴).
    """
    pooled = squares.sum(axis=0) / mx.maximum(mass.sum(), 1e-30)
    seen = mass > 0
    worth = mx.where(seen, mx.square(mass) / mx.where(seen, fourth, 1.0), 0.0)[:, None]
    own = squares / mx.where(seen, mass, 1.0)[:, None]
    return (worth * own + PRIOR_ROWS * pooled) / (worth + PRIOR_ROWS)
