"""Who waits, who is where, and who gets which bundle next."""

from __future__ import annotations

import itertools

import pytest
from callskit import Calls

from jobpool.core.actions import SendBundle
from jobpool.core.calls.bundle_size import BUNDLE_BYTES, BUNDLE_CALLS, BUNDLE_ROWS, BundleSize
from jobpool.core.calls.id_set import IdSet
from jobpool.core.events import JobKey
from jobpool.model.call import Call, Outcome, Usage
from jobpool.model.units import Memory

A, B, C = JobKey("jp-t-1", 0), JobKey("jp-t-1", 1), JobKey("jp-t-1", 2)


def queue(count: int, *, ceiling: int = 100, first: int = 0, function: str = "f", payload: bytes = b"") -> Calls:
    calls = Calls()
    calls.table.open_queue("", ceiling)
    add(calls, count, first=first, function=function, payload=payload)
    return calls


def add(calls: Calls, count: int, *, first: int = 0, function: str = "f", payload: bytes = b"") -> None:
    for id in range(first, first + count):
        if calls.table.is_new(id):
            calls.table.add(Call(id, function, payload))


def join(calls: Calls, *keys: JobKey, workers: int = 1) -> None:
    for key in keys:
        calls.agents.join(key, "", workers=workers, time=0.0)


def sent(bundles: list[SendBundle]) -> list[tuple[int, list[int]]]:
    return [(bundle.job.element, [call.id for call in bundle.calls]) for bundle in bundles]


def outcomes(*ids: int, wall: float = 0.001) -> tuple[Outcome, ...]:
    return tuple(Outcome(id, True, b"", Usage(wall=wall, cpu=0, peak_memory=Memory(0), threads=1)) for id in ids)


def learned(wall: float, *, calls: int = 0, workers: int = 2, payload: bytes = b"") -> Calls:
    """A line with one agent and a function of which the duration is known well."""
    made = queue(0)
    add(made, 1, first=10**6)
    join(made, A, workers=workers)
    for step in range(12):
        made.scheduler.bundles(0.0)
        made.reports.finish(A, outcomes(10**6 + step, wall=wall), 0.0)
        add(made, 1, first=10**6 + step + 1)
    made.table.cancel([10**6 + 12])
    add(made, calls, payload=payload)
    return made


def test_first_come_first_served_and_spread_over_the_agents() -> None:
    calls = queue(5)
    join(calls, A, B, workers=2)
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [0]), (1, [1]), (0, [2]), (1, [3])]
    assert calls.scheduler.bundles(0.0) == []
    calls.reports.finish(B, outcomes(1, wall=5.0), 1.0)
    assert sent(calls.scheduler.bundles(0.0)) == [(1, [4])]


def test_calls_of_unknown_duration_travel_alone_and_none_waits_at_an_agent() -> None:
    calls = queue(1000)
    join(calls, A, B)
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [0]), (1, [1])]


def test_bundles_grow_with_the_answers() -> None:
    calls = queue(10_000)
    join(calls, A)
    sizes = []
    for _ in range(7):
        for bundle in calls.scheduler.bundles(0.0):
            sizes.append(len(bundle.calls))
            calls.reports.finish(A, outcomes(*(call.id for call in bundle.calls), wall=1e-6), 0.0)
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert all(after <= 16 * before for before, after in itertools.pairwise(sizes))  # two answers lie between
    assert max(sizes) == BUNDLE_CALLS


@pytest.mark.parametrize(("wall", "size"), [(1e-9, 1000), (0.001, 200), (0.010, 20), (0.4, 1)])
def test_a_bundle_is_about_a_fifth_of_a_second_of_work(wall: float, size: int) -> None:
    (first, *_) = learned(wall, calls=100_000).scheduler.bundles(0.0)
    assert len(first.calls) == pytest.approx(size, abs=1)


def test_a_bundle_has_a_size_in_bytes_too() -> None:
    (first, *_) = learned(1e-6, calls=1000, payload=b"x" * (BUNDLE_BYTES // 10)).scheduler.bundles(0.0)
    assert len(first.calls) == 10


def test_a_large_payload_travels_alone() -> None:
    (first, *_) = learned(1e-6, calls=10, payload=b"x" * (BUNDLE_BYTES + 1)).scheduler.bundles(0.0)
    assert len(first.calls) == 1


def test_the_tail_is_shared() -> None:
    bundles = learned(0.010, calls=8).scheduler.bundles(0.0)
    assert sent(bundles) == [(0, [0, 1]), (0, [2]), (0, [3]), (0, [4])]  # two at work, two ahead; the rest waits


def test_one_bundle_waits_at_each_worker_only_when_calls_are_short() -> None:
    assert len(learned(0.1, calls=100).scheduler.bundles(0.0)) == 4
    assert len(learned(2.0, calls=100).scheduler.bundles(0.0)) == 2


def test_free_workers_come_before_waiting_at_busy_ones() -> None:
    calls = learned(0.040, calls=3)
    join(calls, B)
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [0]), (1, [1]), (0, [2])]


