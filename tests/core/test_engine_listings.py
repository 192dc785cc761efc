"""Whole stories of a pool whose batch system shows an old listing, or one with holes: patience, and one submit."""

from __future__ import annotations

import pytest
from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.model.errors import JobsFailed
from jobpool.model.job import EndingKind

AGE = 60.0
"""Seconds that a site's listing may be old."""


@pytest.mark.parametrize("accounting", [True, False])
@pytest.mark.parametrize("count", [1, 4])
def test_jobs_that_an_old_listing_does_not_show_yet_are_waited_for(accounting: bool, count: int) -> None:
    sim = pool(max_workers=count)
    sim.faults.listing_age, sim.faults.accounting, sim.start_delay = AGE, accounting, 100.0
    ids = sim.submit(count)
    assert sim.settle(600)
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert not actions(sim, act.CancelJobs)


def test_the_accounting_alone_keeps_jobs_that_the_listing_never_shows() -> None:
    sim = pool(max_workers=2)
    sim.faults.blind, sim.start_delay = True, 2000.0
    ids = sim.submit(2)
    assert sim.settle(4000)
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert sum("its listing is out of date" in text for text in sim.notices) == 1
    # Asked less and less often: not every two seconds for the half hour that the jobs waited.
    assert len(actions(sim, act.Poll)) < 80


def test_an_accounting_that_takes_a_minute_is_asked_one_question_at_a_time() -> None:
    sim = pool(max_workers=2)
    sim.command_seconds = 3.0  # a minute of the accounting's; the simulation allows no second question meanwhile
    sim.faults.blind, sim.start_delay = True, 1000.0
    ids = sim.submit(2)
    assert sim.settle(2000)
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert len(actions(sim, act.AskAccounting)) > 5


@pytest.mark.parametrize("accounting", [True, False])
@pytest.mark.parametrize(("state", "start", "join"), [("pending", 300.0, 1.0), ("starting", 1.0, 200.0)])
def test_a_listing_that_loses_all_jobs_for_a_minute(accounting: bool, state: str, start: float, join: float) -> None:
    sim = pool(max_workers=3)
    sim.faults.accounting, sim.start_delay, sim.join_delay = accounting, start, join
    ids = sim.submit(9, seconds=20.0)
    assert sim.run(60, until=lambda: states(sim) == [state] * 3)
    sim.faults.blind = True
    sim.run(60)
    sim.faults.blind = False
    assert sim.settle(1000)
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert not actions(sim, act.CancelJobs)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_suspended_job_that_lost_its_connection_keeps_its_calls_while_the_listing_has_a_hole(
    accounting: bool,
) -> None:
    sim = pool(max_workers=1)
    sim.faults.accounting = accounting
    (id,) = sim.submit(1, seconds=50.0)
    serving(sim, 1)
    sim.run(1)
    (agent,) = sim.agents
    sim.suspend(agent.job)
    assert sim.run(70, until=lambda: states(sim) == ["suspended"])
    sim.feed(ev.AgentLeft(sim.clock.now, agent.job.key, "", agent.pid))
    agent.connected = False
    for _ in range(3):
        sim.faults.blind = True
        sim.run(400.0 if accounting else 60.0)
        sim.faults.blind = False
        sim.run(60)
    assert states(sim) == ["suspended"]
    assert sim.runs[id] == 1
    assert len(sim.submits) == 1
    assert not actions(sim, act.CancelJobs)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_job_that_an_old_listing_shows_as_running_has_ended_all_the_same(accounting: bool) -> None:
    sim = pool(max_workers=2)
    sim.faults.accounting = accounting
    ids = sim.submit(2, seconds=600.0)
    serving(sim, 2)
    sim.run(120)
    sim.faults.listing_age = AGE
    sim.run(2 * AGE)
    lost = next(iter(sim.jobs.values()))
    ended = sim.clock.now
    sim.end(lost, EndingKind.CANCELLED, "CANCELLED by 1001")
    assert sim.run(120, until=lambda: len(sim.submits) == 2)
    assert sim.clock.now - ended < 30  # the agent's leaving tells
    assert sim.settle(1200)
    assert sim.results.keys() == set(ids)
    assert sim.most_running == 2


def test_a_shutdown_believes_the_accounting_when_the_listing_still_shows_its_jobs() -> None:
    sim = pool(max_workers=4)
    sim.faults.listing_age = AGE
    sim.submit(4)
    assert sim.settle(60)
    sim.run(2 * AGE)
    finish(sim)


@pytest.mark.parametrize(("accounting", "seconds"), [(True, 120), (False, 400)])
def test_a_setup_that_fails_is_told_in_minutes_also_by_an_old_listing(accounting: bool, seconds: float) -> None:
    sim = pool(max_workers=1)
    sim.faults.listing_age, sim.faults.accounting, sim.faults.script_fails = AGE, accounting, True
    (id,) = sim.submit(1)
    assert sim.settle(seconds)
    assert isinstance(sim.errors[id], JobsFailed)


def test_a_job_that_vanishes_beside_others_is_missed_in_seconds() -> None:
    """Once it is so old that the listing cannot be older."""
    sim = pool(max_workers=4)
    sim.faults.accounting, sim.faults.listing_age, sim.start_delay = False, AGE, 2000.0
    sim.submit(4)
    assert sim.run(100, until=lambda: states(sim) == ["pending"] * 4)
    sim.run(200)
    sim.faults.listing_age = 0.0
    sim.run(60)
    del sim.jobs[next(iter(sim.jobs))]
    vanished = sim.clock.now
    assert sim.run(180, until=lambda: len(sim.submits) == 2)
    assert sim.clock.now - vanished < 60.0 + 30.0  # the next poll comes within a minute
    assert sim.run(10, until=lambda: states(sim).count("pending") == 4)


@pytest.mark.parametrize("accounting", [True, False])
def test_old_jobs_too_are_kept_while_a_listing_loses_them_all(accounting: bool) -> None:
    sim = pool(max_workers=3)
    sim.faults.accounting, sim.start_delay = accounting, 600.0
    ids = sim.submit(3)
    assert sim.run(60, until=lambda: states(sim) == ["pending"] * 3)
    sim.run(300)
    sim.faults.blind = True
    sim.run(120)
    sim.faults.blind = False
    assert sim.settle(1000)
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert not actions(sim, act.CancelJobs)


def test_jobs_that_vanish_without_a_word_are_replaced_in_minutes() -> None:
    sim = pool(max_workers=1)
    sim.faults.accounting, sim.start_delay = False, 1e6
    (id,) = sim.submit(1)
    assert sim.run(10, until=lambda: states(sim) == ["pending"])
    sim.jobs.clear()
    sim.start_delay = 1.0
    assert sim.settle(300)
    assert id in sim.results
