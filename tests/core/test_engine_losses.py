"""Whole stories of a pool: jobs, agents and workers that are lost."""

from __future__ import annotations

import pytest
from enginekit import actions, pool, serving

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import Hello, JobKey
from jobpool.model.call import Death
from jobpool.model.errors import CallCrashed, CallOutOfMemory, CallTimedOut, JobLost
from jobpool.model.job import EndingKind, JobId
from jobpool.model.request import Request, Retry
from jobpool.model.units import Duration
from jobpool.testing.simulation import Simulation


@pytest.mark.parametrize(
    "kind",
    [EndingKind.PREEMPTED, EndingKind.NODE_FAILED, EndingKind.CANCELLED, EndingKind.FAILED, EndingKind.COMPLETED],
)
def test_calls_of_a_lost_job_run_again(kind: EndingKind) -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(6, seconds=20.0)
    serving(sim, 2)
    sim.run(1)
    sim.end(sim.agents[0].job, kind, kind.name)
    sim.run(3)
    assert len(actions(sim, act.TellAgain)) == 1
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert sorted(sim.runs.values()) == [1, 1, 1, 1, 1, 2]
    assert not sim.overlaps


def test_a_call_is_not_sent_into_its_jobs_death_for_ever() -> None:
    sim = pool(max_workers=1, retry=Retry(lost=2))
    (id,) = sim.submit(1, seconds=100.0)
    for _ in range(2000):
        sim.run(1)
        for agent in sim.agents:
            if agent.running:
                sim.end(agent.job, EndingKind.NODE_FAILED, "NODE_FAIL NodeDown")
    assert isinstance(sim.errors[id], JobLost)
    assert sim.runs[id] == 3
    assert sim.errors[id].words == "NODE_FAIL NodeDown"


def test_a_requeued_job_comes_back_and_its_calls_run_elsewhere_meanwhile() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(4, seconds=20.0)
    serving(sim, 2)
    sim.run(1)
    sim.requeue(sim.agents[0].job)
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert len(sim.submits) == 1
    assert sum(sim.runs.values()) == 5


def test_a_cut_off_job_is_cancelled_before_its_calls_go_elsewhere() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(2, seconds=200.0)
    serving(sim, 2)
    sim.run(1)
    agent = sim.agents[0]
    sim.cut_off(agent, ends_after=None)
    sim.run(15)
    assert actions(sim, act.CancelJobs)[0].ids == (agent.job.id,)
    assert sim.actions.index(actions(sim, act.CancelJobs)[0]) < sim.actions.index(actions(sim, act.SubmitJobs)[-1])
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert not sim.overlaps


def test_a_frozen_controller_does_not_hold_the_calls_for_ever() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(4, seconds=20.0)
    serving(sim, 2)
    sim.run(1)
    sim.faults.deaf = True
    sim.crash_agent(sim.agents[0])
    assert sim.settle(200)
    assert sim.results.keys() == set(ids)


def test_the_accounting_is_asked_when_the_queue_forgets() -> None:
    request = Request(walltime=Duration(100.0))
    sim = pool(max_workers=1, request=request)
    (id,) = sim.submit(1, seconds=1000.0)
    sim.faults.forgetful = True
    assert sim.settle(400)
    assert isinstance(sim.errors[id], CallTimedOut)
    assert sim.errors[id].words == "TIMEOUT TimeLimit 0:0"


def test_without_accounting_too_a_call_that_is_too_long_is_recognised() -> None:
    sim = pool(max_workers=1, request=Request(walltime=Duration(100.0)))
    (id,) = sim.submit(1, seconds=1000.0)
    sim.faults.forgetful, sim.faults.accounting = True, False
    assert sim.settle(400)
    assert isinstance(sim.errors[id], CallTimedOut)
    assert len(actions(sim, act.AskAccounting)) <= 1


def test_walltime_shared_with_earlier_calls_is_no_fault() -> None:
    sim = pool(max_workers=1, request=Request(walltime=Duration(100.0)))
    ids = [id for function in "abcde" for id in sim.submit(1, seconds=40.0, function=function)]
    assert sim.settle(1000)
    assert sim.results.keys() == set(ids)
    assert max(sim.runs.values()) == 2  # nothing is known of a function before its first call is back


