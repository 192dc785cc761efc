"""What a run teaches about the next request, in sentences."""

from __future__ import annotations

from typing import Any

from jobpool.core.record.advice import advise

GIB = 2**30

FITS: dict[str, Any] = {
    "cores": 1, "memory": 4 * GIB, "walltime": 3600.0, "jobs": 2, "longest": 3000.0, "waiting": 5.0, "serving": 3000.0,
    "worker_seconds": 6000.0,
}  # fmt: skip


def record(*, calls: int = 100, most: float = 3.1, cpu: float = 5900.0, wall: float = 5900.0, **request: Any) -> Any:
    function = {
        "name": "f", "request": "", "done": calls, "failed": 0, "cpu": cpu, "wall": {"total": wall},
        "memory": {"most": most * GIB, "largest": most * GIB},
    }  # fmt: skip
    jobs = [{"request": "", "ending": request.pop("ending", "cancelled")}]
    return {"requests": {"": {**FITS, **request}}, "functions": [function], "jobs": jobs}


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
    told = record(memory=8 * GIB)
    told["requests"]["request 1"] = told["requests"].pop("")
    told["functions"][0]["request"] = "request 1"
    assert advise(told)[0].startswith("memory: asked 8 GiB")
    assert advise(told)[0].endswith("(jobs of cores=1, memory=8 GiB, walltime=1 h)")
