"""What to ask for follows from what calls used: cores, memory, walltime, leaks, with a margin for what was not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory
from jobpool.sizing.proposal import Proposal, propose
from jobpool.sizing.sizing import Look, Measured, busiest, cores_for, growth, headroom, slowdown

MIB = 2**20
TRIED = Request(cores=4, memory=Memory(16 * 2**30))


def call(*cpus: float, sample: int = 0, peak: int = 100, after: int = 50, worker: str = "n1 7") -> Measured:
    """A call that used so many CPUs in each of its seconds, and so many MiB."""
    looks = tuple(Look(second + 1.0, used, peak * MIB, 1) for second, used in enumerate(cpus))
    return Measured(
        sample=sample,
        worker=worker,
        wall=float(len(cpus)),
        cpu=sum(cpus),
        before=0,
        peak=peak * MIB,
        after=after * MIB,
        threads=1,
        processes=1,
        read=0,
        written=0,
        looks=looks,
    )


def ask(
    calls: Sequence[Measured], *, total: int | None = None, max_workers: int = 1, now: Request | None = None
) -> Proposal:
    return propose(calls, tried=TRIED, now=now or Request(), total=total, max_workers=max_workers)


def why(proposal: Proposal, setting: str) -> str:
    return dict(proposal.reasons)[setting]


@pytest.mark.parametrize(
    ("cpus", "cores"),
    [
        ([0.1] * 10, 1),  # waits for files
        ([1] * 10, 1),
        ([1.3] * 10, 1),  # a decoder beside the analysis: a second core would be idle for the most part
        ([1.8] * 10, 2),
        ([4] * 10, 4),
        ([0.5] * 9 + [4], 1),  # bursts
        ([0, 4, 4, 4, 4, 4, 4, 4, 4, 4], 4),
    ],
)
def test_as_many_cores_as_are_kept_busy(cpus: list[float], cores: int) -> None:
    assert cores_for([call(*cpus)], 1, 4) == cores


def test_with_two_threads_of_a_core_half_as_many_cores_do() -> None:
    assert cores_for([call(*[4.0] * 10)], 2, 4) == 2


def test_fewer_cpus_make_the_busy_parts_longer() -> None:
    assert slowdown(call(1, 1, 4), 2) == pytest.approx((1 + 1 + 2) / 3)
    assert slowdown(call(1, 1, 4), 4) == 1
    assert busiest(call(1, 1, 4).looks) == 4


def test_one_sample_gets_a_wider_margin_than_many() -> None:
    assert headroom([100]) > headroom([100] * 4) > headroom([100] * 50) > 1.15
    assert headroom([60, 100]) > headroom([99, 100])
    assert headroom([1, 1000]) <= 1.4


def test_the_same_sample_again_counts_as_one() -> None:
    assert ask([call(1)] * 6).memory == ask([call(1)]).memory
    assert ask([call(1, sample=number) for number in range(6)]).memory < ask([call(1)]).memory
    assert "one sample: 100 MiB at the peak; the largest times 1.40 (few" in why(ask([call(1)] * 6), "memory")


@given(peaks=st.lists(st.integers(10, 100_000), min_size=1, max_size=20))
def test_memory_is_more_than_any_call_used_and_not_half_as_much_again(peaks: list[int]) -> None:
    calls = [call(1, sample=number, peak=peak) for number, peak in enumerate(peaks)]
    memory = ask(calls).memory
    assert 1.15 * max(peaks) * MIB <= memory <= max(64 * MIB, 1.5 * max(peaks) * MIB)


def test_a_leak_is_a_step_at_every_call() -> None:
    leaking = [call(1, peak=150 + 10 * number, after=100 + 10 * number) for number in range(6)]
    assert growth(leaking).leaks
    assert growth(leaking).each == 10 * MIB
    proposal = ask(leaking)
    assert proposal.max_tasks_per_child is not None
    # The worker is replaced before the leak fills what is asked for.
    assert 150 * MIB + proposal.max_tasks_per_child * 10 * MIB < proposal.memory
    assert "a leak" in why(proposal, "max_tasks_per_child")


@pytest.mark.parametrize(
    "after",
    [
        [50, 50, 50, 50, 50],
        [50, 90, 90, 90, 90],  # a cache that is filled once
        [50, 40, 60, 50, 60],
        [100, 200, 100, 200, 100, 200],  # large and small samples in turns
    ],
)
def test_what_is_no_leak(after: list[int]) -> None:
    calls = [call(1, after=size) for size in after]
    assert growth(calls).known
    assert not growth(calls).leaks
    assert ask(calls).max_tasks_per_child is None


def test_of_few_calls_in_a_process_nothing_is_said() -> None:
    few = [call(1, after=10 * number) for number in range(3)]
    others = [call(1, after=10 * number, worker=f"n1 {number}") for number in range(9)]
    for calls in (few, others):
        assert not growth(calls).known
        assert "too few calls" in why(ask(calls), "max_tasks_per_child")


def test_walltime_is_a_workers_share_of_the_calls() -> None:
    # 100 calls of 10 s on 10 workers: 10 for each, with the margin of one sample, and a minute for the start.
    assert ask([call(*[1.0] * 10)], total=100, max_workers=10).walltime == Duration.parse("4 min")
    assert ask([call(*[1.0] * 10)]).walltime == Duration.parse("1 h 5 min")


def test_a_job_need_not_last_for_all_calls_but_for_one_of_them() -> None:
    many = ask([call(*[1.0] * 600)], total=100_000, max_workers=10)
    assert many.walltime == Duration.parse("1 h 45 min")
    assert "shorter jobs start sooner" in why(many, "walltime")
    long = ask([replace(call(1.0), wall=36_000.0, cpu=36_000.0, looks=())], total=1)
    assert long.walltime >= Duration.parse("14 h")


def test_small_workers_share_a_job_that_is_no_larger_than_the_one_that_ran() -> None:
    assert ask([call(1, peak=100)], max_workers=20).workers_per_job == 4
    assert ask([call(1, peak=100)], max_workers=3).workers_per_job == 3
    assert ask([call(1, peak=100)], max_workers=20, total=2).workers_per_job == 2
    assert ask([call(1, peak=10_000)], max_workers=20).workers_per_job == 1
    assert ask([call(4, peak=100)], max_workers=20).workers_per_job == 1


def test_what_changes_is_said() -> None:
    now = Request(cores=2, memory=Memory(8 * 2**30), walltime=Duration.parse("5 h"))
    proposal = ask([call(1, peak=1000)], total=10, now=now)
    text = "\n".join(proposal.changes)
    assert "1.38 GiB instead of 8 GiB: 5.8 times as many fit" in text
    assert "2 min instead of 5 h" in text
    assert "1 core(s) instead of 2: 0.5 times the core-hours" in text


def test_a_request_that_was_too_small_is_named() -> None:
    proposal = ask([call(1, peak=1000)], now=Request(memory=Memory(512 * MIB)))
    assert "a call would have been killed" in proposal.changes[0]


def test_it_can_be_used_as_it_is() -> None:
    proposal = ask([call(1)], max_workers=4)
    assert proposal.keywords() == {
        "cores": 1,
        "threads_per_core": 1,
        "memory": 140 * MIB,
        "walltime": 3900.0,
        "workers_per_job": 4,
        "max_tasks_per_child": None,
    }
    assert str(proposal).startswith(
        'JobPoolExecutor(cores=1, memory="140 MiB", walltime="1 h 5 min", workers_per_job=4)'
    )