def test_a_worker_that_dies_costs_its_call_alone() -> None:
    sim = pool(max_workers=1)
    ids = sim.submit(3, seconds=10.0)
    serving(sim, 1)
    for _ in range(3):
        sim.run(1)
        sim.kill_worker(sim.agents[0], Death(signal=11, tail="Segmentation fault"))
    assert sim.settle()
    assert isinstance(sim.errors[ids[0]], CallCrashed)
    assert sim.errors[ids[0]].signal == "SIGSEGV"
    assert sim.results.keys() == set(ids[1:])
    assert sim.runs == {ids[0]: 3, ids[1]: 1, ids[2]: 1}
    assert len(sim.submits) == 1


def test_a_worker_killed_for_memory() -> None:
    sim = pool(max_workers=1)
    ids = sim.submit(2, seconds=10.0)
    serving(sim, 1)
    sim.run(1)
    sim.kill_worker(sim.agents[0], Death(signal=9, out_of_memory=True, peak_memory=2**31))
    assert sim.settle()
    assert isinstance(sim.errors[ids[0]], CallOutOfMemory)
    assert sim.errors[ids[0]].job == "1_0"
    assert ids[1] in sim.results


def test_an_agent_of_a_job_that_was_given_up_is_told_to_stop() -> None:
    sim = pool(max_workers=1)
    sim.submit(1)
    serving(sim, 1)
    for key in (JobKey("jp-t-1", 7), JobKey("jp-t-99", 0)):
        hello = Hello(job=key, id=JobId("99"), node="n", workers=1, pid=1)
        (stop,) = sim.core.handle(ev.AgentJoined(sim.clock.now, hello))
        assert stop == act.StopAgent(key, "this job was given up", drain=False)


def test_the_same_agent_back_after_a_cut_is_told_to_drop_what_it_had() -> None:
    sim = pool(max_workers=1)
    (id,) = sim.submit(1, seconds=100.0)
    serving(sim, 1)
    sim.run(1)
    agent = sim.agents[0]
    now, key = sim.clock.now, agent.job.key
    sim.feed(ev.AgentLeft(now, key, "", agent.pid))
    hello = Hello(job=key, id=agent.job.id, node=agent.job.node or "", workers=1, pid=agent.pid)
    sim.feed(ev.AgentJoined(now + 1, hello))
    assert [type(action) for action in sim.actions[-3:]] == [act.TellAgain, act.Retract, act.SendBundle]
    assert sim.settle()
    assert id in sim.results
    assert not sim.overlaps


def test_an_agent_that_left_gets_no_more_calls() -> None:
    sim = pool(max_workers=1)
    sim.submit(1)
    assert sim.settle()
    agent = sim.agents[0]
    sim.feed(ev.AgentLeft(sim.clock.now, agent.job.key, "", agent.pid))
    sim.submit(1)
    assert len(actions(sim, act.SendBundle)) == 1
    assert sim.core.snapshot().calls.waiting == 1


def test_an_agent_that_drains_gets_no_more_calls() -> None:
    sim = pool(max_workers=2)
    sim.feed(ev.ScaleAsked(sim.clock.now, 2))
    serving(sim, 2)
    sim.feed(ev.ScaleAsked(sim.clock.now, 1))
    (stopped,) = actions(sim, act.StopAgent)
    assert stopped.drain
    sim.submit(2)
    assert stopped.job not in {action.job for action in actions(sim, act.SendBundle)}


