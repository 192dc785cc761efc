"""Whole stories of a pool, in a simulated cluster."""

from __future__ import annotations

import re
from collections import deque
from typing import TypeVar

import pytest

from jobpool.core import events as ev
from jobpool.core.events import Action, Death, Hello, JobKey
from jobpool.core.settings import CoreSettings
from jobpool.errors import (
    CallCrashed,
    CallOutOfMemory,
    CallTimedOut,
    ConfigError,
    InitializerFailed,
    JobLost,
    JobsFailed,
    PoolBroken,
    RequestRefused,
)
from jobpool.model import EndingKind, JobId, JobState, Limits, Request, Retry
from jobpool.testing.simulation import Simulation
from jobpool.units import Duration

A = TypeVar("A", bound=Action)

DOUBTFUL = ev.SubmitDoubtful(0.0, "", "Socket timed out on send/recv operation")
TEMPORARY = ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
PERMANENT = ev.SubmitRefused(0.0, "", "Invalid account", temporary=False)


def pool(*, max_workers: int = 4, request: Request | None = None, **more: object) -> Simulation:
    settings = CoreSettings(pool="t", max_workers=max_workers, request=request or Request(), **more)  # type: ignore[arg-type]
    return Simulation(settings)


def actions(sim: Simulation, kind: type[A]) -> list[A]:
    return [action for action in sim.actions if isinstance(action, kind)]


def serving(sim: Simulation, count: int) -> None:
    """Run until so many agents are connected and known."""
    assert sim.run(120, until=lambda: [view.state for view in sim.core.snapshot().jobs].count("serving") == count)


def states(sim: Simulation) -> list[str]:
    return [view.state for view in sim.core.snapshot().jobs]


def finish(sim: Simulation) -> None:
    sim.shut_down()
    assert sim.run(120, until=lambda: sim.finished is not None)
    assert sim.finished == ev.Finished()
    assert not sim.queue


# --------------------------------------------------------------------------------------------------- asking for jobs


def test_a_hundred_submits_make_one_submission_of_twenty_jobs() -> None:
    sim = pool(max_workers=20)
    for _ in range(100):
        sim.submit(1)
        sim.run(0.001)
    assert sim.settle()
    assert sim.submits == [ev.SubmitJobs("jp-t-1", sim.settings.request, 20)]
    assert sim.most_running == 20
    assert set(sim.runs.values()) == {1}
    finish(sim)


@pytest.mark.parametrize("name", ["a", "my pool_1", "my pool.1", "x" * 200, "x" * 201, "ümläut"])
def test_names_of_submissions_are_fit_for_every_batch_system(name: str) -> None:
    sim = Simulation(CoreSettings(pool=name))
    sim.submit(1)
    (submitted,) = sim.submits
    assert re.fullmatch(r"jp-[A-Za-z0-9-]{1,54}-1", submitted.submission)


def test_two_pools_never_share_a_name() -> None:
    names = ["my pool", "my_pool", "my-pool", "x" * 200, "x" * 201]
    sims = [Simulation(CoreSettings(pool=name)) for name in names]
    for sim in sims:
        sim.submit(1)
    assert len({sim.submits[0].submission for sim in sims}) == len(names)


def test_two_workers_in_each_job() -> None:
    sim = pool(max_workers=20, request=Request(workers_per_job=2))
    sim.submit(100)
    assert sim.settle()
    assert [action.count for action in sim.submits] == [10]
    assert sim.most_running == 20


def test_never_more_than_max_workers_run_though_a_job_has_room() -> None:
    sim = pool(max_workers=20, request=Request(workers_per_job=3))
    sim.submit(200, seconds=1.0)
    assert sim.settle()
    assert [action.count for action in sim.submits] == [7]
    assert sim.most_running == 20


def test_few_calls_ask_for_few_jobs_after_a_moment() -> None:
    sim = pool(max_workers=20)
    sim.submit(2)
    sim.run(0.1)
    assert not sim.submits
    sim.submit(1)
    sim.run(1.0)
    assert [action.count for action in sim.submits] == [3]