def test_the_ceiling_is_exact_with_a_job_too_many() -> None:
    calls = queue(100, ceiling=5)
    join(calls, A, B, workers=3)
    assert len(calls.scheduler.bundles(0.0)) == 5
    calls.reports.finish(A, outcomes(0, wall=0.001), 0.0)
    after = sent(calls.scheduler.bundles(0.0))
    # A may take a bundle ahead for each of its three workers; at B one must not wait, the idle worker would take it.
    assert [element for element, _ in after].count(1) == 0


def test_a_worker_above_the_ceiling_is_used_when_another_agent_goes() -> None:
    calls = queue(100, ceiling=4)
    join(calls, A, B, workers=3)
    assert [element for element, _ in sent(calls.scheduler.bundles(0.0))].count(1) == 1
    calls.agents.remove(A, 1.0)
    assert [element for element, _ in sent(calls.scheduler.bundles(0.0))] == [1, 1]


def test_a_draining_agent_keeps_its_share_until_its_calls_are_done() -> None:
    calls = queue(100, ceiling=2)
    join(calls, A, B, workers=2)
    assert len(calls.scheduler.bundles(0.0)) == 2  # both at A
    calls.agents.close(A)
    assert calls.scheduler.bundles(0.0) == []
    calls.reports.finish(A, outcomes(0), 1.0)
    assert [element for element, _ in sent(calls.scheduler.bundles(0.0))] == [1]


def test_a_worker_busy_with_dask_is_not_free() -> None:
    calls = queue(10)
    join(calls, A, workers=2)
    calls.agents.set_dask_tasks(A, 2, 0.0)
    assert calls.scheduler.bundles(0.0) == []
    calls.agents.set_dask_tasks(A, 1, 0.0)
    assert len(calls.scheduler.bundles(0.0)) == 1
    assert calls.agents.busy(A) == (2, 2)
    calls.agents.set_dask_tasks(A, 0, 0.0)
    assert len(calls.scheduler.bundles(0.0)) == 1


def test_a_cancelled_call_is_never_sent() -> None:
    calls = queue(5)
    assert calls.table.cancel([1, 3, 99]) == {}
    join(calls, A, workers=5)
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [0]), (0, [2]), (0, [4])]


def test_a_cancel_that_overtakes_its_call_holds() -> None:
    calls = queue(0)
    calls.table.cancel([7])
    assert not calls.table.is_new(7)


def test_a_call_at_an_agent_is_named_for_the_retract_and_frees_the_worker() -> None:
    calls = queue(2)
    join(calls, A)
    calls.scheduler.bundles(0.0)
    assert calls.table.cancel([0]) == {A: [0]}
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [1])]


def test_returned_calls_go_to_the_front_in_their_order() -> None:
    calls = learned(0.001, calls=800)
    first, *_ = calls.scheduler.bundles(0.0)
    ids = [call.id for call in first.calls]
    calls.agents.close(A)
    calls.reports.give_back(A, ids, 1.0)
    join(calls, B)
    ((_, again), *_) = sent(calls.scheduler.bundles(0.0))
    assert again == ids[: len(again)]
    assert len(again) > 1


def test_started_is_news_once_and_only_where_the_call_is() -> None:
    calls = queue(1)
    join(calls, A)
    calls.scheduler.bundles(0.0)
    assert calls.reports.start(B, [0], 1.0) == ()
    assert calls.reports.start(A, [0, 5], 1.0) == (0,)
    assert calls.reports.start(A, [0], 1.0) == ()
    assert calls.table.running == 1


def test_the_first_outcome_wins_and_the_copy_elsewhere_is_named() -> None:
    calls = queue(1)
    join(calls, A)
    calls.scheduler.bundles(0.0)
    (held,) = calls.agents.remove(A, 1.0)
    calls.reports.run_again([(held.id, held.history)], 1.0)
    join(calls, B)
    assert sent(calls.scheduler.bundles(0.0)) == [(1, [0])]
    assert calls.reports.finish(A, outcomes(0), 2.0) == (outcomes(0), {B: [0]})
    assert calls.reports.finish(B, outcomes(0), 3.0) == ((), {})
    assert len(calls.table) == 0
    assert calls.agents.busy(B) == (1, 0)


def test_an_outcome_from_before_the_loss_ends_the_waiting_call() -> None:
    calls = queue(1)
    join(calls, A)
    calls.scheduler.bundles(0.0)
    calls.reports.run_again([(held.id, held.history) for held in calls.agents.remove(A, 1.0)], 1.0)
    calls.reports.finish(A, outcomes(0), 2.0)
    join(calls, B)
    assert calls.scheduler.bundles(0.0) == []


def test_a_lost_agent_tells_what_it_had() -> None:
    calls = learned(0.001, calls=10)
    calls.scheduler.bundles(0.0)
    calls.reports.start(A, [0], 75.0)
    held = calls.agents.remove(A, 100.0)
    assert {call.id for call in held if call.started} == {0}
    assert next(call.share for call in held if call.started) == 0.25
    assert calls.agents.remove(A, 100.0) == []


