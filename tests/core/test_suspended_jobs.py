"""Jobs that the batch system suspends: they keep their calls, however long their agents say nothing."""

from __future__ import annotations

import pytest
from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.model.job import EndingKind
from jobpool.model.request import Request
from jobpool.model.units import Duration
from jobpool.testing.simulation import Simulation


def suspended(sim: Simulation, count: int) -> bool:
    return sim.run(70, until=lambda: states(sim).count("suspended") == count)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("seconds", [20.0, 330.0, 12 * 3600.0])
def test_a_suspended_job_keeps_its_calls(seconds: float, announced: bool) -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(6, seconds=50.0)
    serving(sim, 2)
    sim.run(1)
    for agent in sim.agents:
        sim.suspend(agent.job, announced=announced)
    assert suspended(sim, 2)
    sim.tick_seconds = max(1.0, seconds / 400)
    sim.run(seconds)
    sim.tick_seconds = 1.0
    assert sum("the batch system has suspended job" in text for text in sim.notices) == 1
    for agent in sim.agents:
        sim.resume(agent.job)
    assert sim.settle(300)
    assert sim.results.keys() == set(ids)
    assert set(sim.runs.values()) == {1}
    assert len(sim.submits) == 1
    assert not actions(sim, act.CancelJobs)
    finish(sim)


def test_a_suspended_job_gets_no_calls_and_others_do_the_rest() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(10, seconds=20.0)
    serving(sim, 2)
    sim.run(1)
    first, second = sim.agents
    sim.suspend(first.job)
    assert suspended(sim, 1)
    sim.run(1000)
    kept = {call.id for call in first.running.values()}
    assert 1 <= len(sim.open_calls) <= 2  # what it ran, and what was on its way
    assert kept <= set(sim.open_calls)
    assert len(sim.submits) == 1
    sim.resume(first.job)
    assert sim.settle(100)
    assert sim.results.keys() == set(ids)
    assert second.job.ending is None or second.job.ending.kind is EndingKind.COMPLETED


def test_a_job_that_was_suspended_gets_calls_again_and_its_walltime_is_as_much_longer() -> None:
    sim = pool(max_workers=1, request=Request(walltime=Duration(600.0)))
    sim.submit(1, seconds=1.0)
    assert sim.settle(60)
    (agent,) = sim.agents
    sim.suspend(agent.job)
    assert suspended(sim, 1)
    sim.run(1000)  # beyond its walltime as it was
    sim.resume(agent.job)
    sim.run(2)
    ids = sim.submit(1, seconds=300.0)
    assert sim.settle(400)
    assert sim.results.keys() >= set(ids)
    assert len(sim.submits) == 1


def test_a_suspended_job_that_loses_its_connection_keeps_its_calls_until_it_is_resumed() -> None:
    sim = pool(max_workers=1)
    (id,) = sim.submit(1, seconds=50.0)
    serving(sim, 1)
    sim.run(1)
    (agent,) = sim.agents
    sim.suspend(agent.job)
    assert suspended(sim, 1)
    sim.feed(ev.AgentLeft(sim.clock.now, agent.job.key, "", agent.pid))
    agent.connected = False
    polls = len(actions(sim, act.Poll))
    sim.run(600)
    assert states(sim) == ["suspended"]
    assert len(actions(sim, act.Poll)) - polls < 25
    sim.resume(agent.job)
    assert sim.settle(200)
    assert sim.runs[id] == 2
    assert not sim.overlaps


def test_a_suspended_job_that_is_cancelled_loses_its_calls_to_others() -> None:
    sim = pool(max_workers=1)
    (id,) = sim.submit(1, seconds=50.0)
    serving(sim, 1)
    sim.run(1)
    (agent,) = sim.agents
    sim.suspend(agent.job)
    assert suspended(sim, 1)
    sim.end(agent.job, EndingKind.CANCELLED, "CANCELLED by 0")
    assert sim.settle(200)
    assert sim.runs[id] == 2


def test_a_pool_that_ends_cancels_its_suspended_jobs() -> None:
    sim = pool(max_workers=1)
    sim.submit(1, seconds=50.0)
    serving(sim, 1)
    sim.run(1)
    sim.suspend(sim.agents[0].job)
    assert suspended(sim, 1)
    sim.shut_down(cancel_waiting=True, kill=True)
    assert sim.run(120, until=lambda: sim.finished is not None)
    assert not sim.queue
