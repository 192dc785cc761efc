"""Whole stories of a pool: how many jobs it asks for, and how often it asks about them."""

from __future__ import annotations

import re

import pytest
from enginekit import actions, finish, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Call
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.testing.simulation import Simulation

# Asking for jobs


def test_a_hundred_submits_make_one_submission_of_twenty_jobs() -> None:
    sim = pool(max_workers=20)
    for _ in range(100):
        sim.submit(1)
        sim.run(0.001)
    assert sim.settle()
    assert sim.submits == [act.SubmitJobs("jp-t-1", sim.settings.request, 20)]
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


def test_jobs_without_arrays_are_submitted_alone_and_a_few_at_a_time() -> None:
    sim = pool(max_workers=30, array_size=1)
    sim.submit(100)
    assert [action.count for action in sim.submits] == [1] * sim.settings.submits_at_once
    assert sim.settle()
    assert [action.count for action in sim.submits] == [1] * 30
    assert sim.most_running == 30
    finish(sim)


def test_arrays_are_cut_to_the_users_size() -> None:
    sim = pool(max_workers=20, array_size=10, limits=Limits(max_array_size=1000))
    sim.submit(100)
    assert sim.settle()
    assert [action.count for action in sim.submits] == [10, 10]


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
    assert not actions(sim, act.CancelJobs)


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
    assert len(actions(sim, act.CancelJobs)) == 1


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
    arrived = ev.CallsArrived(sim.clock.now, (Call(id, "f", b""),))
    sim.feed(arrived)
    assert sim.settle()
    sim.feed(arrived)
    sim.run(60)
    assert sim.runs[id] == 1


# Politeness


def test_nothing_is_polled_without_jobs() -> None:
    sim = pool()
    sim.run(600)
    assert not actions(sim, act.Poll)


def test_a_long_quiet_run_is_polled_once_a_minute() -> None:
    sim = pool(max_workers=4)
    sim.submit(4, seconds=3600.0)
    sim.run(600)
    before = len(actions(sim, act.Poll))
    sim.run(1200)
    assert 18 <= len(actions(sim, act.Poll)) - before <= 21


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