def test_arrays_are_cut_to_the_sites_limit() -> None:
    sim = pool(max_workers=20, limits=Limits(max_array_size=8))
    sim.submit(100)
    assert sim.settle()
    assert [(action.submission, action.count) for action in sim.submits] == [
        ("jp-t-1", 8),
        ("jp-t-2", 8),
        ("jp-t-3", 4),
    ]


def test_workers_that_are_held_without_work() -> None:
    sim = pool(max_workers=4, min_workers=2, idle_timeout=10.0)
    sim.run(120)
    assert states(sim) == ["serving", "serving"]
    sim.submit(10)
    assert sim.settle()
    sim.run(60)
    assert states(sim).count("serving") == 2


def test_idle_jobs_end_after_the_timeout_and_not_before() -> None:
    sim = pool(idle_timeout=60.0)
    sim.submit(4, seconds=5.0)
    assert sim.settle()
    sim.run(50)
    assert len(sim.queue) == 4
    sim.run(30)
    assert not sim.queue
    assert {view.reason for view in sim.core.snapshot().jobs} == {"completed: COMPLETED"}
    assert len(sim.submits) == 1


def test_a_pending_job_with_work_for_it_is_never_cancelled() -> None:
    sim = pool(idle_timeout=10.0)
    sim.start_delay = 5000.0
    sim.submit(4)
    sim.run(2000)
    assert len(sim.queue) == 4
    assert not actions(sim, ev.CancelJobs)


def test_a_pending_job_without_work_is_cancelled_after_the_timeout() -> None:
    sim = pool(idle_timeout=30.0)
    sim.start_delay = 5000.0
    ids = sim.submit(4)
    sim.run(5)
    sim.cancel(ids[:3])
    sim.run(20)
    assert len(sim.queue) == 4
    sim.run(20)
    assert [job.id for job in sim.queue] == ["1_0"]
    assert len(actions(sim, ev.CancelJobs)) == 1


def test_scale_holds_exactly_so_many() -> None:
    sim = pool(max_workers=8)
    sim.feed(ev.ScaleAsked(sim.clock.now, 3))
    sim.run(30)
    assert len(sim.queue) == 3
    sim.submit(100, seconds=3.0)
    sim.run(60)
    assert sim.most_running == 3
    sim.feed(ev.ScaleAsked(sim.clock.now, 1))
    sim.run(10)
    assert len(sim.queue) == 1
    sim.feed(ev.ScaleAsked(sim.clock.now, None))
    assert sim.settle()
    assert sim.most_running == 8
    assert set(sim.runs.values()) == {1}


def test_scale_to_nothing_and_shutdown_still_finishes_the_calls() -> None:
    sim = pool()
    sim.feed(ev.ScaleAsked(sim.clock.now, 0))
    ids = sim.submit(3)
    sim.run(60)
    assert not sim.submits
    sim.shut_down()
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert sim.results.keys() == set(ids)


def test_dask_tasks_make_demand_and_take_workers() -> None:
    sim = pool()
    sim.feed(ev.DaskDemand(sim.clock.now, 2))
    serving(sim, 2)
    for agent in sim.agents:
        sim.feed(ev.SlotsTaken(sim.clock.now, agent.job.key, 1))
    sim.submit(1)
    serving(sim, 3)
    assert sim.settle()
    assert [agent.job.key.submission for agent in sim.agents].count("jp-t-2") == 1


def test_another_request_has_jobs_of_its_own() -> None:
    sim = pool(max_workers=2)
    sim.add_request("big", Request(cores=8))
    sim.submit(4)
    ids = sim.submit(4, request="big")
    assert sim.settle()
    assert {(action.request.cores, action.count) for action in sim.submits} == {(1, 2), (8, 2)}
    assert all(sim.results[id].ok for id in ids)


def test_a_call_for_a_request_that_nobody_knows_fails() -> None:
    sim = pool()
    (id,) = sim.submit(1, request="typo")
    assert isinstance(sim.errors[id], ConfigError)


