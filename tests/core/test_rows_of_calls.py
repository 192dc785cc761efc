"""Rows of a map in the core: how they are cut, handed out, taken back, and blamed."""

from __future__ import annotations

import pytest
from callskit import Calls
from test_scheduler import A, B, C, join, learned, queue

from jobpool.core import actions as act
from jobpool.core.actions import SendBundle
from jobpool.core.calls.bundle_size import STUCK
from jobpool.core.recovery.decide import NEVER, GiveUp, History, Loss, LossPlace, RunAgain, decide
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Call, Death, Outcome, Usage
from jobpool.model.errors import CallCrashed, JobLost
from jobpool.model.job import Ending, EndingKind, JobId
from jobpool.model.request import Request, Retry
from jobpool.model.units import Memory
from jobpool.testing.simulation import Simulation

FIRST = 1000


def add_rows(calls: Calls, count: int, *, first: int = FIRST) -> None:
    assert calls.table.is_new(first)
    calls.table.add(Call(first, "f", b"rows", "", 0, count))


def spans(bundles: list[SendBundle]) -> list[tuple[int, int, int, int]]:
    """Return what was sent: to whom, and of each call the id, the rows to skip, and how many there are."""
    return [(bundle.job.element, call.id, call.skip, call.rows) for bundle in bundles for call in bundle.calls]


def done(id: int, rows: int, wall: float = 0.001) -> tuple[Outcome, ...]:
    return (Outcome(id, True, b"", Usage(wall=wall, cpu=0, peak_memory=Memory(0), threads=1), rows=rows),)


def test_rows_of_unknown_duration_travel_one_by_one() -> None:
    calls = queue(0)
    add_rows(calls, 100)
    join(calls, A, B)
    assert spans(calls.scheduler.bundles(0.0)) == [(0, FIRST, 0, 1), (1, FIRST + 1, 1, 1)]
    assert calls.table.demand("") == len(calls.table) == 100


@pytest.mark.parametrize(("wall", "rows"), [(0.001, 200), (0.010, 20), (0.4, 1)])
def test_rows_are_cut_to_a_fifth_of_a_second_of_work(wall: float, rows: int) -> None:
    calls = learned(wall)
    add_rows(calls, 10_000)
    (first, *_) = calls.scheduler.bundles(0.0)
    assert sum(call.rows for call in first.calls) == pytest.approx(rows, abs=1)


def test_a_bundle_takes_rows_of_several_payloads() -> None:
    calls = learned(0.001)
    for number in range(100):
        add_rows(calls, 20, first=FIRST + 100 * number)
    (first, *_) = calls.scheduler.bundles(0.0)
    assert [call.rows for call in first.calls] == [20] * 10


def test_rows_that_came_back_are_not_sent_again() -> None:
    calls = learned(0.001)
    add_rows(calls, 50)
    join(calls, B)
    sent = spans(calls.scheduler.bundles(0.0))
    agent, id, skip, rows = sent[0]
    first, copies = calls.reports.finish((A, B)[agent], done(id, 3), 0.1)
    assert (len(first), copies) == (1, {})
    assert len(calls.table) == 47
    held = calls.agents.remove((A, B)[agent], 1.0)
    assert (held[0].id, held[0].items) == (id + 3, rows - 3)
    calls.reports.run_again([(held.id, NEVER) for held in held], 1.0)
    join(calls, C)
    again = spans(calls.scheduler.bundles(1.0))
    assert again[0][1:3] == (id + 3, skip + 3)


def test_a_late_answer_for_rows_that_were_cut_since_changes_nothing() -> None:
    calls = learned(0.001)
    add_rows(calls, 40)
    (bundle, *_) = calls.scheduler.bundles(0.0)
    (call,) = bundle.calls
    calls.reports.cut(A, call.id, 4)
    assert calls.reports.finish(A, done(call.id, call.rows), 0.1) == ((), {})
    assert len(calls.table) == 40
    calls.reports.finish(A, done(call.id, 4), 0.1)
    calls.reports.finish(A, done(call.id + 4, call.rows - 4), 0.1)
    assert len(calls.table) == 40 - call.rows


def test_an_agent_with_calls_behind_a_long_one_is_asked_for_them_when_a_worker_is_free() -> None:
    calls = learned(0.001, workers=1)
    add_rows(calls, 10)
    bundles = calls.scheduler.bundles(0.0)
    assert sum(rows for *_, rows in spans(bundles)) == 10
    assert calls.scheduler.next_look is None  # no worker is free
    join(calls, B)
    assert calls.scheduler.bundles(0.02) == []
    assert calls.scheduler.stuck(0.02) == []
    assert calls.scheduler.next_look == pytest.approx(0.02 + STUCK)
    assert calls.scheduler.stuck(0.02 + STUCK) == [A]
    calls.reports.give_back(A, [call.id for bundle in bundles[1:] for call in bundle.calls], 0.08)
    assert [agent for agent, *_ in spans(calls.scheduler.bundles(0.08))] == [1]


