"""Which choice for each unit loses least within a number of bytes: a multiple-choice knapsack.

Two solvers. Small problems are solved exactly, by the frontier of all sums of bytes and loss
(Nemhauser and Ullmann 1969). Larger ones by Sinha and Zoltners' relaxation (Operations Research 27,
1979): on the convex hull of each unit's choices the steps of steepest descent, taken in order, are
optimal at every budget where a step ends; between two such ends, single choices and pairs of them
are tried, so that the loss is within one step of the optimum.

Which solver serves, and which solutions are looked at, never depends on the budget: therefore a
larger budget never loses more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Sums that the exact solver keeps and the work that it may do, about a second, before it gives way.
_STATES = 4096
_WORK = 1_000_000


@dataclass(frozen=True, slots=True)
class Choice:
    """What a unit may become: its size, and what is lost by it."""

    nbytes: int
    loss: float


@dataclass(frozen=True, slots=True)
class Allocation:
    """A choice for each unit, by index. Where not even the smallest ``fits``, that one."""

    chosen: tuple[int, ...]
    nbytes: int
    loss: float
    fits: bool


def allocate(units: Sequence[Sequence[Choice]], budget: int) -> Allocation:
    """The choices of least total loss whose bytes add up to at most ``budget``.

    Args:
        units: The choices of each unit, at least one, in any order.
    """
    return _exact(units, budget) or relaxed(units, budget)


def frontier(choices: Sequence[Choice]) -> list[int]:
    """Indices of the choices that no other beats in bytes and loss both, by growing bytes."""
    order = sorted(range(len(choices)), key=lambda i: (choices[i].nbytes, choices[i].loss, i))
    kept: list[int] = []
    for index in order:
        if not kept or choices[index].loss < choices[kept[-1]].loss:
            kept.append(index)
    return kept


def hull(choices: Sequence[Choice]) -> list[int]:
    """Of the frontier those on its lower convex hull: each step gains less per byte than before."""
    kept: list[int] = []
    for index in frontier(choices):
        while len(kept) > 1 and not _steeper(choices, kept[-2], kept[-1], index):
            kept.pop()
        kept.append(index)
    return kept


def _steeper(choices: Sequence[Choice], first: int, middle: int, last: int) -> bool:
    """Whether the way from ``first`` to ``middle`` gains more per byte than on to ``last``."""
    a, b, c = choices[first], choices[middle], choices[last]
    return (a.loss - b.loss) * (c.nbytes - b.nbytes) > (b.loss - c.loss) * (b.nbytes - a.nbytes)


def _exact(units: Sequence[Sequence[Choice]], budget: int) -> Allocation | None:
    """None where there are too many sums to keep."""
    # A state is (bytes, loss, choice of its last unit, index of the state before).
    layers: list[list[tuple[int, float, int, int]]] = [[(0, 0.0, -1, -1)]]
    work = 0
    for choices in units:
        kept = frontier(choices)
        before = layers[-1]
        work += len(kept) * len(before)
        if work > _WORK:
            return None
        sums = [
            (nbytes + choices[index].nbytes, loss + choices[index].loss, index, origin)
            for origin, (nbytes, loss, _, _) in enumerate(before)
            for index in kept
        ]
        sums.sort()
        states: list[tuple[int, float, int, int]] = []
        for state in sums:
            if not states or state[1] < states[-1][1]:
                states.append(state)
        if len(states) > _STATES:
            return None
        layers.append(states)
    last = layers[-1]
    place = max(bisect_right(last, budget, key=lambda state: state[0]) - 1, 0)
    chosen: list[int] = []
    at = place
    for states in reversed(layers[1:]):
        _, _, index, at = states[at]
        chosen.append(index)
    return _sum(units, tuple(reversed(chosen)), budget)


def relaxed(units: Sequence[Sequence[Choice]], budget: int) -> Allocation:
    """The solver of large problems: within one step of a hull of the optimum."""
    current, following = _ends(units, budget)
    start = _sum(units, current, budget)
    if not start.fits or following is None:
        return start
    best, chosen = (start.loss, start.nbytes), current
    for base in (current, following):
        at = _sum(units, base, budget)
        for nbytes, loss, moves in _moves(units, base, budget - at.nbytes):
            found = (at.loss + loss, at.nbytes + nbytes)
            if found < best:
                best, chosen = found, _with(base, moves)
    return _sum(units, chosen, budget)


def _ends(
    units: Sequence[Sequence[Choice]], budget: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The last optimum of the relaxation within the budget, and the first one beyond it."""
    hulls = [hull(choices) for choices in units]
    steps: list[tuple[float, int, int, int]] = []
    for unit, points in enumerate(hulls):
        choices = units[unit]
        for level in range(1, len(points)):
            low, high = choices[points[level - 1]], choices[points[level]]
            gain = (low.loss - high.loss) / (high.nbytes - low.nbytes)
            steps.append((-gain, unit, level, high.nbytes - low.nbytes))
    steps.sort()
    levels = [0] * len(units)
    total = sum(units[u][points[0]].nbytes for u, points in enumerate(hulls))

    def chosen() -> tuple[int, ...]:
        return tuple(hulls[unit][level] for unit, level in enumerate(levels))

    for _, unit, level, nbytes in steps:
        if total + nbytes > budget:
            here = chosen()
            levels[unit] = level
            return here, chosen()
        total += nbytes
        levels[unit] = level
    return chosen(), None


def _moves(
    units: Sequence[Sequence[Choice]], base: tuple[int, ...], slack: int
) -> Iterator[tuple[int, float, tuple[tuple[int, int], ...]]]:
    """One or two units chosen otherwise, at most ``slack`` bytes more: (bytes, loss, what).

    Of the pairs with one first move only the best is given.
    """
    moves = [
        (choice.nbytes - choices[base[u]].nbytes, choice.loss - choices[base[u]].loss, u, i)
        for u, choices in enumerate(units)
        for i, choice in enumerate(choices)
        if i != base[u]
    ]
    moves.sort()
    # For each number of smallest moves, the best of them and the best of another unit.
    leaders: list[tuple[int, ...]] = []
    for place, (_, loss, unit, _) in enumerate(moves):
        former = leaders[-1] if leaders else ()
        own = [p for p in former if moves[p][2] == unit and moves[p][1] <= loss]
        pool = [p for p in former if moves[p][2] != unit] + (own or [place])
        leaders.append(tuple(sorted(pool, key=lambda p: (moves[p][1], p))[:2]))
    sizes = [move[0] for move in moves]
    for nbytes, loss, unit, index in moves:
        if nbytes <= slack:
            yield nbytes, loss, ((unit, index),)
        place = bisect_right(sizes, slack - nbytes) - 1
        partner = (
            next((p for p in leaders[place] if moves[p][2] != unit), None) if place >= 0 else None
        )
        if partner is not None:
            more, gain, *other = moves[partner]
            yield nbytes + more, loss + gain, ((unit, index), (other[0], other[1]))


def _with(base: tuple[int, ...], moves: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    changed = list(base)
    for unit, index in moves:
        changed[unit] = index
    return tuple(changed)


def _sum(units: Sequence[Sequence[Choice]], chosen: tuple[int, ...], budget: int) -> Allocation:
    picked = [choices[index] for choices, index in zip(units, chosen, strict=True)]
    nbytes = sum(choice.nbytes for choice in picked)
    return Allocation(chosen, nbytes, sum(choice.loss for choice in picked), nbytes <= budget)
