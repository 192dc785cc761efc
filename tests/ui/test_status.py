"""What ``jobpool status`` says, from the data that a server gives."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool import JobPoolError
from jobpool.model.status import CallCounts, JobStatus, JobWord, Notice, PoolStatus, RequestStatus
from jobpool.show.status import ENDED_SHOWN, asked_status, show_status
from jobpool.transport.messages.base import Question
from jobpool.transport.messages.client import AskStatus, Facts, Starts


def job(state: JobWord, id: str, *, reason: str = "", age: float = 60.0, starts: float | None = None) -> JobStatus:
    key = ("jp-mine-1", int(id) if id.isdigit() else 0)
    return JobStatus(
        key=key, request="", id=id, state=state, reason=reason, node="n1", age=age, workers=0, busy=0, starts=starts
    )


NOTHING = PoolStatus(
    time=5.0,
    name="mine",
    system="slurm",
    host="login1",
    pid=7,
    logs=Path("/logs"),
    phase="open",
    calls=CallCounts(waiting=3, running=2, done=40, failed=1),
    rate=None,
    left=None,
    held=None,
    functions=(),
    requests=(),
    jobs=(),
    notices=(),
)


def text(*, starts: bool = False, **more: Any) -> str:
    out = io.StringIO()
    show_status(replace(NOTHING, **more), starts=starts, file=out)
    return out.getvalue()


REQUEST = RequestStatus(
    key="",
    workers=4,
    busy=3,
    cores=2,
    memory=8 * 2**30,
    cpus=1.5,
    used_memory=3 * 2**30,
    largest_memory=4 * 2**30,
    core_hours=12.5,
    pause=0.0,
    pause_reason="",
)


def test_a_pool_without_jobs_is_told_in_one_line() -> None:
    assert text() == "mine on slurm (open); calls: 3 waiting, 2 running, 40 done, 1 failed\n"


def test_a_pause_is_told_with_how_long_and_why() -> None:
    paused = replace(REQUEST, pause=59.6, pause_reason="the batch system takes no more now")
    assert "no jobs are requested in the next 1 min: the batch system takes no more now\n" in text(requests=[paused])
    assert "no jobs are requested" not in text(requests=[REQUEST])


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
    assert "core-hours" not in text(requests=[replace(REQUEST, workers=0, core_hours=0.0)])


def test_a_pending_job_has_its_reason_in_words_and_its_start_when_asked() -> None:
    waits = job("pending", "7", reason="Resources")
    assert "It is next in line" in text(jobs=[waits])
    assert "may start" not in text(jobs=[waits])
    assert "not planned yet" in text(jobs=[waits, job("serving", "8")], starts=True)
    assert "2100-" in text(jobs=[replace(waits, starts=4_110_000_000.0)], starts=True)


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
        jobs = (job("pending", "1"), job("pending", "2"), job("serving", "3"))
        status = Facts(facts=replace(NOTHING, jobs=jobs).as_data())
        return status if isinstance(question, AskStatus) else Starts(starts={"1": 5.0, "3": 9.0})

    assert asked_status(ask, start=False).jobs[0].starts is None
    assert asked == [AskStatus()]
    assert [job.starts for job in asked_status(ask, start=True).jobs] == [5.0, None, None]


def test_a_batch_system_that_does_not_say_when_is_an_error_with_its_words() -> None:
    def ask(question: Question[Any]) -> Facts:
        if isinstance(question, AskStatus):
            return Facts(facts=NOTHING.as_data())
        raise JobPoolError("the batch system does not say when the jobs may start: Unable to contact slurm controller")

    with pytest.raises(JobPoolError, match="Unable to contact"):
        asked_status(ask, start=True)


def test_the_status_of_a_server_of_another_version_is_an_error_that_says_what_to_do() -> None:
    earlier = {name: value for name, value in NOTHING.as_data().items() if name != "held"}
    with pytest.raises(JobPoolError, match="another version of jobpool") as caught:
        asked_status(lambda question: Facts(facts=earlier), start=False)
    assert "in the environment of the pool's script" in str(caught.value)


def test_the_data_is_plain_and_makes_the_same_status_again() -> None:
    whole = replace(
        NOTHING,
        jobs=(job("pending", "1"), replace(job("serving", "2"), log=Path("/logs/2.log"))),
        requests=(REQUEST,),
        notices=(Notice("mind the step", True),),
    )
    data = whole.as_data()
    assert json.loads(json.dumps(data)) == data
    assert list(data)[:5] == ["name", "system", "host", "pid", "logs"]
    assert data["jobs"][1]["key"] == ["jp-mine-1", 2]
    assert data["jobs"][1]["log"] == "/logs/2.log"
    assert data["notices"] == [["mind the step", True]]
    assert "as_of" not in data
    assert PoolStatus.from_data(data) == whole
    assert PoolStatus.from_data({**data, "as_of": 5.0, "of a newer version": {}}).as_of == 5.0


@pytest.mark.parametrize("damage", [{"jobs": 3}, {"phase": "asleep"}, {"notices": [["no flag"]]}, {"logs": 7}])
def test_data_that_is_no_status_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are msgspec's
        PoolStatus.from_data({**NOTHING.as_data(), **damage})
