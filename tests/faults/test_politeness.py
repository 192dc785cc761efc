"""How much a pool asks of the batch system, also when everything goes wrong: with figures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sites import PATIENCE, FakeSite

from jobpool.core import actions as act
from jobpool.core.settings import CoreSettings
from jobpool.model.errors import JobsFailed
from jobpool.model.request import Request
from jobpool.testing import FakeCluster
from jobpool.testing.simulation import Simulation

HOUR = 3600.0
DAY = 24 * HOUR


class Counted(Simulation):
    """A simulation that notes when what was asked of the batch system."""

    def __init__(self, **settings: object) -> None:
        self.asked: list[tuple[float, act.Action]] = []
        super().__init__(CoreSettings(pool="t", **settings))  # type: ignore[arg-type]

    def _carry_out(self, action: act.Action) -> None:
        self.asked.append((self.clock.now, action))
        super()._carry_out(action)

    def times(self, kind: type[act.Action]) -> list[float]:
        return [time for time, action in self.asked if isinstance(action, kind)]

    def most_in(self, kind: type[act.Action], seconds: float) -> int:
        """Return how many there were at most in a time of this length."""
        times = self.times(kind)
        return max((sum(start <= time < start + seconds for time in times) for start in times), default=0)


# ------------------------------------------------------------------------------------------------------------ the polls


def test_a_day_in_the_queue_costs_a_question_a_minute() -> None:
    sim = Counted(max_workers=100)
    sim.start_delay = 2 * DAY
    sim.submit(1000)
    sim.run(DAY)
    assert len(sim.times(act.SubmitJobs)) == 1
    assert 1400 < len(sim.times(act.Poll)) < 1460
    assert not sim.times(act.CancelJobs)


def test_a_hundred_agents_that_leave_one_after_the_other_bring_a_question_every_two_seconds() -> None:
    sim = Counted(max_workers=100)
    sim.submit(10000, seconds=50.0)
    assert sim.run(60, until=lambda: len(sim.agents) == 100)
    sim.run(20)
    begin = sim.clock.now
    for agent in list(sim.agents):
        sim.crash_agent(agent)
        sim.run(0.2)
    polls = [time for time in sim.times(act.Poll) if time >= begin]
    assert len(polls) <= 12
    assert min(after - before for before, after in pairwise(polls)) >= 1.99


def test_a_controller_that_is_down_for_a_day_is_asked_once_a_minute_and_told_once() -> None:
    sim = Counted(max_workers=4)
    sim.submit(100, seconds=3000.0)
    assert sim.run(60, until=lambda: len(sim.agents) == 4)
    sim.faults.deaf = True
    begin = sim.clock.now
    sim.run(DAY)
    assert len([time for time in sim.times(act.Poll) if time > begin]) < 1460
    assert len([notice for notice in sim.notices if "does not answer" in notice]) == 1


# ---------------------------------------------------------------------------------------------------------- the submits


@pytest.mark.parametrize("fault", ["script_fails", "never_connect"])
@pytest.mark.parametrize("workers", [1, 10, 200])
def test_jobs_that_fail_at_once_are_never_a_storm(fault: str, workers: int) -> None:
    sim = Counted(max_workers=workers)
    setattr(sim.faults, fault, True)
    ids = sim.submit(10 * workers)
    assert sim.settle(2 * HOUR)
    assert {type(sim.errors[id]) for id in ids} == {JobsFailed}
    sim.run(2 * HOUR)
    # One at a time: three. All at once: those, and nothing after them.
    assert len(sim.jobs) <= workers + 2
    assert len(sim.times(act.SubmitJobs)) <= 3


def test_jobs_that_are_taken_away_again_and_again_are_asked_for_ever_more_rarely() -> None:
    sim = Counted(max_workers=4, request=Request())
    sim.submit(100, seconds=3600.0)
    end = sim.clock.now + 4 * HOUR
    while sim.clock.now < end:
        for agent in list(sim.agents):
            sim.crash_agent(agent)
        sim.run(1.0)
    # Doubling pauses of 15 s to 5 min: 48 rounds in four hours, and not the thousands that would be possible.
    assert len(sim.times(act.SubmitJobs)) < 70
    assert sim.most_in(act.SubmitJobs, 300.0) <= 12


@pytest.fixture
def fake_site(home: Path, tmp_path: Path) -> Iterator[FakeSite]:
    """A fake SLURM of the test's own."""
    with FakeCluster(tmp_path / "fake") as cluster:
        site = FakeSite(cluster)
        with site.entered():
            yield site


def test_the_whole_traffic_of_a_failing_setup(fake_site: FakeSite) -> None:
    with fake_site.pool(8, setup=["exit 3"]) as pool:
        futures = [pool.submit(abs, number) for number in range(100)]
        assert all(isinstance(future.exception(PATIENCE), JobsFailed) for future in futures)
    cluster = fake_site.cluster
    assert len(cluster.jobs) <= 10
    assert len(cluster.commands_of("sbatch")) <= 2
    assert len(cluster.commands_of("squeue")) <= 10
    assert len(cluster.commands_of("sacct")) <= 2
    assert len(cluster.commands_of("scancel")) <= 3
