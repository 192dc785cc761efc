"""The fake LSF answers in the words of the recorded answers, and refuses what LSF refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch.base import JobScript, Refused, Submitted, Tracked
from jobpool.batch.lsf.system import Lsf
from jobpool.model.command import Command, Completed
from jobpool.model.job import EndingKind, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory
from jobpool.testing import FakeCluster
from jobpool.testing.fake.dialects import IMITATED

lsf = Lsf()
GOLDEN = Path(__file__).parents[1] / "batch" / "golden" / "lsf"


def recorded(file: str, situation: str) -> str:
    answer = json.loads((GOLDEN / f"{file}.json").read_text())["answers"][situation]
    return str(answer["stdout"] + answer["stderr"])


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(dialect=IMITATED["lsf"])


def submit(cluster: FakeCluster, count: int = 1, **request: Any) -> Any:
    job = JobScript(
        name="pool-1",
        request=Request(**request),
        directory=Path("/pools/one"),
        log_directory=Path("/logs"),
        working_directory=Path("/"),
        argv=("agent",),
        environment={},
    )
    return lsf.parse_submit(cluster.run(lsf.prepare(job, count=count, environment={}).command), count=count)


@pytest.mark.parametrize(
    ("asked", "situation", "name"),
    [
        ({"partition": "nosuch"}, "refused: unknown queue", "nosuch"),
        ({"partition": "closed"}, "refused: user may not use the queue", "closed"),
        ({"walltime": Duration(7200)}, "refused: walltime above the queue's", ""),
        ({"cores": 1000}, "refused: too many processors", ""),
        ({"count": 1001}, "refused: array index too large (table)", ""),
    ],
)
def test_it_refuses_in_the_recorded_words(cluster: FakeCluster, asked: Any, situation: str, name: str) -> None:
    words = recorded("bsub", situation).strip()
    expected = f"{name}:{words.partition(':')[2]}" if name else words
    assert submit(cluster, **asked) == Refused(expected)


def test_it_takes_an_array_and_shows_each_element(cluster: FakeCluster) -> None:
    assert submit(cluster, count=3) == Submitted((JobId("1[1]"), JobId("1[2]"), JobId("1[3]")))
    tracked = Tracked("pool-1", {0: JobId("1[1]"), 1: JobId("1[2]"), 2: JobId("1[3]")}, 3)
    answer = lsf.parse_poll([cluster.run(command) for command in lsf.poll([tracked])], [tracked])
    assert isinstance(answer, tuple)
    assert [(seen.id, seen.index, seen.state) for seen in answer] == [
        (id, index, JobState.RUNNING) for index, id in tracked.ids.items()
    ]
    assert lsf.parse_poll([cluster.run(command) for command in lsf.find("pool-1")], [tracked]) == answer


def test_a_request_that_no_host_can_hold_waits_for_ever_and_is_not_held(cluster: FakeCluster) -> None:
    assert isinstance(submit(cluster, memory=Memory(2**40)), Submitted)
    tracked = Tracked("pool-1", {0: JobId("1")}, 1)
    (seen,) = lsf.parse_poll([cluster.run(command) for command in lsf.poll([tracked])], [tracked])  # type: ignore[misc]
    assert (seen.state, seen.hold) == (JobState.PENDING, None)
    assert seen.reason.startswith("Job's resource requirements not satisfied")


def test_a_kill_without_the_0_ends_the_last_job_alone(cluster: FakeCluster) -> None:
    submit(cluster, count=3)
    assert cluster.run(Command(("bkill", "-J", "pool-1"))).stdout == "Job <1[3]> is being terminated\n"
    assert cluster.jobs == {"1[1]": "RUNNING", "1[2]": "RUNNING", "1[3]": "CANCELLED"}
    for command in lsf.cancel([Tracked("pool-1")], []):
        assert lsf.parse_cancel(cluster.run(command)) is None
    cluster.clock.advance(60)
    assert cluster.queue == []
    gone = cluster.run(Command(("bkill", "1[1]")))
    assert (gone.stderr, gone.returncode) == ("Job <1[1]>: Job has already finished\n", 255)
    assert lsf.parse_cancel(gone) is None


def test_the_history_tells_what_the_queue_told(cluster: FakeCluster) -> None:
    submit(cluster, count=2, walltime=Duration(60))
    cluster.end("1[1]", "OUT_OF_MEMORY")
    cluster.clock.advance(120)
    tracked = Tracked("pool-1", {0: JobId("1[1]"), 1: JobId("1[2]")}, 2)
    done = [cluster.run(command) for command in lsf.account([tracked])]
    told = lsf.parse_account(done, [tracked])
    assert isinstance(told, dict)
    assert [ending.kind for ending in told.values()] == [EndingKind.OUT_OF_MEMORY, EndingKind.TIMED_OUT]
    polled = lsf.parse_poll([cluster.run(command) for command in lsf.poll([tracked])], [tracked])
    assert isinstance(polled, tuple)
    assert [seen.ending.kind for seen in polled if seen.ending] == [EndingKind.OUT_OF_MEMORY, EndingKind.TIMED_OUT]


def test_with_its_daemons_down_nothing_is_known_and_nothing_was_done(cluster: FakeCluster) -> None:
    cluster.controller = "down"
    answer = submit(cluster)
    assert answer == Refused(recorded("bsub", "refused: LIM is down").strip(), temporary=True)


def test_an_option_that_is_not_known_is_refused(cluster: FakeCluster) -> None:
    done: Completed = cluster.run(Command(("bsub", "-nosuch"), stdin="#!/bin/bash\n"))
    assert done.returncode == 255
