from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize.allocate import Allocation, Choice, allocate, frontier, hull, relaxed

Units = list[list[Choice]]

choices = st.builds(
    Choice, st.integers(1, 60), st.floats(0, 100, allow_nan=False).map(lambda x: round(x, 3))
)
problems = st.lists(st.lists(choices, min_size=1, max_size=4), min_size=1, max_size=5)


def best(units: Units, budget: int) -> float | None:
    """The least loss by trying everything."""
    sums = (
        (sum(c.nbytes for c in picked), sum(c.loss for c in picked)) for picked in product(*units)
    )
    return min((loss for nbytes, loss in sums if nbytes <= budget), default=None)


def is_sound(found: Allocation, units: Units, budget: int) -> bool:
    picked = [unit[index] for unit, index in zip(units, found.chosen, strict=True)]
    return (
        found.nbytes == sum(c.nbytes for c in picked)
        and found.loss == pytest.approx(sum(c.loss for c in picked))
        and found.fits == (found.nbytes <= budget)
    )


@given(problems, st.integers(0, 300))
def test_a_small_problem_is_solved_exactly(units: Units, budget: int) -> None:
    found, least = allocate(units, budget), best(units, budget)
    assert is_sound(found, units, budget)
    if least is None:
        assert not found.fits
        assert found.nbytes == sum(min(c.nbytes for c in unit) for unit in units)
    else:
        assert found.fits
        assert found.loss == pytest.approx(least)


@given(problems, st.integers(0, 300))
def test_the_relaxation_is_within_one_step_of_the_optimum(units: Units, budget: int) -> None:
    found, least = relaxed(units, budget), best(units, budget)
    assert is_sound(found, units, budget)
    if least is None:
        assert not found.fits
        assert found.nbytes == sum(min(c.nbytes for c in unit) for unit in units)
        return
    steps = [
        unit[low].loss - unit[high].loss
        for unit in units
        for points in [hull(unit)]
        for low, high in pairwise(points)
    ]
    assert found.fits
    assert found.loss <= least + max(steps, default=0) + 1e-9


@given(problems, st.integers(0, 300), st.integers(0, 60))
def test_more_room_never_loses_more(units: Units, budget: int, more: int) -> None:
    for solve in (allocate, relaxed):
        less, wider = solve(units, budget), solve(units, budget + more)
        if less.fits:
            assert wider.fits
            assert wider.loss <= less.loss + 1e-9


@given(st.lists(choices, min_size=1, max_size=8))
def test_hull_is_convex_and_part_of_the_frontier(unit: list[Choice]) -> None:
    kept, points = frontier(unit), hull(unit)
    assert set(points) <= set(kept)
    assert points[0] == kept[0]
    assert points[-1] == kept[-1]
    slopes = [
        (unit[b].loss - unit[a].loss) / (unit[b].nbytes - unit[a].nbytes)
        for a, b in pairwise(points)
    ]
    assert slopes == sorted(slopes)
    for index in kept:
        beaten = [c for c in unit if c.nbytes <= unit[index].nbytes and c.loss < unit[index].loss]
        assert not beaten


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 0.9))
def test_a_large_problem_stays_near_the_bound(seed: int, share: float) -> None:
    """Sizes without a common measure, too many sums to keep: against the relaxation's own bound."""
    random = Random(seed)
    units = [
        [
            Choice(size * bits + random.randrange(1000), scale * 4.0**-bits)
            for bits in (2, 3, 4, 5, 6, 8)
        ]
        for size, scale in (
            (random.randrange(10_000, 90_000), 10 ** random.uniform(-3, 1)) for _ in range(200)
        )
    ]
    low = sum(min(c.nbytes for c in unit) for unit in units)
    high = sum(max(c.nbytes for c in unit) for unit in units)
    budget = int(low + share * (high - low))
    found = allocate(units, budget)
    assert is_sound(found, units, budget)
    assert found.fits
    # No choice at any price per byte can beat the Lagrangian's value.
    bound = max(
        sum(min(c.loss + price * c.nbytes for c in unit) for unit in units) - price * budget
        for price in (10.0**power for power in [p / 4 for p in range(-44, -8)])
    )
    assert bound <= found.loss + 1e-9
    assert found.nbytes > 0.999 * budget
    assert found.loss <= allocate(units, int(budget * 0.995)).loss
