"""Jobs that are held in the queue: told, kept, replaced once, and asked about ever more rarely."""

from __future__ import annotations

import pytest
from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.model.errors import JobsFailed
from jobpool.model.job import EndingKind

WEEK = 7 * 86400.0


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin"])
def test_a_week_of_held_jobs_is_told_and_costs_few_polls(reason: str) -> None:
    sim = pool(max_workers=2)
    sim.faults.held = reason
    ids = sim.submit(2)
    sim.run(10)
    sim.tick_seconds = 60.0
    sim.run(WEEK)
    sim.tick_seconds = 1.0
    assert states(sim) == ["pending"] * 4  # each was replaced once
    assert len(actions(sim, act.Poll)) < 500
    assert not actions(sim, act.CancelJobs)
    told = [text for text in sim.notices if f"held ({reason})" in text]
    assert len(told) == 2
    assert "scontrol release" in told[0]
    sim.faults.held = ""
    sim.release(sim.queue[0])
    assert sim.settle(60)  # its agent tells, whenever the next poll is
    assert sim.results.keys() == set(ids)
    finish(sim)


def test_held_jobs_that_the_listing_does_not_show_any_more_are_kept_while_the_accounting_knows_them() -> None:
    sim = pool(max_workers=1)
    sim.faults.held = "JobHeldUser"
    ids = sim.submit(1)
    sim.run(10)
    sim.tick_seconds = 20.0
    sim.run(WEEK)
    sim.faults.blind = True
    sim.run(WEEK / 7)
    sim.faults.blind, sim.tick_seconds = False, 1.0
    assert states(sim) == ["pending"] * 2
    assert not actions(sim, act.CancelJobs)
    sim.faults.held = ""
    sim.release(sim.queue[0])
    assert sim.settle(60)
    assert sim.results.keys() == set(ids)


def test_a_job_that_is_held_is_replaced_and_goes_on_when_it_is_released() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(6, seconds=30.0)
    (first, second) = sim.queue
    sim.hold(first)
    serving(sim, 2)
    assert sorted(states(sim)) == ["pending", "serving", "serving"]
    sim.release(first)
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 2
    assert sim.most_running == 2
    assert second.ending is None or second.ending.kind is EndingKind.COMPLETED


def test_a_held_job_is_not_removed_for_want_of_work_and_holds_nobody_idle() -> None:
    sim = pool(max_workers=1, idle_timeout=30.0)
    sim.submit(1)
    (job,) = sim.queue
    sim.hold(job)
    assert sim.settle(120)
    sim.run(300)
    assert states(sim).count("pending") == 1
    assert states(sim).count("serving") == 0
    finish(sim)  # but not left behind either


def test_scale_keeps_those_that_serve_while_others_are_held() -> None:
    sim = pool(max_workers=1)
    sim.feed(ev.ScaleAsked(sim.clock.now, 1))
    sim.run(0.5)
    (job,) = sim.queue
    sim.hold(job)
    serving(sim, 1)
    sim.run(100)
    assert sorted(states(sim)) == ["pending", "serving"]


def test_a_replacement_that_is_refused_gives_nothing_up() -> None:
    sim = pool(max_workers=1)
    ids = sim.submit(1)
    (job,) = sim.queue
    sim.hold(job)
    sim.faults.refuse_all = "Invalid account"
    sim.run(100)
    assert not sim.errors
    sim.release(job)
    assert sim.settle(60)
    assert sim.results.keys() == set(ids)


def test_jobs_that_are_held_since_they_cannot_be_started_come_to_nothing() -> None:
    sim = pool(max_workers=1)
    sim.faults.held, sim.faults.hopeless = "launch failed requeued held", True
    (id,) = sim.submit(1)
    assert sim.settle(600)
    assert isinstance(sim.errors[id], JobsFailed)
    assert "launch failed requeued held" in str(sim.errors[id])
    assert len(sim.submits) == 3
    assert any("no jobs are requested in the next 15 s" in text for text in sim.notices)
    told = [text for text in sim.notices if "could not start job" in text and "launch failed requeued held" in text]
    assert len(told) == len(set(told)) == 3
    sim.run(10)
    assert not sim.queue


def test_of_jobs_that_are_held_for_good_the_others_do_the_work() -> None:
    sim = pool(max_workers=3)
    ids = sim.submit(12, seconds=20.0)
    (first, second, _) = sim.queue
    for job in (first, second):
        sim.hold(job, "launch failed requeued held", hopeless=True)
    assert sim.settle(600)
    assert sim.results.keys() == set(ids)
    (told,) = [text for text in sim.notices if "could not start" in text]
    assert f"job {first.id} and 1 more" in told
    assert {first.id, second.id} <= {id for cancel in actions(sim, act.CancelJobs) for id in cancel.ids}
    finish(sim)


def test_a_hold_without_a_reason_is_told_without_one() -> None:
    sim = pool(max_workers=1)
    sim.submit(1)
    (job,) = sim.queue
    sim.hold(job, "")
    sim.run(10)
    told = [text for text in sim.notices if "will not start" in text]
    assert told
    assert "()" not in told[0]
    assert " is held and will not start: 'scontrol release'" in told[0]