def test_idle_agents_are_named_the_longest_idle_first() -> None:
    calls = queue(2)
    join(calls, A, B, C)
    calls.scheduler.bundles(0.0)
    calls.reports.finish(B, outcomes(1), 5.0)
    assert calls.agents.idle("", 4.0) == [C]
    assert calls.agents.idle("", 5.0) == [C, B]
    assert calls.agents.least_busy("")[-1] == A


def test_many_cancelled_calls_do_not_keep_their_memory() -> None:
    calls = queue(50_000, payload=b"x")
    calls.table.cancel(range(1, 50_000))
    assert len(calls.table.queues[""].ready) < 2000
    join(calls, A)
    assert sent(calls.scheduler.bundles(0.0)) == [(0, [0])]


def test_the_pace_follows_a_change() -> None:
    pace = BundleSize()
    assert not pace.short
    pace.learn(100.0, 100)
    assert pace.mean == 1.0
    for _ in range(100):
        pace.learn(0.1, 100)
    assert pace.mean == pytest.approx(0.001, rel=0.1)
    assert pace.cap == BUNDLE_ROWS


def test_ids_in_a_row_are_one_interval() -> None:
    ids = IdSet()
    assert all(ids.add(id) for id in (5, 3, 4, 1, 9, 2))
    assert not any(ids.add(id) for id in (1, 2, 3, 4, 5, 9))
    assert ids.intervals == 2
    assert all(ids.add(id) for id in (6, 8, 7, 0))
    assert ids.intervals == 1


def _learned(calls: Calls, function: str, seconds: float) -> None:
    """Let the calls know how long a function takes."""
    call = Call(next(_fresh), function, b"")
    calls.table.add(call)
    (bundle,) = calls.scheduler.bundles(0.0)
    calls.reports.finish(bundle.job, (Outcome(call.id, True, b"", usage=_took(seconds)),), 0.0)


def _took(seconds: float) -> Usage:
    return Usage(wall=seconds, cpu=seconds, peak_memory=Memory(0), threads=1)


_fresh = itertools.count(10_000)


def test_a_short_call_is_not_bundled_behind_one_of_unknown_length() -> None:
    calls = Calls()
    calls.table.open_queue("", 2)
    calls.agents.join(JobKey("jp-1", 0), "", workers=2, time=0.0)
    for _ in range(5):
        _learned(calls, "short", 0.001)
    calls.table.add(Call(1, "unknown", b""))
    calls.table.add(Call(2, "short", b""))
    assert [[call.id for call in bundle.calls] for bundle in calls.scheduler.bundles(0.0)] == [[1], [2]]


def test_a_short_call_does_not_wait_at_a_worker_that_is_busy_with_an_unknown_one() -> None:
    calls = Calls()
    calls.table.open_queue("", 2)
    jobs = [JobKey("jp-1", 0), JobKey("jp-1", 1)]
    for job in jobs:
        calls.agents.join(job, "", workers=1, time=0.0)
    for _ in range(5):
        _learned(calls, "short", 0.001)
    calls.table.add(Call(1, "unknown", b""))
    calls.table.add(Call(2, "unknown", b""))
    first, second = calls.scheduler.bundles(0.0)
    calls.table.add(Call(3, "short", b""))
    assert calls.scheduler.bundles(0.0) == []
    calls.reports.finish(second.job, (Outcome(2, True, b"", usage=_took(9.0)),), 9.0)
    assert [(bundle.job, [call.id for call in bundle.calls]) for bundle in calls.scheduler.bundles(0.0)] == [
        (second.job, [3])
    ]
    assert first.job != second.job


def test_calls_are_spread_over_the_free_workers_before_they_are_bundled() -> None:
    calls = Calls()
    calls.table.open_queue("", 3)
    calls.agents.join(JobKey("jp-1", 0), "", workers=3, time=0.0)
    for _ in range(8):
        _learned(calls, "short", 0.00001)
    for id in range(4):
        calls.table.add(Call(id, "short", b""))
    assert [[call.id for call in bundle.calls] for bundle in calls.scheduler.bundles(0.0)] == [[0, 1], [2], [3]]


def test_nothing_waits_at_an_agent_with_a_worker_above_the_ceiling_even_if_dask_has_that_worker_now() -> None:
    calls = Calls()
    calls.table.open_queue("", 2)
    job = JobKey("jp-1", 0)
    calls.agents.join(job, "", workers=3, time=0.0)
    for _ in range(8):
        _learned(calls, "short", 0.001)
    calls.agents.set_dask_tasks(job, 1, 0.0)
    for id in range(200):
        calls.table.add(Call(id, "short", b""))
    assert len(calls.scheduler.bundles(0.0)) == 2
    assert calls.scheduler.bundles(0.0) == []
