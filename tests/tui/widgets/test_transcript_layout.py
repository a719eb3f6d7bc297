"""Positions of messages whose heights are guesses until somebody looks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.widgets.transcript_layout import KEPT, Layout
from tui.widgets.transcript_message import Labels, Message, MessageView


class Box(Message):
    """A message with a guessed and a true height."""

    def __init__(self, guess: int, true: int) -> None:
        super().__init__(MessageView("user"), Labels())
        self.guess, self.true = guess, true

    def estimate(self, width: int) -> int:
        return self.guess

    def layout(self, width: int) -> int:
        return self.true


HEIGHTS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60)


def layout_of(heights: list[tuple[int, int]]) -> Layout:
    layout = Layout()
    layout.set_messages(Box(*pair) for pair in heights)
    return layout


def visible(layout: Layout, top: int, height: int) -> range:
    first, _ = layout.at(top)
    last, _ = layout.at(min(top + height, layout.total) - 1)
    return range(first, last + 1)


@settings(deadline=None)
@given(HEIGHTS, st.integers(1, 40))
def test_the_end_shows_the_last_lines_all_measured(
    heights: list[tuple[int, int]], page: int
) -> None:
    layout = layout_of(heights)
    top = layout.settle_end(page)
    assert top == max(0, layout.total - page)
    shown = visible(layout, top, page)
    assert shown[-1] == len(heights) - 1
    assert all(layout.known(index) for index in shown)


@settings(deadline=None)
@given(HEIGHTS, st.integers(2, 40), st.lists(st.integers(-39, 39), max_size=12))
def test_scrolling_moves_what_stays_visible_by_exactly_the_scroll(
    heights: list[tuple[int, int]], page: int, steps: list[int]
) -> None:
    layout = layout_of(heights)
    top = layout.settle_end(page)
    for step in steps:
        step = max(-page, min(page, step))
        pivot, _ = layout.at(top)
        before = layout.start(pivot) - top
        asked = max(0, min(top + step, layout.total - page))
        expected = before - (asked - top)
        top = layout.settle(asked, page, pivot)
        assert 0 <= top <= max(0, layout.total - page)
        assert all(layout.known(index) for index in visible(layout, top, page))
        if 0 < top < layout.total - page:
            assert layout.start(pivot) - top == expected


@given(HEIGHTS)
def test_starts_are_sums_of_heights_after_any_measurement(heights: list[tuple[int, int]]) -> None:
    layout = layout_of(heights)
    for index in range(0, len(heights), 3):
        layout.measure(index)
    expected = 0
    for index, (guess, true) in enumerate(heights):
        assert layout.start(index) == expected
        assert layout.at(expected) == (index, 0)
        expected += guess if index % 3 else true
    assert layout.total == expected
    assert layout.at(expected) == (len(heights), 0)


def test_removing_and_appending_keeps_the_sums() -> None:
    layout = layout_of([(3, 5)] * 10)
    layout.settle_end(100)
    layout.remove_from(4)
    assert layout.total == 20
    layout.append(Box(7, 9))
    assert layout.total == 27
    layout.measure(4)
    assert layout.total == 29


def test_lines_of_messages_long_unseen_are_released() -> None:
    layout = layout_of([(1, 1)] * (3 * KEPT))
    for top in range(0, 3 * KEPT, 10):
        layout.settle(top, 10, 0)
    assert len(layout.laid_out) <= KEPT + 10
    assert layout.total == 3 * KEPT


def test_a_new_width_makes_every_height_a_guess_and_keeps_the_anchor() -> None:
    layout = Layout()
    layout.set_messages(Message(MessageView("user", "word " * 40), Labels()) for _ in range(50))
    layout.settle_end(20)
    anchor = layout.anchor(layout.start(45) + 1)
    layout.set_width(20)
    assert not layout.known(45)
    y = layout.position(anchor)
    assert layout.at(y)[0] == 45
