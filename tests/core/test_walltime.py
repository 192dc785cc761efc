"""A walltime costs no call that could have been spared, and no capacity; one that is too long for it still runs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from callskit import Calls
from hypothesis import given, settings
from hypothesis import strategies as st

from jobpool.core import events as ev
from jobpool.core.actions import SendBundle
from jobpool.core.events import Hello, JobKey
from jobpool.core.scaling.walltime import FRESH, LEAD_SHARE, Span, notice
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Call, Outcome, Usage
from jobpool.model.call_options import CallOptions
from jobpool.model.errors import CallTimedOut, JobLost, JobsFailed
from jobpool.model.job import EndingKind, JobId
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory
from jobpool.testing.simulation import Simulation

A, B = JobKey("jp-t-1", 0), JobKey("jp-t-1", 1)


def pool(walltime: float, *, per_job: int = 1, **changes: Any) -> Simulation:
    request = Request(walltime=Duration(walltime), workers_per_job=per_job)
    return Simulation(CoreSettings(pool="t", request=request, **{"max_workers": 1, **changes}))


def sent(bundles: list[SendBundle]) -> list[tuple[int, list[int]]]:
    return [(bundle.job.element, [call.id for call in bundle.calls]) for bundle in bundles]


def done(id: int, wall: float) -> tuple[Outcome, ...]:
    return (Outcome(id, True, b"", Usage(wall=wall, cpu=0, peak_memory=Memory(0), threads=1)),)


def line(deadline: float = 100.0, *, workers: int = 1) -> Calls:
    calls = Calls()
    calls.table.open_queue("", 10)
    calls.agents.join(A, "", workers=workers, time=0.0, deadline=deadline)
    return calls


def expecting(*times: float, first: int = 1) -> list[Call]:
    return [
        Call(id, f"f{id}", b"", terms=CallOptions(expected_time=Duration(time))) for id, time in enumerate(times, first)
    ]


def add(calls: Calls, *new: Call) -> None:
    for call in new:
        calls.table.add(call)


# An agent's time


@pytest.mark.parametrize(("walltime", "before"), [(60, 6), (600, 60), (3600, 60), (5, 0.5)])
def test_notice_is_a_minute_or_a_tenth(walltime: float, before: float) -> None:
    assert notice(walltime) == before
    assert Span.until(walltime, joined=0.0).closes == walltime - before


def test_an_agent_without_a_deadline_takes_everything() -> None:
    assert Span.until(None, joined=5.0).fits(1e9, 1e9)


# Which call begins where


def test_a_call_begins_where_its_expected_time_is_left() -> None:
    calls = line(100.0, workers=2)
    add(calls, *expecting(50, 50))
    assert sent(calls.scheduler.bundles(30.0)) == [(0, [1]), (0, [2])]
    calls.reports.finish(A, done(1, 25.0), 55.0)
    add(calls, *expecting(50, 20, first=3))
    assert sent(calls.scheduler.bundles(55.0)) == [(0, [4])]  # 35 s are left
    calls.reports.finish(A, done(2, 1.0), 56.0)
    assert calls.scheduler.bundles(56.0) == []
    calls.agents.join(B, "", workers=1, time=57.0, deadline=157.0)
    assert sent(calls.scheduler.bundles(57.0)) == [(1, [3])]


def test_what_was_learned_of_a_function_is_expected_of_its_calls() -> None:
    calls = line(100.0)
    add(calls, Call(1, "f", b""), Call(2, "f", b""), Call(3, "g", b""))
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [1])]
    calls.reports.finish(A, done(1, 50.0), 50.0)
    assert sent(calls.scheduler.bundles(50.0)) == [
        (0, [3])
    ]  # 40 s are left: not enough for another f, and nobody knows of g


def test_the_longest_call_counts_and_is_forgotten_in_time() -> None:
    calls = line(1e6)
    for id, wall in enumerate([10.0, *[1.0] * 20]):
        add(calls, Call(id, "f", b""))
        calls.scheduler.bundles(0.0)
        calls.reports.finish(A, done(id, wall), 0.0)
    pace = calls.fitting.of_function("f")
    assert pace.mean is not None
    assert pace.mean < 2 < 9 < pace.longest < 10
    pace.learn(2000.0, 2000, 1.0)
    assert pace.longest < 1.5


def test_rows_of_a_map_are_taken_as_calls_are() -> None:
    calls = line(100.0)
    calls.table.add(Call(10, "f", b"", rows=5, terms=CallOptions(expected_time=Duration(30))))
    assert [len(bundle.calls[0].ids) for bundle in calls.scheduler.bundles(0.0)] == [1]
    calls.reports.finish(A, (Outcome(10, True, b"", None, rows=1),), 61.0)
    assert calls.scheduler.bundles(61.0) == []
    assert calls.table.demand("") == 4


def test_a_call_too_long_for_every_walltime_begins_in_a_fresh_job_and_in_no_other() -> None:
    calls = line(100.0)
    add(calls, *expecting(500))
    assert calls.scheduler.bundles(90 * FRESH + 0.1) == []
    calls.agents.join(B, "", workers=1, time=20.0, deadline=120.0)
    assert sent(calls.scheduler.bundles(20.5)) == [(1, [1])]


def test_nothing_begins_once_an_agent_takes_its_leave() -> None:
    calls = line(100.0)
    add(calls, Call(1, "f", b""))
    assert calls.scheduler.bundles(90.0) == []


def test_cancelled_calls_that_were_set_aside_are_gone() -> None:
    calls = line(100.0)
    add(calls, *expecting(95, 96, 97))
    assert calls.scheduler.bundles(50.0) == []
    calls.table.cancel([1, 3])
    assert (len(calls.table), calls.table.demand("")) == (1, 1)
    calls.agents.join(B, "", workers=3, time=60.0)
    assert sent(calls.scheduler.bundles(60.0)) == [(1, [2])]
    add(calls, *expecting(95, first=4))
    assert calls.table.clear("") == ([4], [])
    assert calls.scheduler.bundles(61.0) == []


def test_many_calls_that_fit_nowhere_cost_little() -> None:
    calls = line(100.0)
    add(calls, *(Call(id, "f", b"", terms=CallOptions(expected_time=Duration(95))) for id in range(20_000)))
    assert calls.scheduler.bundles(50.0) == []
    looked: list[float] = []
    fits = Span.fits

    def counted(self: Span, need: float, time: float) -> bool:
        looked.append(need)
        return fits(self, need, time)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Span, "fits", counted)
        for step in range(100):
            calls.agents.join(JobKey("jp-t-2", step), "", workers=1, time=60.0, deadline=70.0)
            assert calls.scheduler.bundles(65.0) == []
    assert len(looked) < 1000


# A pool over several walltimes


def test_calls_of_known_length_run_once_each_over_many_walltimes() -> None:
    sim = pool(100.0, max_workers=3)
    ids = sim.submit(40, seconds=20.0)
    assert sim.settle(2000)
    assert sim.results.keys() == set(ids)
    assert set(sim.runs.values()) == {1}
    assert sim.interrupted == []


def test_capacity_stays_when_walltimes_end() -> None:
    """With jobs that start within seconds, the workers are as busy as if there were no walltime."""
    sim = pool(100.0, max_workers=4)
    sim.start_delay = 5.0
    sim.submit(400, seconds=4.0)
    begin = sim.clock.now
    assert sim.settle(3000)
    assert sim.most_running <= 4
    assert sim.clock.now - begin < 1.15 * 400 * 4.0 / 4
    assert len(sim.jobs) < 2.0 * 4 * (sim.clock.now - begin) / 90  # and not by many more jobs


def test_a_job_is_replaced_only_when_there_is_work_for_another() -> None:
    sim = pool(100.0, max_workers=2, idle_timeout=1000.0)
    sim.submit(1, seconds=85.0)
    assert sim.settle()
    sim.run(200)
    assert len(sim.jobs) == 1
    assert not sim.queue
    assert sim.jobs[next(iter(sim.jobs))].ending.kind is EndingKind.COMPLETED  # type: ignore[union-attr]


def test_the_lead_is_learned_and_stays_a_share_of_the_walltime() -> None:
    sim = pool(1000.0)
    sim.start_delay = 600.0
    sim.submit(1000, seconds=1.0)
    sim.run(2000, until=lambda: len(sim.jobs) == 2)
    first = next(iter(sim.jobs.values()))
    assert first.ends is not None
    closes = Span.until(first.ends, joined=first.ends - 1000).closes
    assert closes - LEAD_SHARE * 1000 - 5 < sim.clock.now < closes - LEAD_SHARE * 1000 + 30


def test_long_calls_are_replaced_for_when_the_last_one_begins() -> None:
    """A job whose worker runs the last call that fits has a successor when that call ends."""
    sim = pool(100.0)
    ids = sim.submit(6, seconds=40.0)
    begin = sim.clock.now
    assert sim.settle(2000)
    assert sim.results.keys() == set(ids)
    assert set(sim.runs.values()) == {1}
    assert sim.clock.now - begin < 6 * 40 + 3 * 4 + 5
    assert sim.most_running == 1


def test_an_idle_job_that_is_too_old_for_all_that_waits_makes_way() -> None:
    sim = pool(100.0, max_workers=1)
    sim.start_delay = 30.0
    sim.submit(1, seconds=30.0, function="g")
    assert sim.settle()
    (id,) = sim.submit(1, seconds=80.0, terms=CallOptions(expected_time=Duration(80)))
    (old,) = sim.queue
    assert sim.run(10, until=lambda: old.ending is not None)  # before the other one has even started
    assert sim.run(60, until=lambda: sim.runs[id] == 1)
    assert sim.settle(100)


@pytest.mark.parametrize("per_job", [1, 3])
def test_a_call_expected_to_be_too_long_for_any_job_still_gets_one(per_job: int) -> None:
    sim = pool(100.0, max_workers=3, per_job=per_job)
    short = sim.submit(50, seconds=7.0)
    (long,) = sim.submit(1, seconds=85.0, function="long", terms=CallOptions(expected_time=Duration(1000)))
    assert sim.settle(2000)
    assert sim.results.keys() == {*short, long}
    assert sim.runs[long] == 1


def test_a_call_that_is_too_long_says_so_after_a_whole_walltime() -> None:
    sim = pool(100.0)
    sim.submit(1, seconds=50.0, function="g")
    (id,) = sim.submit(1, seconds=500.0)
    assert sim.settle(2000)
    assert isinstance(sim.errors[id], CallTimedOut)
    assert sim.runs[id] == 2  # in what was left of a walltime, and then in a whole one


def test_a_server_that_learns_late_sends_nothing_that_is_lost() -> None:
    sim = pool(60.0, max_workers=2)
    sim.latency = 3.0
    ids = sim.submit(60, seconds=2.0)
    assert sim.settle(2000)
    assert sim.results.keys() == set(ids)
    assert sim.interrupted == []


# Checkpoints


def test_a_call_that_leaves_checkpoints_outlives_any_number_of_walltimes() -> None:
    sim = pool(100.0)
    sim.checkpointing.add("f")
    (id,) = sim.submit(1, seconds=1000.0)
    assert sim.settle(3000)
    assert sim.results.keys() == {id}
    assert 11 <= sim.runs[id] <= 13
    assert sim.told_running == set()


def test_preemptions_with_checkpoints_are_no_losses() -> None:
    sim = pool(10_000.0, retry=CoreSettings(pool="t").retry)
    sim.checkpointing.add("f")
    (id,) = sim.submit(1, seconds=1000.0)
    for _ in range(25):  # more than a call may be lost
        assert sim.run(100, until=lambda: any(agent.running for agent in sim.agents))
        sim.run(10)
        sim.requeue(sim.queue[0])
    assert sim.settle(3000)
    assert sim.results.keys() == {id}


def test_a_checkpoint_makes_up_for_losses_before_it() -> None:
    sim = pool(10_000.0)
    sim.checkpointing.add("f")
    (id,) = sim.submit(1, seconds=1000.0)
    for number in range(22):
        assert sim.run(100, until=lambda: any(agent.running for agent in sim.agents))
        sim.run(10)
        sim.faults.no_checkpoints = number % 8 != 7
        sim.requeue(sim.queue[0])
        sim.faults.no_checkpoints = False
    assert sim.settle(5000)
    assert sim.results.keys() == {id}


def test_without_a_checkpoint_it_is_a_loss_as_any_other() -> None:
    sim = pool(10_000.0)
    sim.checkpointing.add("f")
    sim.faults.no_checkpoints = True
    (id,) = sim.submit(1, seconds=1000.0)
    for _ in range(11):
        assert sim.run(400, until=lambda: any(agent.running for agent in sim.agents))
        sim.run(1)
        sim.requeue(sim.queue[0])
    assert sim.settle(5000)
    assert isinstance(sim.errors[id], JobLost)


def test_a_row_of_a_map_leaves_a_checkpoint_alone() -> None:
    sim = pool(100.0)
    sim.checkpointing.add("f")
    ids = sim.submit_rows(6, seconds=70.0)
    assert sim.settle(3000)
    assert sim.results.keys() == set(ids)


def test_a_checkpoint_of_a_call_that_is_elsewhere_or_over_changes_nothing() -> None:
    sim = pool(100.0, max_workers=2)
    first, second = sim.submit(2, seconds=20.0)
    assert sim.run(30, until=lambda: sum(len(agent.running) for agent in sim.agents) == 2)
    a, b = (agent.job.key for agent in sim.agents)
    here = {id: agent.job.key for agent in sim.agents for call in agent.running.values() for id in call.ids}
    other = {a: b, b: a}
    sim.feed(ev.CallCheckpointed(sim.clock.now, other[here[first]], first, "f", b""))
    assert sim.settle()
    assert sim.runs == {first: 1, second: 1}
    sim.feed(ev.CallCheckpointed(sim.clock.now, here[first], first, "f", b""))
    sim.run(10)
    assert sim.runs == {first: 1, second: 1}


# Any mixture


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    walltime=st.sampled_from([20.0, 60.0, 600.0]),
    per_job=st.integers(1, 4),
    workers=st.integers(1, 6),
    start_delay=st.sampled_from([0.1, 5.0, 100.0]),
)
def test_no_known_call_is_cut_off_whatever_the_mixture(
    seed: int, walltime: float, per_job: int, workers: int, start_delay: float
) -> None:
    sim = pool(walltime, per_job=per_job, max_workers=workers)
    sim.start_delay = start_delay
    chance = random.Random(seed)
    ids: list[int] = []
    for _ in range(chance.randint(1, 12)):
        seconds = chance.choice([0.001, 0.1, 1.0, 0.2 * walltime, 0.5 * walltime, 0.8 * walltime])
        terms = CallOptions(expected_time=Duration(seconds))
        ids += sim.submit(chance.choice([1, 3, 20]), seconds=seconds, function=f"f{seconds}", terms=terms)
        sim.run(chance.choice([0.0, 1.0, 30.0]))
    assert sim.settle(40_000), sim.core.snapshot()
    assert sim.results.keys() == set(ids)
    assert sim.interrupted == []
    assert set(sim.runs.values()) == {1}
    assert sim.most_running <= workers
    assert not sim.overlaps


def test_jobs_that_begin_to_serve_when_they_are_over_are_not_asked_for_again_and_again() -> None:
    sim = pool(100.0, max_workers=1)
    sim.join_delay = 95.0
    (id,) = sim.submit(1, seconds=1.0)
    assert sim.settle(4000)
    assert isinstance(sim.errors[id], JobsFailed)
    assert "walltime" in str(sim.errors[id].words)
    assert len(sim.jobs) == 3


def test_a_hello_after_the_deadline_is_survived() -> None:
    sim = pool(100.0)
    sim.submit(1, seconds=1.0)
    assert sim.run(5, until=lambda: bool(sim.agents))
    key = sim.agents[0].job.key
    sim.feed(
        ev.AgentJoined(
            sim.clock.now,
            Hello(job=key, id=JobId("1"), node="n", workers=1, pid=99, deadline=sim.clock.now - 5),
        )
    )
    assert sim.settle(500)
