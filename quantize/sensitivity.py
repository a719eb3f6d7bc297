"""What each unit of a model costs in each width: KL predicted from rounding errors and few probes.

Rounding errors are cheap and are taken for every unit and candidate, on sampled rows, weighted by
how strongly each input is driven (the importance matrix of llama.cpp, whose search for a target
size samples rows likewise: pull request 15550). How much an error matters is dear, and is measured:
groups of units, of one kind and neighbouring layers, are rounded to a few widths and the KL of the
model's predictions is taken. The loss of a unit is then read off its group's curve of KL over mean
error. HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852) takes the mean curvature for that factor, and
mlx-lm's dynamic_quant a gradient; both need backward passes through the whole model, and say
nothing of where the quadratic ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import mlx.core as mx

from mlxqwen.checkpoint.numbers import part_rows
from mlxqwen.checkpoint.stored import FileReader, float_dtype
from mlxqwen.model.linear import Stored
from mlxqwen.model.quantspec import QuantSpec

from .guidance import Guidance
from .layerwise import Layerwise
from .plan import pieces_of
from .recipes import Rounding
from .units import Matrix, Unit
from .variants import Variant, divergences, restored, rounded

# What groups are rounded to for a probe, in descending error.
PROBES: tuple[QuantSpec, ...] = (QuantSpec(2, 64), QuantSpec(4, 64))

# Groups at most, and with them the streams of hidden states that a pass holds and computes.
_GROUPS = 24
STREAMS = _GROUPS * len(PROBES)

# Of each matrix so many numbers are looked at, in so many places at least.
_SAMPLE = 1 << 19
_PLACES = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring units of one kind that are probed together, by index."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What was measured. Indices are those of the units that it was measured for.

    Attributes:
        errors: Of each unit, for each candidate: weighted squared error over weighted power.
        probed: The same of the probes' widths, rounded to nearest; empty where none suits.
        kl: Of each group's probes, in nats per token.
    """

    errors: tuple[tuple[float, ...], ...]
    probed: tuple[tuple[float, ...], ...]
    kl: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {"errors": self.errors, "probed": self.probed, "kl": dict(self.kl)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sensitivity:
        """From what ``to_json`` gave."""
        return cls(
            tuple(tuple(row) for row in value["errors"]),
            tuple(tuple(row) for row in value["probed"]),
            {name: tuple(row) for name, row in value["kl"].items()},
        )

    def losses(self, units: Sequence[Unit]) -> list[tuple[float, ...]]:
        """Predicted KL of each unit for each candidate, all others being left as they are."""
        found: list[tuple[float, ...]] = [()] * len(units)
        for group in groups_of(units):
            members, kl = group.members, self.kl.get(group.name, ())
            means = [sum(self.probed[m][p] for m in members) / len(members) for p in range(len(kl))]
            curve = Curve.through(zip(means, kl, strict=True))
            for member in members:
                found[member] = tuple(curve(error) / len(members) for error in self.errors[member])
        return found


@dataclass(frozen=True, slots=True)
class Curve:
    """KL over error: straight lines between points in logarithms, in proportion beyond them."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def through(cls, points: Iterator[tuple[float, float]]) -> Curve:
        """Points of error and KL in any order; those that are not above zero tell nothing.

        Without any, KL is taken to be the error itself.
        """
        told = sorted((math.log(e), math.log(kl)) for e, kl in points if e > 0 and kl > 0)
        # More error never costs less, whatever a noisy probe says.
        kls = accumulate((kl for _, kl in told), max)
        return cls(tuple((e, kl) for (e, _), kl in zip(told, kls, strict=True)) or ((0.0, 0.0),))

    def __call__(self, error: float) -> float:
        if error <= 0:
            return 0.0
        x = math.log(error)
        points = self.points
        if x <= points[0][0]:
            return math.exp(points[0][1] + x - points[0][0])
        for (x0, y0), (x1, y1) in pairwise(points):
            if x <= x1:
                return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        return math.exp(points[-1][1] + x - points[-1][0])


def groups_of(units: Sequence[Unit], limit: int = _GROUPS) -> list[Group]:
    """Units by kind, each kind in as many runs of neighbouring layers as ``limit`` leaves room for.

    Units that have no choice are in none.
    """
    kinds: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        if unit.candidates != (None,):
            kinds.setdefault(unit.kind, []).append(index)
    single = sum(len(members) == 1 for members in kinds.values())
    runs = max(1, (limit - single) // max(1, len(kinds) - single))
    groups: list[Group] = []
    for kind, members in kinds.items():
        count = min(runs, len(members))
        for run in range(count):
            part = members[len(members) * run // count : len(members) * (run + 1) // count]
            groups.append(Group(f"{kind} {units[part[0]].layer}", tuple(part)))
    return groups


def measure(
    source: Layerwise,
    units: Sequence[Unit],
    tokens: mx.array,
    guidance: Guidance,
    *,
    rounding: Rounding = "searched",
    report: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Rounding errors of all units and candidates, and the KL of all probes on ``tokens`` (B, L).

    Args:
        report: Told units of work done, and of how many.
    """
    layers = source.config.num_hidden_layers
    total = len(units) + layers + 1
    tell = report or _silent
    errors: list[tuple[float, ...]] = []
    probed: list[tuple[float, ...]] = []
    for number, unit in enumerate(units):
        tell(number, total)
        probes = _probes(unit)
        known = unit_errors(unit, unit.candidates, guidance, rounding)
        errors.append(known)
        probed.append(unit_errors(unit, probes, guidance, "nearest"))
    groups = [g for g in groups_of(units) if all(_probes(units[m]) for m in g.members)]
    variants = [
        _variant([units[m] for m in group.members], probe)
        for group in groups
        for probe in range(len(PROBES))
    ]
    kl = divergences(source, tokens, variants, lambda done, _: tell(len(units) + done, total))
    tell(total, total)
    count = len(PROBES)
    return Sensitivity(
        tuple(errors),
        tuple(probed),
        {g.name: tuple(kl[count * n : count * (n + 1)]) for n, g in enumerate(groups)},
    )


def unit_errors(
    unit: Unit, specs: Sequence[QuantSpec | None], guidance: Guidance, rounding: Rounding
) -> tuple[float, ...]:
    """Relative rounding error for each spec: Σh(w − ŵ)² / Σhw² on sampled rows of all matrices.

    h is the importance of the input; the matrices of a unit read the same input, so that their sums
    add up. None costs nothing.
    """
    squared, power = [0.0] * len(specs), 0.0
    for matrix in unit.matrices:
        rows, weights, share = sampled(matrix, guidance)
        exact = rows.astype(mx.float32)
        counted = mx.ones((1, rows.shape[-1])) if weights is None else weights
        power += share * float((exact * exact * counted).sum())
        for number, spec in enumerate(specs):
            if spec is not None:
                apart = exact - restored(rows, spec, rounding, weights)
                squared[number] += share * float((apart * apart * counted).sum())
    return tuple(part / power if power else 0.0 for part in squared)


def sampled(matrix: Matrix, guidance: Guidance) -> tuple[mx.array, mx.array | None, float]:
    """Rows (n, in) of a matrix, their importance (1 or n, in), and how many each stands for.

    Runs of rows, evenly spread; of experts some of each. The same every time.
    """
    origin, reader = matrix.origin, FileReader()
    width, out = origin.shape[-1], origin.shape[-2]
    pieces = list(pieces_of(origin))
    total = sum(piece.rows for piece in pieces)
    wanted = max(_PLACES, _SAMPLE // width)
    found: list[mx.array] = []
    weights: list[mx.array] = []
    for piece in pieces:
        places = max(1, min(piece.rows, -(-_PLACES // len(pieces))))
        size = max(1, min(piece.rows, wanted * piece.rows // total) // places)
        for place in range(places):
            start = piece.rows * place // places
            stop = min(start + size, piece.rows * (place + 1) // places)
            found.append(part_rows(piece.part, reader, start, stop, plus_one=origin.plus_one))
            importance = guidance.weights_of(
                origin.module, out, piece.row + start, piece.row + stop
            )
            if importance is not None:
                weights.append(mx.broadcast_to(importance, (stop - start, width)))
    rows = mx.contiguous(mx.concatenate(found).astype(float_dtype(matrix.dtype)))
    mx.eval(rows)
    return rows, mx.concatenate(weights) if weights else None, total / rows.shape[0]


def _probes(unit: Unit) -> tuple[QuantSpec, ...]:
    """The probes' widths in groups that divide the unit's inputs; () where none does."""
    sizes = {spec.group_size for spec in unit.candidates if spec is not None}
    size = 64 if 64 in sizes else max(sizes, default=0)
    return tuple(QuantSpec(probe.bits, size) for probe in PROBES) if size else ()


def _variant(units: Sequence[Unit], probe: int) -> Variant:
    """The model with ``units`` rounded to nearest, as their probe of that number says."""
    chosen = {m.module: (m.dtype, _probes(unit)[probe]) for unit in units for m in unit.matrices}
    nothing = Guidance()

    def replace(module: str, matrix: Stored) -> Stored:
        if module not in chosen:
            return matrix
        dtype, spec = chosen[module]
        return rounded(matrix, module, spec, dtype, "nearest", nothing)

    return Variant(frozenset(chosen), replace)


def _silent(done: int, total: int) -> None:
    del done, total
