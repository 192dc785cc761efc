"""Whole stories of a pool: submits that fail, and setups in which no job works."""

from __future__ import annotations

from collections import deque

import pytest
from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import JobKey
from jobpool.core.settings import CoreSettings
from jobpool.core.steps.engine import Core
from jobpool.model.call import Call
from jobpool.model.errors import InitializerFailed, JobsFailed, PoolBroken, RequestRefused
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.testing.simulation import Simulation

DOUBTFUL = ev.SubmitDoubtful(0.0, "", "Socket timed out on send/recv operation")
TEMPORARY = ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
PERMANENT = ev.SubmitRefused(0.0, "", "Invalid account", temporary=False)


# Submits that fail


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


def test_single_jobs_that_are_refused_together_make_one_pause() -> None:
    sim = pool(max_workers=12, array_size=1)
    sim.faults.answers = deque([None, None, *[TEMPORARY] * 10])
    ids = sim.submit(200, seconds=30.0)
    assert sim.run(60, until=lambda: sim.most_running == 12)
    assert len([text for text in sim.notices if "takes no more now" in text]) <= 2
    assert sim.settle()
    assert sim.results.keys() == set(ids)


GONE = ev.SubmitRefused(0.0, "", "", temporary=False, error=PoolBroken("the pool's directory was deleted"))


def test_when_no_job_would_work_every_call_that_waits_ends_with_the_reason() -> None:
    sim = pool()
    sim.faults.answers = deque([GONE])
    ids = sim.submit(10)
    assert sim.settle(10)
    assert {str(sim.errors[id]) for id in ids} == {"the pool's directory was deleted"}
    (late,) = sim.submit(1)
    assert isinstance(sim.errors[late], PoolBroken)
    assert len(sim.submits) == 1
    finish(sim)


def test_when_no_more_jobs_would_work_calls_go_on_in_those_that_serve() -> None:
    sim = pool(max_workers=4)
    ids = list(sim.submit(1, seconds=60.0))
    serving(sim, 1)
    sim.faults.answers = deque([GONE] * 100)
    ids += sim.submit(20, seconds=5.0)
    assert sim.settle()
    assert sim.results.keys() == set(ids)
    assert sum("the pool's directory was deleted" in text for text in sim.notices) == 1
    finish(sim)


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
    assert "jp-t-1" in actions(sim, act.CancelJobs)[-1].names  # should it turn up after all


def unclear(words: str) -> ev.SubmitDoubtful:
    return ev.SubmitDoubtful(0.0, "", words, unclear=True)


def test_the_same_words_that_nobody_knows_are_a_refusal_the_third_time() -> None:
    sim = pool()
    sim.faults.doubtful_exist = False
    sim.faults.answers = deque(unclear(f"Request {number}: project bio has no hours left") for number in range(9))
    ids = sim.submit(3)
    assert sim.settle(120)
    assert {type(sim.errors[id]) for id in ids} == {RequestRefused}
    assert "Request 2: project bio has no hours left" in str(sim.errors[ids[0]])
    assert len(sim.submits) == 3
    sim.run(3600)
    assert len(sim.submits) == 3


def test_other_words_or_jobs_that_are_found_are_no_refusal() -> None:
    sim = pool()
    sim.faults.doubtful_exist = False
    same, other = unclear("no hours left"), unclear("database locked")
    sim.faults.answers = deque([same, same, other, same, same, DOUBTFUL, DOUBTFUL, DOUBTFUL, None])
    ids = sim.submit(3)
    assert sim.settle(7200)
    assert sim.results.keys() == set(ids)
    found = pool()
    found.faults.answers = deque([same])
    ids = found.submit(3)
    assert found.settle(60)
    assert len(found.submits) == 1
    assert not found.notices


def test_words_that_nobody_knows_while_others_serve_go_on_with_fewer() -> None:
    sim = pool(max_workers=4, limits=Limits(max_array_size=2))
    sim.faults.doubtful_exist = False
    sim.faults.answers = deque([None, *[unclear("no hours left")] * 9])
    ids = sim.submit(40, seconds=20.0)
    assert sim.settle(3600)
    assert sim.results.keys() == set(ids)
    assert any("going on with fewer: no hours left" in text for text in sim.notices)


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


def test_no_two_runs_share_a_name() -> None:
    runs = [Simulation(CoreSettings(pool="same", run=run, max_workers=2)) for run in ("0a", "0b")]
    for sim in runs:
        sim.submit(2, seconds=1.0)
        assert sim.settle(60)
    first, second = ({action.submission for action in sim.submits} for sim in runs)
    assert not first & second
    longest = Simulation(CoreSettings(pool="x" * 200, run="01234567"))
    longest.submit(1)
    assert longest.settle(60)
    assert all(len(action.submission) < 60 for action in longest.submits)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_jobs_of_one_name_the_one_with_the_known_id_counts(order: int) -> None:
    # A site's own program around the submit command tried again after a time-out, and told the second id.
    core = Core(settings=CoreSettings(pool="t"), now=0.0)
    core.handle(ev.CallsArrived(0.0, (Call(1, "f", b""),)))
    core.handle(ev.Tick(2.0))
    core.handle(ev.JobsSubmitted(3.0, "jp-t-1", (JobId("8"),)))
    ended = Ending(kind=EndingKind.FAILED, message="FAILED NonZeroExitCode 3:0", exit_code=3)
    twins = [
        Seen(id=JobId("7"), name="jp-t-1", index=0, state=JobState.ENDED, ending=ended),
        Seen(id=JobId("8"), name="jp-t-1", index=0, state=JobState.PENDING, reason="Priority"),
        Seen(id=JobId("9"), name="jp-t-1", index=0, state=JobState.RUNNING),
    ]
    core.handle(ev.Tick(10.0))
    actions = core.handle(ev.Polled(11.0, ("jp-t-1",), tuple(twins[::order])))
    assert [(view.id, view.state) for view in core.snapshot().jobs] == [("8", "pending")]
    actions += core.handle(ev.Tick(12.0))
    assert [action.ids for action in actions if isinstance(action, act.CancelJobs)] == [("9",)]


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


# Setups that fail


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
    failed = actions(sim, act.Fail)[-1]
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