def test_the_batch_system_is_asked_when_an_agent_left_also_after_a_poll_under_way() -> None:
    sim = pool(max_workers=1)
    sim.submit(1, seconds=1000.0)
    serving(sim, 1)
    sim.run(5)
    agent, key = sim.agents[0], sim.agents[0].job.key
    sim.command_seconds = 0.5
    polls = len(actions(sim, act.Poll))
    assert sim.run(60, until=lambda: len(actions(sim, act.Poll)) > polls)
    sim.cut_off(agent, ends_after=None)
    sim.run(0.1)
    assert len(actions(sim, act.Poll)) == polls + 1  # one at a time
    sim.run(1.4)
    assert len(actions(sim, act.Poll)) == polls + 1  # and not twice in two seconds
    sim.run(0.6)
    assert len(actions(sim, act.Poll)) == polls + 2
    assert sim.jobs[key].ending is None


def test_an_answer_asked_before_a_change_says_nothing_of_it() -> None:
    sim = pool(max_workers=1)
    sim.submit(1, seconds=1000.0)
    serving(sim, 1)
    core, now, key = sim.core, sim.clock.now, sim.agents[0].job.key
    asked = next(action for second in range(1, 100) for action in core.handle(ev.Tick(now + second)) if action)
    assert isinstance(asked, act.Poll)
    core.handle(ev.AgentLeft(now + 100, key))
    for _ in range(3):  # the job is absent from it; with a later question that would count
        core.handle(ev.Polled(now + 100, asked.names, ()))
    assert core.snapshot().jobs[0].state == "silent"
    assert not [action for action in core.handle(ev.Tick(now + 101)) if isinstance(action, act.AskAccounting)]


def gap_after(sim: Simulation) -> float:
    """Run until jobs are asked for again; return how long that took."""
    begin, before = sim.clock.now, len(sim.submits)
    assert sim.run(1000, until=lambda: len(sim.submits) > before)
    return sim.clock.now - begin


@pytest.mark.parametrize("kind", [EndingKind.PREEMPTED, EndingKind.NODE_FAILED, EndingKind.CANCELLED])
def test_many_jobs_that_are_lost_at_one_moment_are_replaced_at_once(kind: EndingKind) -> None:
    sim = pool(max_workers=10)
    ids = sim.submit(40, seconds=20.0)
    serving(sim, 10)
    sim.run(2)
    for agent in sim.agents:
        sim.end(agent.job, kind, kind.name)
    assert gap_after(sim) < 5
    assert not any("no jobs are requested" in text for text in sim.notices)
    assert sim.settle(200)
    assert sim.results.keys() == set(ids)


def test_a_switch_that_fails_again_and_again_is_a_lesson_each_time_and_told() -> None:
    sim = pool(max_workers=10)
    sim.submit(10, seconds=1000.0)
    gaps = []
    for _ in range(6):
        serving(sim, 10)
        sim.run(2)
        for agent in sim.agents:
            sim.cut_off(agent, ends_after=1.0)
        gaps.append(round(gap_after(sim)))
    assert max(gaps[:3]) < 15
    assert 15 <= gaps[3] < 25  # once for all ten
    assert 30 <= gaps[4] < 40
    assert 60 <= gaps[5] < 70
    assert sum("no jobs are requested in the next 15 s" in text for text in sim.notices) == 1
    assert sum("no jobs are requested" in text for text in sim.notices) == 3


def test_jobs_that_were_preempted_or_lost_with_their_node_teach_nothing() -> None:
    sim = pool(max_workers=1, retry=Retry(lost=100))
    sim.submit(1, seconds=1000.0)
    for number in range(12):
        serving(sim, 1)
        sim.run(2)
        sim.end(sim.agents[0].job, EndingKind.PREEMPTED if number % 2 else EndingKind.NODE_FAILED, "gone")
        assert gap_after(sim) < 5


def test_a_pause_is_in_the_status_while_it_lasts() -> None:
    sim = pool(max_workers=1, retry=Retry(lost=100))
    sim.submit(1, seconds=1000.0)
    for _ in range(4):
        serving(sim, 1)
        sim.run(2)
        sim.end(sim.agents[0].job, EndingKind.CANCELLED, "CANCELLED by 1001")
        sim.run(3)
    (request,) = sim.core.snapshot().requests
    assert 5 < request.pause <= 15
    assert "CANCELLED by 1001" in request.pause_reason
    assert sim.settle(2000)
    assert sim.core.snapshot().requests[0].pause == 0