def test_a_call_told_twice_runs_once() -> None:
    sim = pool()
    (id,) = sim.submit(1)
    arrived = ev.CallsArrived(sim.clock.now, (ev.Call(id, "f", b""),))
    sim.feed(arrived)
    assert sim.settle()
    sim.feed(arrived)
    sim.run(60)
    assert sim.runs[id] == 1


# ------------------------------------------------------------------------------------------------- submits that fail


def test_a_refused_request_fails_every_call_with_the_words() -> None:
    sim = pool()
    sim.faults.refuse_all = "Invalid account or account/partition combination specified"
    ids = sim.submit(10)
    assert sim.settle(10)
    assert {type(sim.errors[id]) for id in ids} == {RequestRefused}
    assert "Invalid account" in str(sim.errors[ids[0]])
    assert isinstance(sim.broken, RequestRefused)
    (late,) = sim.submit(1)
    assert isinstance(sim.errors[late], RequestRefused)
    sim.run(3600)
    assert len(sim.submits) == 1
    finish(sim)


def test_refused_while_others_serve_goes_on_with_fewer() -> None:
    sim = pool(max_workers=4, limits=Limits(max_array_size=2))
    sim.faults.answers = deque([None, PERMANENT])
    ids = sim.submit(20)
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert sim.most_running == 2
    assert any("going on with fewer: Invalid account" in text for text in sim.notices)


def test_a_submit_limit_is_felt_out_and_nothing_fails() -> None:
    sim = pool(max_workers=20)
    sim.faults.most_jobs = 7
    sim.submit(500, seconds=10.0)
    assert sim.run(30, until=lambda: len(sim.queue) == 7)
    assert len(sim.submits) <= 8
    assert any("QOSMaxSubmitJobPerUserLimit" in text for text in sim.notices)
    asked = len(sim.submits)
    sim.run(600)
    assert len(sim.submits) - asked <= 8  # halving down to one job, then after 15 s, 30 s, ... 5 min
    assert not sim.errors
    sim.faults.most_jobs = None
    sim.run(320, until=lambda: len(sim.queue) == 20)
    assert sim.settle()


def test_a_submit_limit_that_lifts_only_later_is_waited_for() -> None:
    sim = pool()
    sim.faults.most_jobs = 0
    ids = sim.submit(4)
    sim.run(3600)
    assert not sim.errors
    assert len(sim.submits) < 25
    sim.faults.most_jobs = None
    assert sim.settle(400)
    assert sim.results.keys() == set(ids)


def test_a_doubtful_submit_that_exists_is_found_and_not_repeated() -> None:
    sim = pool(max_workers=10)
    sim.start_delay = 100.0
    sim.faults.answers = deque([DOUBTFUL])
    sim.submit(30)
    sim.run(30)
    assert len(sim.submits) == 1
    assert {(view.state, view.id) for view in sim.core.snapshot().jobs} == {("pending", f"1_{n}") for n in range(10)}
    assert sim.settle()
    finish(sim)


def test_a_doubtful_submit_that_does_not_exist_is_repeated_under_another_name_after_several_looks() -> None:
    sim = pool(max_workers=10)
    sim.faults.answers = deque([DOUBTFUL])
    sim.faults.doubtful_exist = False
    sim.submit(30)
    sim.run(9)
    assert len(sim.submits) == 1
    assert sim.settle()
    assert [action.submission for action in sim.submits] == ["jp-t-1", "jp-t-2"]
    finish(sim)
    assert "jp-t-1" in actions(sim, ev.CancelJobs)[-1].names  # should it turn up after all


def test_in_doubt_nothing_is_submitted_while_the_controller_does_not_answer() -> None:
    sim = pool()
    sim.faults.answers = deque([DOUBTFUL])
    sim.faults.doubtful_exist = False
    sim.faults.deaf = True
    sim.submit(3)
    sim.run(3600)
    assert len(sim.submits) == 1
    assert any("does not answer" in text for text in sim.notices)
    sim.faults.deaf = False
    assert sim.settle(300)
    assert len(sim.submits) == 2


