"""Whole stories of a pool: its shutdown."""

from __future__ import annotations

from collections import deque

from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import Hello, JobKey
from jobpool.model.errors import PoolBroken
from jobpool.model.job import EndingKind, JobId, JobState

DOUBTFUL = ev.SubmitDoubtful(0.0, "", "Socket timed out on send/recv operation")


def test_shutdown_finishes_the_calls_and_leaves_nothing() -> None:
    sim = pool(max_workers=3)
    ids = sim.submit(10)
    finish(sim)
    assert sim.results.keys() == set(ids)
    assert len(actions(sim, act.CancelJobs)) == 1


def test_shutdown_that_drops_the_waiting_calls_finishes_the_running_ones() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(10, seconds=30.0)
    serving(sim, 2)
    sim.run(1)
    sim.shut_down(cancel_waiting=True)
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert sim.results.keys() == set(ids[:2])
    assert sum(sim.runs.values()) == 2


def test_shutdown_that_kills_ends_at_once() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(10, seconds=3000.0)
    serving(sim, 2)
    sim.run(1)
    sim.shut_down(kill=True)
    assert {type(sim.errors[id]) for id in ids} == {PoolBroken}
    assert sim.run(5, until=lambda: sim.finished is not None)
    assert not sim.queue


def test_shutdown_of_a_pool_that_did_nothing() -> None:
    sim = pool()
    sim.shut_down()
    assert sim.actions == [act.Finished()]


def test_shutdown_while_the_submit_command_is_under_way() -> None:
    sim = pool(max_workers=4)
    sim.command_seconds = 5.0
    sim.start_delay = 1000.0
    sim.submit(10)
    sim.run(0.5)
    assert len(sim.submits) == 1
    sim.shut_down(kill=True)
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert sim.finished == act.Finished()
    assert not sim.queue


def test_shutdown_with_a_controller_that_does_not_answer_names_what_is_left() -> None:
    sim = pool(max_workers=2)
    sim.submit(2, seconds=1e5)
    serving(sim, 2)
    for agent in sim.agents:
        agent.connected = False
    sim.faults.deaf = True
    sim.shut_down(kill=True)
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert sim.finished == act.Finished((JobId("1_0"), JobId("1_1")))
    assert len(actions(sim, act.CancelJobs)) >= 2


def test_a_job_that_the_queue_forgets_and_shows_again_is_cancelled() -> None:
    sim = pool(max_workers=1)
    sim.faults.never_connect = True
    sim.submit(1)
    sim.run(2, until=lambda: states(sim) == ["starting"])
    forgotten = next(iter(sim.jobs))
    job = sim.jobs.pop(forgotten)
    sim.run(300, until=lambda: len(sim.submits) == 2)
    order = [type(action) for action in sim.actions if isinstance(action, act.CancelJobs | act.SubmitJobs)]
    assert order == [act.SubmitJobs, act.CancelJobs, act.SubmitJobs]  # before its calls go elsewhere
    sim.jobs[forgotten] = job
    sim.faults.never_connect = False
    assert sim.settle()
    finish(sim)


def test_a_job_that_comes_back_from_its_end_is_cancelled_at_the_end_of_the_pool() -> None:
    sim = pool(max_workers=1)
    sim.submit(1)
    assert sim.settle()
    (first,) = sim.queue
    sim.end(first, EndingKind.CANCELLED, "CANCELLED by 1001")
    sim.submit(1)
    assert sim.settle()
    # A controller that was killed: it goes on from what it had written before the job ended.
    first.ending, first.state, first.reason = None, JobState.PENDING, "BeginTime"
    sim.shut_down()
    assert sim.run(120, until=lambda: sim.finished is not None)
    sim.run(1)
    assert not sim.queue


def test_shutdown_in_doubt_looks_the_submission_up_and_cancels_it() -> None:
    sim = pool(max_workers=2)
    sim.start_delay = 1000.0
    sim.faults.answers = deque([DOUBTFUL])
    sim.submit(2)
    sim.run(0.5)
    sim.shut_down(kill=True)
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert not sim.queue


def test_an_agent_that_joins_after_the_end_is_stopped() -> None:
    sim = pool()
    sim.shut_down()
    hello = Hello(job=JobKey("jp-t-1", 0), id=JobId("1"), node="n", workers=1, pid=1)
    (stop,) = sim.core.handle(ev.AgentJoined(sim.clock.now, hello))
    assert isinstance(stop, act.StopAgent)
    (cancel,) = sim.core.handle(ev.JobsSubmitted(sim.clock.now, "jp-t-1", (JobId("1"),)))
    assert cancel == act.CancelJobs((), (JobId("1"),))


def test_the_pool_ends_from_patience_to_impatience() -> None:
    sim = pool(max_workers=1)
    sim.submit(3, seconds=1000.0)
    serving(sim, 1)
    sim.shut_down()
    sim.run(10)
    assert sim.core.snapshot().phase == "finishing"
    sim.shut_down(kill=True)
    assert sim.run(10, until=lambda: sim.finished is not None)
    assert sim.core.snapshot().phase == "finished"