def test_a_long_call_of_many_does_not_hold_up_the_others() -> None:
    sim = Simulation(CoreSettings(pool="t", max_workers=2, request=Request(workers_per_job=1)))
    sim.submit(200, seconds=0.001)
    sim.settle()
    ids = sim.submit_rows(100, seconds=0.001)
    sim._seconds[ids[10]] = 1000.0
    assert sim.run(20.0, until=lambda: len(sim.open_calls) == 1)
    assert sim.open_calls == [ids[10]]
    assert sim.settle()
    assert all(sim.runs[id] == 1 for id in ids)
    assert any(isinstance(action, act.TakeBack) for action in sim.actions)


def test_cancelled_rows_do_not_start_and_the_one_that_runs_goes_on() -> None:
    sim = Simulation(CoreSettings(pool="t", max_workers=1))
    ids = sim.submit_rows(100, seconds=5.0)
    sim.run(20.0, until=lambda: bool(sim.told_running))
    sim.cancel(ids[:1])
    sim.run(60.0)
    assert sum(sim.runs[id] for id in ids) == 1
    assert ids[0] in sim.results


def test_a_cancelled_row_whose_job_is_lost_gets_an_end_and_does_not_run_again() -> None:
    sim = Simulation(CoreSettings(pool="t", max_workers=1))
    ids = sim.submit_rows(100, seconds=5.0)
    sim.run(20.0, until=lambda: bool(sim.told_running))
    sim.cancel(ids[:1])
    sim.run(0.5)
    (agent,) = sim.agents
    sim.end(agent.job, EndingKind.PREEMPTED, "PREEMPTED")
    sim.run(60.0)
    assert sum(sim.runs[id] for id in ids) == 1
    assert isinstance(sim.errors[ids[0]], JobLost)
    assert len(sim.errors) == 1


CRASH = Death(signal=11)
PREEMPTED = Ending(kind=EndingKind.PREEMPTED, message="PREEMPTED")
HERE = LossPlace(JobId("1"), "n1", Request())


@pytest.mark.parametrize("history", [NEVER, History(crashed=2), History(crashed=9)])
def test_no_row_of_several_is_blamed_but_each_runs_alone(history: History) -> None:
    verdict = decide(Loss(cause=CRASH, started=True, items=5), history, HERE, Retry())
    assert isinstance(verdict, RunAgain)
    assert verdict.history.alone


def test_rows_that_lost_their_job_stay_together() -> None:
    verdict = decide(Loss(cause=PREEMPTED, started=True, items=5), NEVER, HERE, Retry())
    assert verdict == RunAgain(History(lost=1))


def test_a_row_that_crashes_alone_is_blamed_after_its_tries() -> None:
    verdict = decide(Loss(cause=CRASH, started=True), History(crashed=2, alone=True), HERE, Retry())
    assert isinstance(verdict, GiveUp)
    assert isinstance(verdict.error, CallCrashed)


def test_rows_that_are_to_run_alone_travel_alone() -> None:
    calls = learned(0.001)
    add_rows(calls, 5)
    (bundle, *_) = calls.scheduler.bundles(0.0)
    calls.reports.run_again([(call.id, History(crashed=1, alone=True)) for call in bundle.calls], 1.0)
    assert {rows for _, _, _, rows in spans(calls.scheduler.bundles(1.0))} == {1}


def test_cancelled_rows_behind_one_that_runs_go_nowhere_when_their_job_is_lost() -> None:
    sim = Simulation(CoreSettings(pool="t", max_workers=1))
    sim.submit(1, seconds=0.001)  # so that rows are handed out together
    assert sim.settle()
    sim.submit(40, seconds=0.001)
    assert sim.settle()
    first, *behind = sim.submit_rows(3, seconds=15.0)
    assert sim.run(60, until=lambda: first in sim.told_running)
    sim.shut_down(cancel_waiting=True)
    sim.end(next(iter(sim.agents)).job, EndingKind.PREEMPTED, "PREEMPTED")
    assert sim.run(600, until=lambda: sim.finished is not None)  # and no BrokenPromise on the way
    assert not set(behind) & set(sim.runs)