def test_a_job_of_a_submission_looked_up_in_vain_is_cancelled_when_it_turns_up() -> None:
    sim = pool(max_workers=2)
    sim.faults.answers = deque([DOUBTFUL])
    sim.faults.doubtful_exist = False
    sim.submit(100, seconds=5.0)
    serving(sim, 2)
    ghost = JobKey("jp-t-1", 0)
    sim._enqueue(ghost, Request())
    sim.run(200, until=lambda: sim.jobs[ghost].ending is not None)
    assert sim.jobs[ghost].ending is not None
    assert sim.most_running == 2


def test_an_agent_may_be_faster_than_the_answer_of_the_submit_command() -> None:
    sim = pool(max_workers=2)
    sim.command_seconds = 30.0
    ids = sim.submit(4)
    assert sim.run(20, until=lambda: len(sim.results) == 4)
    assert sim.results.keys() == set(ids)
    sim.run(60)
    assert states(sim) == ["serving", "serving"]
    sim.command_seconds = 0.1
    finish(sim)


# -------------------------------------------------------------------------------------------------- setups that fail


@pytest.mark.parametrize("fault", ["script_fails", "never_connect"])
def test_jobs_that_come_to_nothing_are_asked_for_a_few_times_only(fault: str) -> None:
    sim = pool(max_workers=1)
    setattr(sim.faults, fault, True)
    ids = sim.submit(5)
    assert sim.settle(3600)
    error = sim.errors[ids[0]]
    assert isinstance(error, JobsFailed)
    assert error.job is not None
    assert error.node is not None
    assert isinstance(sim.broken, JobsFailed)
    sim.run(24 * 3600)
    assert sum(action.count for action in sim.submits) == 3
    assert not sim.queue
    failed = actions(sim, ev.Fail)[-1]
    assert failed.job == JobKey("jp-t-3", 0)  # for the server, to add its log


def test_the_words_of_a_failing_script_reach_the_futures() -> None:
    sim = pool(max_workers=20)
    sim.faults.script_fails = True
    ids = sim.submit(40)
    assert sim.settle(3600)
    assert sum(action.count for action in sim.submits) == 20
    assert sim.errors[ids[0]].words == "FAILED NonZeroExitCode 1:0"


def test_a_pool_whose_pending_jobs_are_cancelled_by_somebody_does_not_fight() -> None:
    sim = pool(max_workers=1)
    sim.start_delay = 1e6
    sim.submit(1)
    for _ in range(200):
        sim.run(60)
        for job in sim.queue:
            sim.end(job, EndingKind.CANCELLED, "CANCELLED by 0")
    assert sum(action.count for action in sim.submits) == 3
    assert not sim.open_calls


def test_jobs_that_are_preempted_before_they_serve_are_asked_for_ever_more_rarely() -> None:
    sim = pool(max_workers=1)
    sim.start_delay = 1e6
    ids = sim.submit(1)
    for _ in range(3600):
        sim.run(1)
        for job in sim.queue:
            sim.end(job, EndingKind.PREEMPTED, "PREEMPTED")
    assert 5 < sum(action.count for action in sim.submits) < 25
    sim.start_delay = 1.0
    assert sim.settle(400)
    assert sim.results.keys() == set(ids)


def test_some_bad_nodes_do_not_stop_a_pool_that_serves() -> None:
    sim = pool(max_workers=4)
    ids = sim.submit(400, seconds=10.0)
    serving(sim, 4)
    sim.faults.script_fails = True
    for agent in sim.agents[:3]:
        sim.crash_agent(agent)
    sim.run(900)
    assert not sim.errors
    assert len(sim.submits) < 20
    sim.faults.script_fails = False
    assert sim.settle(4 * 3600)
    assert sim.results.keys() == set(ids)


def test_trouble_of_one_agent_is_trouble_of_its_job() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(20)
    serving(sim, 2)
    sim.feed(ev.AgentTrouble(sim.clock.now, sim.agents[0].job.key, "Python 3.9 there, 3.12 here"))
    assert sim.settle()
    assert sim.results.keys() == set(ids)


