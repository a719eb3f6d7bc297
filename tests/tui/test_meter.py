"""What reports of long work add up to, and how that is drawn in any width."""

from __future__ import annotations

import io
from dataclasses import replace
from threading import Event

import pytest
from rich.cells import cell_len
from rich.console import Console

from quantize.progress import Progress
from tui.commands.meter import Meter, joined, peak_memory
from tui.units import clock


class Clock:
    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


def rounding(read, *, resumed=0, shards=0):
    return Progress(
        "quantise",
        tensors_done=read // 10**9,
        tensors_total=400,
        bytes_read=read,
        bytes_read_total=40 * 10**9,
        bytes_written=read // 4,
        bytes_written_total=10**10,
        shards_done=shards,
        shards_total=8,
        bytes_resumed=resumed,
    )


def drawn(meter, width):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, legacy_windows=False).print(meter)
    return out.getvalue()


@pytest.fixture
def now():
    return Clock()


@pytest.fixture
def meter(now):
    return Meter("a source → an output", now)


def test_speed_and_time_left(meter, now):
    meter.report(rounding(0))
    assert meter.rate is None
    now.time += 0.5
    meter.report(rounding(10**9))
    assert meter.seconds_left is None  # half a second says nothing yet
    now.time += 1.5
    meter.report(rounding(4 * 10**9))
    assert meter.rate == 2e9
    assert meter.seconds_left == 18
    assert meter.elapsed == 2


def test_speed_is_that_of_late(meter, now):
    for _ in range(100):
        now.time += 1
        meter.report(rounding(0))
    for second in range(1, 21):
        now.time += 1
        meter.report(rounding(second * 10**9))
    assert meter.rate == pytest.approx(1e9, rel=0.1)


def test_a_stage_that_begins_to_count_anew(meter, now):
    for done in (0, 40):
        now.time += 10
        meter.report(Progress.of("refine", done, 40, "layers"))
    for done in (0, 1):
        now.time += 2
        meter.report(Progress.of("refine", done, 11, "steps"))
    assert meter.rate == 0.5
    assert meter.seconds_left == 20


def test_work_of_an_earlier_run_is_no_speed(meter, now):
    meter.report(rounding(0))
    meter.report(rounding(20 * 10**9, resumed=20 * 10**9))
    now.time += 2
    meter.report(rounding(22 * 10**9, resumed=20 * 10**9))
    assert meter.rate == 1e9
    assert meter.seconds_left == 18


def test_stages_of_other_units(meter, now):
    meter.report(Progress("plan"))
    now.time += 3
    meter.report(Progress.of("calibrate", 0, 48, "layer 0"))
    now.time += 4
    meter.report(Progress.of("calibrate", 8, 48, "layer 8"))
    assert meter.seconds_left == 20
    record = meter.to_json()
    assert (record["stage"], record["done"], record["total"]) == ("calibrate", 8, 48)
    assert record["bytes_per_second"] is None
    assert record["seconds_left"] == 20
    shown = drawn(meter, 100)
    assert "✓ read headers  0:03" in shown
    assert "8/48 · layer 8" in shown
    now.time += 1
    meter.report(rounding(0))
    assert "✓ calibrate  0:05" in drawn(meter, 100)


def test_waiting_for_a_shard_is_part_of_rounding(meter, now):
    meter.report(rounding(0))
    for read in (1, 2, 3):
        now.time += 2
        waiting = replace(rounding(read * 10**9), stage="fetch", message="waiting for model-2")
        meter.report(replace(waiting, done=10, total=20))
        assert "waiting for model-2" in drawn(meter, 100)
        now.time += 2
        meter.report(rounding(read * 10**9))
    shown = drawn(meter, 100)
    assert "● quantise" in shown
    assert "✓" not in shown
    assert meter.to_json()["stage"] == "quantise"


def test_a_shard_counts_as_it_arrives_and_not_twice(meter, now):
    meter.report(rounding(0))
    shard = 10 * 10**9
    for arrived in (2, 4, 6, 8, 10):
        now.time += 1
        waiting = replace(rounding(0), stage="fetch", message="m-1", done=arrived * 10**9)
        meter.report(replace(waiting, total=shard))
    shown = drawn(meter, 100)
    assert "m-1 (10.0 GB of 10.0 GB)" in shown
    assert "25%" in shown
    assert meter.seconds_left == 15
    meter.report(rounding(10**9, shards=0))
    assert "25%" in drawn(meter, 100)  # one tenth of it read, all of it here
    now.time += 5
    meter.report(rounding(20 * 10**9, shards=2))
    assert meter.to_json()["share"] == 0.5
    assert meter.seconds_left == 10


def test_a_stage_that_comes_again_has_one_line(meter, now):
    for _ in range(3):
        meter.report(Progress.of("check", 1, 2))
        now.time += 2
        meter.report(rounding(0))
        now.time += 2
    assert drawn(meter, 100).count("✓ check  0:06") == 1


def test_what_is_drawn(meter, now):
    meter.report(rounding(0))
    now.time += 2
    meter.report(rounding(10 * 10**9, shards=2))
    shown = " ".join(drawn(meter, 120).split())
    for words in (
        "a source → an output",
        "● quantise",
        "25%",
        "shard 3/8 · 10/400 tensors · 10.0 GB of 40.0 GB",
        "5.0 GB/s",
        "0:02 passed · 0:06 left",
        "peak memory",
    ):
        assert words in shown


def test_that_it_is_being_stopped(now):
    stopping = Event()
    meter = Meter("title", now, stopping=stopping)
    meter.report(rounding(0))
    assert "● quantise" in drawn(meter, 120)
    stopping.set()
    assert "● stopping" in drawn(meter, 120)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(meter, now, width):
    meter.report(Progress.of("fetch", 0, 3))
    now.time += 5
    meter.report(rounding(0))
    now.time += 2
    meter.report(rounding(10 * 10**9, shards=2))
    lines = drawn(meter, width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    if width >= 40:
        assert "…" not in "".join(lines)  # everything is told, on more lines


def test_nothing_reported_yet(meter):
    assert meter.to_json() == {}
    assert drawn(meter, 80) == "a source → an output\n"


def test_messages_cannot_act_on_the_terminal(meter):
    meter.report(Progress.of("check", 1, 2, "bad\x1b[2J\nname"))
    assert "bad␛[2J name" in drawn(meter, 80)


def test_joined():
    assert joined(["aa", "bb", "cc"], 7) == ["aa · bb", "cc"]
    assert joined(["longer than that", "b"], 5) == ["longer than that", "b"]
    assert joined([], 5) == []


def test_clock():
    assert [clock(s) for s in (0.4, 7, 61, 3600, 86_399.6)] == [
        "0:00",
        "0:07",
        "1:01",
        "1:00:00",
        "24:00:00",
    ]


def test_peak_memory_is_in_bytes():
    assert 10_000_000 < peak_memory() < 100_000_000_000
