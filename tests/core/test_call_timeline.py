"""When calls ran, as it is kept for the report: each as a bar, or merged, and never more than a page can show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.core.events import JobKey
from jobpool.core.record.timeline import DONE, GRAIN, PIECES, RAISED, TROUBLED, Interval, Timeline
from jobpool.core.settings import CoreSettings
from jobpool.model.job import EndingKind
from jobpool.model.request import Request
from jobpool.model.run_record import RunTimeline
from jobpool.testing.simulation import Simulation

JOB, OTHER = JobKey("a", 0), JobKey("a", 1)
PLACES = {JOB: 0, OTHER: 1}


def data(bars: Timeline) -> RunTimeline:
    return bars.pieces(PLACES, ())


def sums(bars: Timeline) -> tuple[float, int]:
    """Return the seconds and the calls of all pieces."""
    kept = data(bars)
    seconds = sum(bar.seconds for bar in kept.bars) + sum(cell.seconds for cell in kept.cells)
    return seconds, sum(bar.calls for bar in kept.bars) + sum(cell.calls for cell in kept.cells)


def test_a_call_is_a_bar_and_short_ones_are_added_up() -> None:
    bars = Timeline(100.0)
    bars.add(JOB, Interval("look", 101.0, 2.0))
    bars.add(OTHER, Interval("look", 102.0, 0.0, outcome=RAISED, message="ValueError: dark"))
    bars.add(JOB, Interval("look", 103.0, GRAIN / 2))
    bars.spread(OTHER, 100.0, 2 * GRAIN, calls=1000)
    assert data(bars).as_data() == {
        "grain": GRAIN,
        "names": ["look"],
        "bars": [[0, 0, 1.0, 2.0, 1, DONE, ""], [1, 0, 2.0, 0.0, 1, RAISED, "ValueError: dark"]],
        "cells": [
            [0, 192, round(GRAIN / 2, 4), 1, 0],
            [1, 0, round(GRAIN, 4), 0, 0],
            [1, 1, round(GRAIN, 4), 0, 0],
            [1, 2, 0.0, 1000, 0],
        ],
    }


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 50), st.integers(1, 20)), min_size=1, max_size=60))
def test_nothing_is_lost_when_the_grain_grows(calls: list[tuple[bool, float, int]]) -> None:
    bars, fine = Timeline(0.0), Timeline(0.0)
    for begin, (other, seconds, count) in enumerate(calls):
        for kept in (bars, fine):
            kept.add(OTHER if other else JOB, Interval("f", float(begin), seconds, count))
    bars.grain = 8.0
    bars.spread(JOB, 0.0, 1.0, 1)
    bars._coarsen()
    seconds, count = sums(fine)
    kept_seconds, kept_count = sums(bars)
    assert kept_seconds == pytest.approx(seconds + 1.0, abs=0.2)
    assert kept_count == count + 1


@pytest.mark.parametrize("seconds", [0.001, 0.1, 60.0])
def test_any_number_of_calls_fits(seconds: float) -> None:
    bars = Timeline(0.0)
    for number in range(100_000):
        bars.add((JOB, OTHER)[number % 2], Interval("f", number * seconds / 2, seconds))
    kept = data(bars)
    assert PIECES / 3 < len(kept.bars) + len(kept.cells) <= PIECES
    kept_seconds, kept_count = sums(bars)
    assert kept_seconds == pytest.approx(100_000 * seconds, rel=0.01)
    assert kept_count == 100_000


def test_many_calls_that_came_back_together_cost_no_more_than_few() -> None:
    bars = Timeline(0.0)
    bars.add(JOB, Interval("f", 0.0, 1e6, calls=10**9))
    bars.spread(OTHER, 0.0, 1e6, calls=10**9)
    kept = data(bars)
    assert len(kept.cells) < PIECES / 2
    kept_seconds, kept_count = sums(bars)
    assert kept_seconds == pytest.approx(2e6)
    assert kept_count == 2 * 10**9


def test_calls_in_trouble_are_seen_among_any_number_of_others() -> None:
    bars = Timeline(0.0)
    for number in range(100_000):
        bars.add(
            JOB, Interval("f", float(number), 0.5, outcome=RAISED if number % 1000 == 0 else DONE, message=f"{number}")
        )
    assert [bar.words for bar in data(bars).bars if bar.outcome == RAISED] == [f"{n * 1000}" for n in range(100)]

    for number in range(10_000):
        bars.add(OTHER, Interval("f", float(number), 0.5, outcome=RAISED))
    kept = data(bars)
    assert sum(bar.outcome == RAISED for bar in kept.bars) == TROUBLED
    assert (
        sum(bar.calls for bar in kept.bars if bar.outcome == RAISED) + sum(cell.troubled for cell in kept.cells)
        == 10_100
    )


def test_what_is_known_of_a_job_is_dropped_with_it() -> None:
    bars = Timeline(0.0)
    for job in (JOB, OTHER):
        bars.add(job, Interval("f", 0.0, 1.0))
        bars.spread(job, 0.0, 1.0, 100)
    bars.forget(JOB)
    assert {bar.job for bar in data(bars).bars} == {1}
    assert {cell.job for cell in data(bars).cells} == {1}


def test_calls_of_a_lost_job_are_seen_to_run_again_and_those_that_run_to_run() -> None:
    sim = Simulation(CoreSettings(pool="t", max_workers=2, request=Request(workers_per_job=2)))
    sim.submit(2, seconds=100.0)
    sim.run(50)
    (job,) = sim.queue
    sim.end(job, EndingKind.NODE_FAILED, "NODE_FAIL")
    lost = sim.clock.now
    sim.run(30)
    record = sim.core.record(sim.clock.now)
    bars = record.timeline.bars
    assert sorted((bar.job, bar.outcome) for bar in bars) == [
        (0, "ran again"),
        (0, "ran again"),
        (1, "runs"),
        (1, "runs"),
    ]
    ends = [lost - 1000.0, sim.clock.now - 1000.0]
    assert [bar.begin + bar.seconds for bar in bars] == [pytest.approx(ends[bar.job], abs=0.1) for bar in bars]
    assert bars[0].words == "its job: node failed"

    assert sim.settle()
    record = sim.core.record(sim.clock.now)
    assert sorted(bar.outcome for bar in record.timeline.bars) == ["done", "done", "ran again", "ran again"]