def test_the_same_trouble_everywhere_ends_the_pool_with_its_words() -> None:
    sim = pool(max_workers=1)
    sim.join_delay = 1e6
    (id,) = sim.submit(1)
    for _ in range(600):
        sim.run(1)
        for job in sim.queue:
            if job.node is not None:
                sim.feed(ev.AgentTrouble(sim.clock.now, job.key, "Python 3.9 there, 3.12 here"))
    assert sim.errors[id].words == "Python 3.9 there, 3.12 here"
    assert len(sim.submits) == 3


def test_fatal_trouble_ends_everything_with_that_exception() -> None:
    sim = pool(max_workers=2)
    ids = sim.submit(20)
    serving(sim, 2)
    fatal = InitializerFailed("the initializer raised ValueError")
    sim.feed(ev.AgentTrouble(sim.clock.now, sim.agents[0].job.key, "", fatal))
    assert all(sim.errors[id] is fatal for id in ids)
    assert sim.broken is fatal
    sim.run(60)
    assert not sim.queue
    assert len(sim.submits) == 1
    finish(sim)


def test_jobs_accepted_after_the_pool_broke_are_cancelled() -> None:
    sim = pool(max_workers=2)
    sim.submit(1, seconds=100.0)
    serving(sim, 1)
    sim.start_delay, sim.command_seconds = 1e6, 2.0
    sim.submit(5)
    sim.run(1)
    assert len(sim.submits) == 2
    sim.feed(ev.AgentTrouble(sim.clock.now, sim.agents[0].job.key, "", InitializerFailed("it raised")))
    sim.run(60)
    assert not sim.queue
    sim.command_seconds = 0.1
    finish(sim)


# ------------------------------------------------------------------------------------------------------------ losses


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
    assert len(actions(sim, ev.TellAgain)) == 1
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
    assert actions(sim, ev.CancelJobs)[0].ids == (agent.job.id,)
    assert sim.actions.index(actions(sim, ev.CancelJobs)[0]) < sim.actions.index(actions(sim, ev.SubmitJobs)[-1])
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
    assert len(actions(sim, ev.Account)) <= 1


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
        assert stop == ev.StopAgent(key, "this job was given up", drain=False)


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
    assert [type(action) for action in sim.actions[-3:]] == [ev.TellAgain, ev.Retract, ev.SendBundle]
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
    assert len(actions(sim, ev.SendBundle)) == 1
    assert sim.core.snapshot().calls.waiting == 1


def test_an_agent_that_drains_gets_no_more_calls() -> None:
    sim = pool(max_workers=2)
    sim.feed(ev.ScaleAsked(sim.clock.now, 2))
    serving(sim, 2)
    sim.feed(ev.ScaleAsked(sim.clock.now, 1))
    (stopped,) = actions(sim, ev.StopAgent)
    assert stopped.drain
    sim.submit(2)
    assert stopped.job not in {action.job for action in actions(sim, ev.SendBundle)}


def test_the_batch_system_is_asked_when_an_agent_left_also_after_a_poll_under_way() -> None:
    sim = pool(max_workers=1)
    sim.submit(1, seconds=1000.0)
    serving(sim, 1)
    sim.run(5)
    agent, key = sim.agents[0], sim.agents[0].job.key
    sim.command_seconds = 0.5
    polls = len(actions(sim, ev.Poll))
    assert sim.run(60, until=lambda: len(actions(sim, ev.Poll)) > polls)
    sim.cut_off(agent, ends_after=None)
    sim.run(0.1)
    assert len(actions(sim, ev.Poll)) == polls + 1  # one at a time
    sim.run(1.4)
    assert len(actions(sim, ev.Poll)) == polls + 1  # and not twice in two seconds
    sim.run(0.6)
    assert len(actions(sim, ev.Poll)) == polls + 2
    assert sim.jobs[key].ending is None


