"""What ``jobpool status`` says, from the data that a server gives."""

from __future__ import annotations

import io
from typing import Any

import pytest

from jobpool import JobPoolError
from jobpool.show.status import ENDED_SHOWN, asked_status, show_status
from jobpool.transport.messages.base import Question
from jobpool.transport.messages.client import AskStatus, Facts, Starts


def job(state: str, id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "state": state, "node": "n1", "workers": 0, "busy": 0, "age": 60.0, "reason": "", **more}


def answer(**more: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "name": "mine",
        "system": "slurm",
        "phase": "open",
        "calls": {"waiting": 3, "running": 2, "done": 40, "failed": 1},
        "rate": None,
        "left": None,
        "functions": [],
        "requests": [],
        "jobs": [],
        "notices": [],
    }
    return {**nothing, **more}


def text(**more: Any) -> str:
    out = io.StringIO()
    show_status(answer(**more), file=out)
    return out.getvalue()


REQUEST = {
    "key": "",
    "workers": 4,
    "busy": 3,
    "cores": 2,
    "memory": 8 * 2**30,
    "cpus": 1.5,
    "used_memory": 3 * 2**30,
    "largest_memory": 4 * 2**30,
    "core_hours": 12.5,
    "pause": 0.0,
    "pause_reason": "",
}


def test_a_pool_without_jobs_is_told_in_one_line() -> None:
    assert text() == "mine on slurm (open); calls: 3 waiting, 2 running, 40 done, 1 failed\n"


def test_a_pause_is_told_with_how_long_and_why() -> None:
    paused = {**REQUEST, "pause": 59.6, "pause_reason": "the batch system takes no more now"}
    assert "no jobs are asked for in the next 1 min: the batch system takes no more now\n" in text(requests=[paused])
    assert "no jobs are asked for" not in text(requests=[REQUEST])


@pytest.mark.parametrize(
    ("rate", "left", "said"),
    [
        (2.0, 90.0, "2 calls/s lately; about 1 min 30 s left with the workers that are there"),
        (0.1, None, "6 calls/min lately"),
        (0.01, None, "36 calls/h lately"),
        (None, 7200.0, "about 2 h left"),
    ],
)
def test_rate_and_time_left_are_in_units_for_people(rate: float | None, left: float | None, said: str) -> None:
    assert said in text(rate=rate, left=left)


def test_used_stands_beside_asked() -> None:
    said = text(requests=[REQUEST])
    assert (
        "3 of 4 workers busy; CPUs used by a call: 1.5 of 2; memory: 3 GiB of 8 GiB, at most 4 GiB; 12.5 core" in said
    )
    assert "core-hours" not in text(requests=[{**REQUEST, "workers": 0, "core_hours": 0}])


def test_a_pending_job_has_its_reason_in_words_and_its_start_when_asked() -> None:
    waits = job("pending", "7", reason="Resources")
    assert "It is next in line" in text(jobs=[waits])
    assert "may start" not in text(jobs=[waits])
    assert "not planned yet" in text(jobs=[{**waits, "starts": None}, job("serving", "8", starts=None)])
    assert "2100-" in text(jobs=[{**waits, "starts": 4_110_000_000.0}])


def test_of_many_ended_jobs_the_last_are_listed() -> None:
    jobs = [job("ended", f"job{age}", age=float(age)) for age in range(100, 0, -10)]
    said = text(jobs=[*jobs, job("serving", "lives")])
    assert [line.split()[0] for line in said.splitlines() if " ended " in line][: ENDED_SHOWN + 1] == [
        "job50", "job40", "job30", "job20", "job10", "5",
    ]  # fmt: skip
    assert "5 more jobs ended before" in said


def test_the_start_is_asked_for_only_where_it_is_wanted() -> None:
    asked = []

    def ask(question: Question[Any]) -> Facts | Starts:
        asked.append(question)
        jobs = [job("pending", "1"), job("pending", "2"), job("serving", "3")]
        return Facts(answer(jobs=jobs)) if isinstance(question, AskStatus) else Starts({"1": 5.0})

    assert "starts" not in asked_status(ask, start=False)["jobs"][0]
    assert asked == [AskStatus()]
    assert [job["starts"] for job in asked_status(ask, start=True)["jobs"]] == [5.0, None, None]


def test_a_batch_system_that_does_not_say_when_is_an_error_with_its_words() -> None:
    def ask(question: Question[Any]) -> Facts:
        if isinstance(question, AskStatus):
            return Facts(answer())
        raise JobPoolError("the batch system does not say when the jobs may start: Unable to contact slurm controller")

    with pytest.raises(JobPoolError, match="Unable to contact"):
        asked_status(ask, start=True)
