"""What calls used, counted in little room: quantiles, sums of one message, and how a run went over time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from jobpool.core.histograms import NAMES, FunctionStatistics, Histogram, Statistics, Sum
from jobpool.core.record.series import STEPS, Recent, Series
from jobpool.model.call import Outcome, Usage
from jobpool.model.units import Memory

sizes = st.one_of(st.floats(1e-7, 1e15), st.integers(0, 2**50))


@given(st.lists(sizes, min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_6_percent_and_never_too_small(values: list[float], part: float) -> None:
    counted = Histogram()
    for value in values:
        counted.add(value)
    exact = sorted(values)[math.ceil(len(values) * part) - 1]
    found = counted.quantile(part)
    assert found is not None
    assert exact <= found <= exact * (1 + 1 / 16) + 1e-12
    assert counted.largest == max(values)


@given(st.lists(sizes, max_size=20), st.lists(sizes, max_size=20))
def test_two_histograms_are_one(first: list[float], second: list[float]) -> None:
    left, right, both = Histogram(), Histogram(), Histogram()
    for values, into in ((first, left), (second, right), (first + second, both)):
        for value in values:
            into.add(value)
    left.merge(right)
    assert (left.count, left.quantile(0.5), left.largest) == (both.count, both.quantile(0.5), both.largest)


def outcome(wall: float, memory: int, *, rows: int = 0, failures: int = 0) -> Outcome:
    usage = Usage(wall=wall, cpu=wall / 2, peak_memory=Memory(memory), threads=3)
    return Outcome(
        1, not failures, b"", usage, rows=rows, failures=failures, words="ValueError: no" if failures else ""
    )


def test_short_calls_of_a_message_are_counted_together_and_long_and_failed_ones_alone() -> None:
    total = Sum(FunctionStatistics("f", ""))
    for one in (outcome(0.001, 100), outcome(0.003, 300), outcome(5.0, 800), outcome(0.002, 200, failures=1)):
        total.add(one)
    total.add(outcome(0.004, 250, rows=4))
    total.close()
    statistics = total.statistics
    assert (statistics.done, statistics.failed, total.calls, total.failures) == (7, 1, 8, 1)
    assert [one.usage.wall for one in total.notable if one.usage] == [5.0, 0.002]
    assert statistics.wall.count == statistics.memory.count == 8
    assert math.isclose(statistics.wall.total, 5.010)
    assert (statistics.memory.largest, statistics.threads) == (800, 3)
    assert statistics.cpus is not None
    assert math.isclose(statistics.cpus, 0.5)


def test_a_million_functions_of_other_names_do_not_fill_the_memory() -> None:
    statistics = Statistics()
    for number in range(20 * NAMES):
        statistics.of(f"{number:032x}:f{number}", "").open += 1
    found = list(statistics)
    assert len(found) <= NAMES + 1
    assert sum(statistics.open for statistics in found) == 20 * NAMES


def test_a_long_run_is_told_in_as_many_steps_as_a_short_one() -> None:
    series = Series(100.0)
    for second in range(10 * STEPS):
        series.at(100.0 + second).done += 1
    data = series.kept()
    assert len(data.steps) <= STEPS
    assert sum(step.done for step in data.steps) == 10 * STEPS
    assert {step.done for step in data.steps[:-1]} == {data.width}


def test_the_rate_is_that_of_the_last_minutes() -> None:
    recent = Recent()
    assert recent.rate(0.0) is None
    for second in range(100):
        recent.add(10, float(second))
    now = recent.rate(100.0)
    assert now is not None
    assert math.isclose(now, 10, rel_tol=0.05)
    assert recent.rate(1000.0) == 0.0