def test_an_answer_asked_before_a_change_says_nothing_of_it() -> None:
    sim = pool(max_workers=1)
    sim.submit(1, seconds=1000.0)
    serving(sim, 1)
    core, now, key = sim.core, sim.clock.now, sim.agents[0].job.key
    asked = next(action for second in range(1, 100) for action in core.handle(ev.Tick(now + second)) if action)
    assert isinstance(asked, ev.Poll)
    core.handle(ev.AgentLeft(now + 100, key))
    for _ in range(3):  # the job is absent from it; with a later question that would count
        core.handle(ev.Polled(now + 100, asked.names, ()))
    assert core.snapshot().jobs[0].state == "silent"
    assert not [action for action in core.handle(ev.Tick(now + 101)) if isinstance(action, ev.Account)]


# --------------------------------------------------------------------------------------------------- politeness


def test_nothing_is_polled_without_jobs() -> None:
    sim = pool()
    sim.run(600)
    assert not actions(sim, ev.Poll)


def test_a_long_quiet_run_is_polled_once_a_minute() -> None:
    sim = pool(max_workers=4)
    sim.submit(4, seconds=3600.0)
    sim.run(600)
    before = len(actions(sim, ev.Poll))
    sim.run(1200)
    assert 18 <= len(actions(sim, ev.Poll)) - before <= 21


def test_the_reason_of_a_waiting_job_is_told() -> None:
    sim = pool(max_workers=1)
    sim.start_delay = 1e6
    sim.submit(1)
    sim.run(10)
    (view,) = sim.core.snapshot().jobs
    assert (view.state, view.reason, view.id) == ("pending", "Priority", "1_0")
    assert 9 < view.age <= 10
    assert sim.core.snapshot().calls.waiting == 1


def test_a_call_at_an_agent_is_running_for_the_view_only_when_it_runs() -> None:
    sim = pool(max_workers=1)
    sim.submit(3, seconds=10.0)
    serving(sim, 1)
    sim.run(1)
    counts = sim.core.snapshot().calls
    assert (counts.waiting, counts.running, counts.done, counts.failed) == (2, 1, 0, 0)


# ------------------------------------------------------------------------------------------------------ shutdown


def test_shutdown_finishes_the_calls_and_leaves_nothing() -> None:
    sim = pool(max_workers=3)
    ids = sim.submit(10)
    finish(sim)
    assert sim.results.keys() == set(ids)
    assert len(actions(sim, ev.CancelJobs)) == 1


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
    assert sim.actions == [ev.Finished()]


def test_shutdown_while_the_submit_command_is_under_way() -> None:
    sim = pool(max_workers=4)
    sim.command_seconds = 5.0
    sim.start_delay = 1000.0
    sim.submit(10)
    sim.run(0.5)
    assert len(sim.submits) == 1
    sim.shut_down(kill=True)
    assert sim.run(60, until=lambda: sim.finished is not None)
    assert sim.finished == ev.Finished()
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
    assert sim.finished == ev.Finished((JobId("1_0"), JobId("1_1")))
    assert len(actions(sim, ev.CancelJobs)) >= 2


def test_a_job_that_the_queue_forgets_and_shows_again_is_cancelled() -> None:
    sim = pool(max_workers=1)
    sim.faults.never_connect = True
    sim.submit(1)
    sim.run(2, until=lambda: states(sim) == ["starting"])
    forgotten = next(iter(sim.jobs))
    job = sim.jobs.pop(forgotten)
    sim.run(60, until=lambda: len(sim.submits) == 2)
    order = [type(action) for action in sim.actions if isinstance(action, ev.CancelJobs | ev.SubmitJobs)]
    assert order == [ev.SubmitJobs, ev.CancelJobs, ev.SubmitJobs]  # before its calls go elsewhere
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
    assert isinstance(stop, ev.StopAgent)
    (cancel,) = sim.core.handle(ev.JobsSubmitted(sim.clock.now, "jp-t-1", (JobId("1"),)))
    assert cancel == ev.CancelJobs((), (JobId("1"),))


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
