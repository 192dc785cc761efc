"""The arithmetic of asking for jobs."""

from __future__ import annotations

import pytest

from jobpool.core.jobs.cadence import Cadence
from jobpool.core.scaling.policy import Backoff, Demand, Settling, chunks, jobs_wanted
from jobpool.core.settings import CoreSettings
from jobpool.model.site import Limits

SETTINGS = CoreSettings(pool="t")


@pytest.mark.parametrize(
    ("demand", "per_job", "jobs"),
    [
        (Demand(calls=0, max_workers=20), 1, 0),
        (Demand(calls=100, max_workers=20), 1, 20),
        (Demand(calls=100, max_workers=20), 2, 10),
        (Demand(calls=100, max_workers=20), 3, 7),  # 21 workers, of which 20 are used
        (Demand(calls=3, max_workers=20), 2, 2),
        (Demand(calls=3, tasks=2, max_workers=20), 1, 5),
        (Demand(calls=0, min_workers=4, max_workers=20), 2, 2),
        (Demand(calls=1, min_workers=4, max_workers=2), 1, 2),
        (Demand(calls=0, held=7, max_workers=20), 1, 7),
        (Demand(calls=100, held=7, max_workers=20), 2, 4),
        (Demand(calls=100, held=0, max_workers=20), 1, 0),
        (Demand(calls=0, held=30, max_workers=20), 1, 30),
    ],
)
def test_jobs_wanted(demand: Demand, per_job: int, jobs: int) -> None:
    assert jobs_wanted(demand, workers_per_job=per_job, limits=Limits()) == jobs


def test_the_sites_number_of_jobs_is_kept() -> None:
    demand = Demand(calls=100, max_workers=50)
    assert jobs_wanted(demand, workers_per_job=1, limits=Limits(max_jobs=12)) == 12


def test_chunks_keep_the_array_limit() -> None:
    assert chunks(20, Limits()) == [20]
    assert chunks(20, Limits(max_array_size=8)) == [8, 8, 4]
    assert chunks(1, Limits(max_array_size=8)) == [1]
    assert chunks(0, Limits()) == []
    assert chunks(20, Limits(max_array_size=8), 10) == [8, 8, 4]
    assert chunks(20, Limits(), 10) == [10, 10]
    assert chunks(3, Limits(), 1) == [1, 1, 1]


def test_demand_that_grows_is_waited_for_but_not_long() -> None:
    settling = Settling().step(1, 10.0)
    assert settling.due(SETTINGS) == 10.2
    settling = settling.step(2, 10.1)
    assert settling.due(SETTINGS) == pytest.approx(10.3)
    assert settling.step(2, 10.25).due(SETTINGS) == pytest.approx(10.3)
    for step in range(3, 30):
        settling = settling.step(step, 10.1 + step / 20)
    assert settling.due(SETTINGS) == 11.0


def test_backoff_doubles_to_its_end() -> None:
    backoff, pauses, now = Backoff(), [], 0.0
    for _ in range(7):
        backoff = backoff.longer(now, SETTINGS)
        pauses.append(backoff.until - now)
        now = backoff.until
    assert pauses == [15, 30, 60, 120, 240, 300, 300]


def test_a_refused_array_is_halved_soon_and_a_refused_job_waits() -> None:
    backoff = Backoff().refused(20, 0.0, SETTINGS)
    assert (backoff.most, backoff.until) == (10, 1.0)
    backoff = backoff.refused(10, 1.0, SETTINGS).refused(5, 2.0, SETTINGS).refused(2, 3.0, SETTINGS)
    assert (backoff.most, backoff.until) == (1, 4.0)
    backoff = backoff.refused(1, 4.0, SETTINGS)
    assert (backoff.most, backoff.until) == (1, 19.0)
    backoff = backoff.refused(1, 19.0, SETTINGS)
    assert backoff.until == 49.0


def test_after_a_refusal_the_way_up_is_felt() -> None:
    backoff = Backoff(until=10.0, step=60.0, most=1).accepted(1)
    assert (backoff.most, backoff.step) == (2, 0.0)
    assert Backoff().accepted(20).most is None


def test_the_polls_slow_down_while_nothing_changes() -> None:
    cadence, gaps, now = Cadence(0.0, 2.0), [], 0.0
    for _ in range(10):
        cadence = cadence.quiet(now, 60.0, SETTINGS)
        gaps.append(cadence.due - now)
        now = cadence.due
    assert gaps[:3] == [4.0, 8.0, 16.0]
    assert gaps[-1] == 60.0
    assert cadence.hurry(now - 30, 2.0).due == now - 28
