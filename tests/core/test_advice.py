"""What a run teaches about the next request, in sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobpool.core.record.advice import advise
from jobpool.model.run_record import (
    MemoryFigures,
    RunFigures,
    RunFunction,
    RunJob,
    RunRequest,
    RunSeries,
    RunTimeline,
    TimeFigures,
)

GIB = 2**30

FITS = RunRequest(
    cores=1, memory=4 * GIB, gpus=0, walltime=3600.0, workers_per_job=2, partition=None, jobs=2, waiting=5.0,
    starting=9.0, serving=3000.0, held=3000.0, longest=3000.0, worker_seconds=6000.0, core_seconds=6000.0,
)  # fmt: skip


def record(
    *,
    calls: int = 100,
    most: float = 3.1,
    cpu: float = 5900.0,
    wall: float = 5900.0,
    ending: str = "cancelled",
    request: str = "",
    **asked: Any,
) -> RunFigures:
    function = RunFunction(
        name="f", request=request, open=0, done=calls, failed=0, cpu=cpu, cpus=1.0, threads=1,
        wall=TimeFigures(total=wall, mean=wall / calls, median=59.0, most=60.0, largest=60.0),
        memory=MemoryFigures(median=GIB, most=int(most * GIB), largest=int(most * GIB)),
    )  # fmt: skip
    job = RunJob(
        key=("a", 0), request=request, stations=(), id="1", node="n1", ending=ending, words="", ours=True, calls=calls,
        busy=wall, cpu=cpu,
    )  # fmt: skip
    return RunFigures(
        seconds=3600.0, requests={request: replace(FITS, **asked)}, functions=(function,), jobs=(job,), left_out=0,
        timeline=RunTimeline(grain=1.0, bars=(), cells=(), names=()), series=RunSeries(width=1.0, steps=()), slowest=(),
        failed=(), again={}, given_up={}, done=calls, failed_calls=0, unresolved=0, notices=(),
    )  # fmt: skip


def test_what_fits_needs_no_words() -> None:
    assert advise(record()) == []


def test_too_much_memory_is_told_with_what_to_ask_for_and_what_it_gives() -> None:
    (sentence,) = advise(record(memory=8 * GIB))
    assert "asked 8 GiB" in sentence
    assert "used 3.1 GiB" in sentence
    assert "ask 3.75 GiB; twice as many workers would fit" in sentence


def test_memory_that_nearly_was_too_little_is_told() -> None:
    assert "ask 5 GiB to be safe" in advise(record(most=3.95))[0]


def test_of_few_calls_nothing_is_concluded() -> None:
    assert advise(record(calls=3, memory=64 * GIB, cores=8)) == []


def test_idle_cores_a_long_walltime_idle_workers_and_waiting_are_told() -> None:
    assert "ask 2" in advise(record(cores=4, cpu=1.6 * 5900))[0]
    assert "ask 10 min" in advise(record(walltime=36000.0, longest=100.0))[0]
    assert "busy for 10 %" in advise(record(wall=600.0, cpu=600.0))[0]
    assert "waited 10 h in the queue" in advise(record(waiting=36000.0))[0]
    assert "1 job reached it; ask for a longer walltime" in advise(record(ending="timed out"))[0]


def test_advice_for_another_request_names_it() -> None:
    told = record(memory=8 * GIB, request="request 1")
    assert advise(told)[0].startswith("memory: asked 8 GiB")
    assert advise(told)[0].endswith("(jobs of cores=1, memory=8 GiB, walltime=1 h)")
