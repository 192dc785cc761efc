"""The fake cluster's PBS answers as the real one did: what the module reads from both is the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from goldens import answers, completed, golden

from jobpool.batch.base import Doubtful, JobScript, NoAccounting, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.pbs.system import Pbs
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration
from jobpool.testing import FakeCluster
from jobpool.testing.fake.dialects import IMITATED
from jobpool.testing.fake.jobs import FAILED_STARTS

pbs = Pbs()
PBS = IMITATED["pbs"]


def said(file: str, situation: str) -> Completed:
    return golden(file, situation, system="pbs")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(dialect=PBS)


def submit(cluster: FakeCluster, name: str, count: int = 1, **asked: Any) -> tuple[JobId, ...]:
    job = JobScript(
        name=name,
        request=Request(**asked),
        directory=Path("/pool"),
        log_directory=Path("/pool/logs"),
        working_directory=Path("/pool"),
        argv=("true",),
        environment={},
    )
    answer = pbs.parse_submit(cluster.run(pbs.prepare(job, count=count, environment={}).command), count=count)
    assert isinstance(answer, Submitted), answer
    return answer.ids


def submitted(cluster: FakeCluster, *options: str) -> Completed:
    argv = ("qsub", "-f", "-N", "x", "-o", "/x", "-j", "oe", "-k", "doe", *options)
    return cluster.run(Command(argv, stdin="#!/bin/sh\ntrue\n"))


def jobs(done: Completed) -> dict[str, Mapping[str, Any]]:
    return dict(json.loads(done.stdout).get("Jobs", {}))


def poll(cluster: FakeCluster, name: str, *ids: JobId) -> Completed:
    if not ids:
        return cluster.run(Command(("qstat", "-f", "-F", "json", "-t")))
    return cluster.run(pbs.poll([Tracked(name, dict(enumerate(ids)), count=len(ids))])[0])


@pytest.mark.parametrize(
    ("options", "situation"),
    [
        (["-J", "0-0"], "refused: array of one, -J 0-0"),
        (["-J", "3-1"], "refused: array backwards"),
        (["-J", "0-10001"], "refused: too large an array"),
        (["-q", "nosuch"], "refused: unknown queue"),
        (["-q", "closed"], "refused: queue closed to the user"),
        (["-l", "walltime=9:00:00"], "refused: walltime above the queue's"),
        (["-l", "select=1:nosuch=1"], "refused: unknown resource in select"),
        (["-l", "select=1:mem=1.5gb"], "refused: fractional memory"),
        (["-l", "walltime=1-00:00:00"], "walltime in days 1-00:00:00"),
        (["-N", "a:b"], "name a:b"),
    ],
)
def test_it_refuses_in_the_same_words(cluster: FakeCluster, options: list[str], situation: str) -> None:
    real = said("qsub", situation)
    fake = submitted(cluster, *options)
    assert fake.returncode == real.returncode
    assert pbs.parse_submit(fake, count=1) == pbs.parse_submit(real, count=1)


def test_it_takes_what_the_real_one_takes_and_never_starts(cluster: FakeCluster) -> None:
    done = submitted(cluster, "-l", "select=1:ncpus=1:mem=100gb")
    assert done.ok
    real = jobs(said("qstat", "mixed: running, array partly running, held, dependency, suspended, waiting"))["72.node1"]
    (fake,) = jobs(poll(cluster, "x", JobId("1.node1"))).values()
    assert (fake["job_state"], fake["substate"]) == (real["job_state"], real["substate"])
    assert fake["comment"].partition("(")[0] == real["comment"].partition("(")[0]


@pytest.mark.parametrize(
    ("program", "file", "situation"),
    [
        (("qsub",), "qsub", "server stopped"),
        (("qstat", "-f", "-F", "json", "-t"), "qstat", "server stopped"),
        (("qdel", "1.node1"), "qdel", "server stopped"),
        (("qselect", "-N", "x"), "qselect", "server stopped"),
    ],
)
def test_without_a_server_it_says_the_same(
    cluster: FakeCluster, program: tuple[str, ...], file: str, situation: str
) -> None:
    cluster.controller = "down"
    fake, real = cluster.run(Command(program)), said(file, situation)
    assert (fake.returncode, fake.stderr) == (real.returncode, real.stderr)
    assert ("Jobs" in fake.stdout, bool(fake.stdout)) == ("Jobs" in real.stdout, bool(real.stdout))


def test_rows_have_what_is_read_of_the_real_ones(cluster: FakeCluster) -> None:
    (held,) = submit(cluster, "held", job_extra=("-h",))
    cluster.slots = 2
    array = submit(cluster, "array", 3)
    cluster.clock.advance(1)
    real = jobs(said("qstat", "mixed: running, array partly running, held, dependency, suspended, waiting"))
    everything = jobs(poll(cluster, "unknown"))
    keys = ("job_state", "substate", "Hold_Types", "exec_host", "Job_Name", "Job_Owner", "run_count")

    def shape(row: Mapping[str, Any]) -> dict[str, str]:
        return {key: type(row[key]).__name__ for key in keys if key in row} | {"state": row["job_state"]}

    assert shape(everything[array[0]]) == shape(real["67[0].node1"])
    assert shape(everything[array[2]]) == shape(real["67[2].node1"])
    assert shape(everything[held]) == shape(real["68.node1"])
    assert everything["2[].node1"]["job_state"] == real["67[].node1"]["job_state"] == "B"


def test_starts_that_fail_are_held_in_its_words(cluster: FakeCluster) -> None:
    cluster.hold("Resources")
    (job,) = submit(cluster, "fails")
    cluster.hold_job(job, FAILED_STARTS)
    real = jobs(said("qstat", "some exiting, one requeued"))["97.node1"]
    (fake,) = jobs(poll(cluster, "fails", job)).values()
    for key in ("job_state", "substate", "Exit_status", "comment"):
        assert fake[key] == real[key]


ENDS: Mapping[str, tuple[str, int | None]] = {
    "ok, environment": ("COMPLETED", None),
    "exit 3": ("FAILED", 3),
    "walltime 10 s": ("TIMEOUT", None),
    "over memory, $enforce mem": ("OUT_OF_MEMORY", None),
    "node lost, -r n": ("NODE_FAIL", None),
    "deleted running": ("CANCELLED", None),
}


@pytest.mark.parametrize("situation", ENDS)
def test_its_history_tells_ends_as_the_real_one(situation: str) -> None:
    cluster = FakeCluster(dialect=replace(PBS, accounting=True))
    (job,) = submit(cluster, "ends", walltime=Duration(10))
    cluster.clock.advance(1)
    word, code = ENDS[situation]
    cluster.end(job, word, exit_code=code)  # type: ignore[arg-type]
    cluster.clock.advance(60)
    fake = pbs.parse_account([cluster.run(pbs.account([Tracked("ends", {0: job})])[0])], [])
    real = pbs.parse_account([said("qstat_finished", situation)], [])
    assert isinstance(fake, dict)
    assert isinstance(real, dict)
    (one,), (other,) = fake.values(), real.values()
    assert isinstance(one, Ending)
    assert isinstance(other, Ending)
    assert (one.kind, one.exit_code, one.signal) == (other.kind, other.exit_code, other.signal)


def test_it_keeps_no_history_and_forgets_what_ended(cluster: FakeCluster) -> None:
    (job,) = submit(cluster, "gone")
    cluster.clock.advance(1)
    assert pbs.parse_cancel(cluster.run(pbs.cancel([], [job])[0])) is None
    cluster.clock.advance(60)
    fake, real = poll(cluster, "gone", job), said("qstat", "unknown id")
    assert fake.returncode == real.returncode
    assert pbs.parse_poll([fake], [Tracked("gone")]) == ()
    account = cluster.run(pbs.account([Tracked("gone", {0: job})])[0])
    assert isinstance(pbs.parse_account([account], []), NoAccounting)
    again = cluster.run(Command(("qdel", job)))
    real = completed(answers("qdel", system="pbs")["the same again (history off)"])
    assert (again.returncode, again.stderr.replace(job, "60.node1")) == (real.returncode, real.stderr)


def test_an_element_that_is_over_is_there_and_tells_nothing(cluster: FakeCluster) -> None:
    first, second = submit(cluster, "array", 2)
    cluster.clock.advance(1)
    cluster.end(first, "COMPLETED")
    cluster.clock.advance(1)
    row = jobs(poll(cluster, "array", first, second))[first]
    real = jobs(said("qstat", "an array with deleted elements"))["11041[4].node1"]
    assert {key: row[key] for key in ("job_state", "substate", "Exit_status", "comment")} == {
        key: real[key] for key in ("job_state", "substate", "Exit_status", "comment")
    }
    gone = cluster.run(Command(("qdel", first)))
    assert (gone.returncode, pbs.parse_cancel(gone)) == (55, None)


def test_several_ids_in_one_qdel_bring_it_down(cluster: FakeCluster) -> None:
    ids = submit(cluster, "a") + submit(cluster, "b")
    assert cluster.run(Command(("qdel", *ids))).ok
    assert isinstance(pbs.parse_poll([poll(cluster, "a", ids[0])], [Tracked("a")]), Unanswered)


def test_a_submit_whose_answer_is_lost_leaves_a_doubt_and_is_found_by_its_name(tmp_path: Path) -> None:
    with FakeCluster(tmp_path, dialect=PBS) as cluster:
        cluster.lose_answers(1, jobs_exist=True)
        job = JobScript(
            name="x",
            request=Request(),
            directory=tmp_path,
            log_directory=tmp_path,
            working_directory=tmp_path,
            argv=("sh", "-c", "sleep 60"),
            environment={},
        )
        made = pbs.prepare(job, count=2, environment={})
        assert isinstance(pbs.parse_submit(run(cluster, made.command), count=2), Doubtful)
        seen = pbs.parse_poll([run(cluster, command) for command in pbs.poll([Tracked("x")])], [Tracked("x")])
        assert not isinstance(seen, Unanswered)
        assert [(job.id, job.name) for job in seen] == [("1[0].node1", "x"), ("1[1].node1", "x")]
        assert [pbs.parse_cancel(run(cluster, command)) for command in pbs.cancel([], [job.id for job in seen])] == [
            None
        ]


def run(cluster: FakeCluster, command: Command) -> Completed:
    """Run a command with the programs that lead to a cluster."""
    path = {**os.environ, **cluster.environment}
    done = subprocess.run(command.argv, input=command.stdin, env=path, capture_output=True, text=True, check=False)
    return Completed(command, done.returncode, done.stdout, done.stderr)


def test_a_site_says_no_in_its_own_words(cluster: FakeCluster) -> None:
    cluster.refuse_submits(1, "no account given: use -A (site policy)")
    real = said("qsub", "refused: by the site's hook")
    assert pbs.parse_submit(submitted(cluster), count=1) == Refused(real.stderr.strip())


def test_its_limits_are_read(cluster: FakeCluster) -> None:
    found: Limits = pbs.parse_limits([cluster.run(command) for command in pbs.limits("alice")])
    assert found.unknown == ()
    assert found.max_array_size == 1000
    told = {partition.name: partition for partition in found.partitions}
    assert set(told) == {"short", "long", "closed", "gpu"}
    assert told["short"].default
    assert told["short"].max_time == Duration(3600)
    assert [(shape.count, shape.cores, shape.gpus) for shape in told["gpu"].nodes] == [(1, 32, 4)]
    assert told["closed"].allow_groups == ("daemon",)
