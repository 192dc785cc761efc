"""The fake cluster with the habits of other systems: each does what it promises, and jobpool reads it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch import exit_file
from jobpool.batch.base import Doubtful, JobScript, Refused, SubmitAnswer, Submitted, Tracked, Unanswered
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.testing import FakeCluster, wait_until
from jobpool.testing.fake.dialects import DIALECTS, Dialect
from jobpool.testing.fake.jobs import FAILED_STARTS
from jobpool.testing.fake.system import Fake

SLEEP = ("sh", "-c", "exec sleep 60", "sh")


class Asking:
    """A fake cluster, and jobpool's words for it."""

    def __init__(self, cluster: FakeCluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        self.system = Fake(directory, dialect=cluster.dialect)
        exit_file.directory_of(directory).mkdir(exist_ok=True)

    def run(self, command: Command) -> Completed:
        if self.cluster.directory is None:
            return self.cluster.run(command)
        given = {**os.environ, **dict(command.environment or ()), **self.cluster.environment}
        try:
            done = subprocess.run(
                command.argv,
                input=command.stdin or "",
                env=given,
                capture_output=True,
                text=True,
                timeout=command.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Completed(command, None)
        return Completed(command, done.returncode, done.stdout, done.stderr)

    def submit(
        self, name: str, count: int = 1, *, argv: tuple[str, ...] = SLEEP, logs: Path | None = None, **asked: object
    ) -> SubmitAnswer:
        job = JobScript(
            name=name,
            request=Request(**{"memory": Memory(2**29), **asked}),  # type: ignore[arg-type]
            directory=self.directory,
            log_directory=logs or self.directory,
            working_directory=self.directory,
            argv=argv,
            environment={},
        )
        made = self.system.prepare(job, count=count, environment=dict(os.environ))
        for file, text in made.files.items():
            (self.directory / file).write_text(text)
        return self.system.parse_submit(self.run(made.command), count=count)

    def ids(self, name: str, count: int = 1, **asked: Any) -> tuple[JobId, ...]:
        """Submit, and return the ids: as the answer tells them, or as the listing does when that is lost."""
        answer = self.submit(name, count, **asked)
        if isinstance(answer, Submitted):
            return answer.ids
        assert isinstance(answer, Doubtful), answer
        return tuple(id for id, _ in sorted(self.poll(name).items(), key=lambda pair: pair[1].index))

    def poll(self, *names: str) -> dict[JobId, Seen]:
        submissions = [Tracked(name) for name in names]
        for _ in range(2):  # of a dialect whose commands hang now and then, the next one answers
            done = [self.run(command) for command in self.system.poll(submissions)]
            answer = self.system.parse_poll(done, submissions)
            if not isinstance(answer, Unanswered):
                return {seen.id: seen for seen in answer}
        raise AssertionError(answer)

    def account(self, name: str, *ids: JobId) -> object:
        submissions = [Tracked(name, dict(enumerate(ids)))]
        for _ in range(2):
            done = [self.run(command) for command in self.system.account(submissions)]
            answer = self.system.parse_account(done, submissions)
            if not isinstance(answer, Unanswered):
                return answer
        raise AssertionError(answer)

    def cancel(self, name: str, *ids: JobId) -> list[Doubtful | None]:
        submissions = [Tracked(name, dict(enumerate(ids)))]
        return [self.system.parse_cancel(self.run(command)) for command in self.system.cancel(submissions, ())]


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.fixture(params=["memory", "programs"])
def asking(request: pytest.FixtureRequest, dialect: Dialect, tmp_path: Path) -> Iterator[Asking]:
    """The cluster in memory and as programs."""
    if request.param == "memory":
        yield Asking(FakeCluster(dialect=dialect), tmp_path)
    else:
        with FakeCluster(tmp_path / "cluster", dialect=dialect) as cluster:
            yield Asking(cluster, tmp_path)


@pytest.fixture
def lasting(dialect: Dialect, tmp_path: Path) -> Iterator[Asking]:
    """The cluster whose jobs are processes."""
    with FakeCluster(tmp_path / "cluster", dialect=dialect) as cluster:
        yield Asking(cluster, tmp_path)


def of(name: str) -> pytest.MarkDecorator:
    """Run a test on this dialect alone."""
    return pytest.mark.parametrize("dialect", [DIALECTS[name]], ids=[name])


# What all have in common


def test_an_array_is_submitted_seen_and_cancelled(asking: Asking) -> None:
    ids = asking.ids("array-1", 3, walltime=Duration(1800))
    assert len(set(ids)) == 3
    seen = asking.poll("array-1")
    assert {id: job.index for id, job in seen.items()} == {id: index for index, id in enumerate(ids)}
    assert {job.state for job in seen.values()} == {JobState.RUNNING}
    assert all(job.node and job.name == "array-1" for job in seen.values())
    answers = asking.cancel("array-1", *ids)
    assert [answer for answer in answers if answer is not None and asking.system.dialect.hangs is None] == []
    assert wait_until(lambda: set(asking.cluster.jobs.values()) == {"CANCELLED"}, 10)


def test_a_single_job_has_index_0(asking: Asking) -> None:
    (id,) = asking.ids("single-1")
    (job,) = asking.poll("single-1").values()
    assert (job.id, job.index) == (id, 0)


def test_a_request_is_refused(asking: Asking) -> None:
    for asked in ({"partition": "nosuch"}, {"memory": Memory(2**45)}, {"walltime": Duration(10**6)}):
        answer = asking.submit("refused-1", **asked)
        if not isinstance(answer, Doubtful):
            assert isinstance(answer, Refused)
    assert asking.cluster.jobs == {}


def test_unknown_ids_are_no_failure(asking: Asking) -> None:
    assert asking.poll("nosuch") == {}
    assert asking.cancel("nosuch", JobId("987654"))[0] is None


def test_the_limits_are_told(asking: Asking) -> None:
    limits = asking.system.parse_limits([asking.run(command) for command in asking.system.limits("me")])
    assert limits.unknown == ()
    assert {partition.name for partition in limits.partitions} == {"short", "long", "closed", "gpu"}
    assert limits.partitions[0].max_time == Duration(3600)


def test_a_script_runs_and_knows_which_it_is(lasting: Asking) -> None:
    ids = lasting.ids("vars-1", 2, argv=("sh", "-c", 'echo "$*"', "sh"))
    logs = [lasting.directory / f"vars-1-{id}.log" for id in ids]
    assert wait_until(lambda: all(log.exists() and log.read_text() for log in logs), 10)
    for index, (id, log) in enumerate(zip(ids, logs, strict=True)):
        assert log.read_text().startswith(f"--index {index} --job-id {id} --node fake-n")


def test_a_suspended_job_stands_still_and_goes_on(lasting: Asking) -> None:
    (id,) = lasting.ids("pause-1")
    assert wait_until(lambda: lasting.cluster.processes_of(id), 10)
    lasting.cluster.suspend(id)
    assert lasting.poll("pause-1")[id].state is JobState.SUSPENDED
    assert {process.status() for process in lasting.cluster.processes_of(id)} == {"stopped"}
    lasting.cluster.resume(id)
    assert lasting.poll("pause-1")[id].state is JobState.RUNNING
    assert wait_until(lambda: "stopped" not in {each.status() for each in lasting.cluster.processes_of(id)}, 10)
    lasting.cluster.suspend(id)
    lasting.cluster.end(id, "CANCELLED")
    assert wait_until(lambda: not lasting.cluster.processes_of(id), 10)


def test_the_walltime_of_a_suspended_job_is_longer(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect), tmp_path)
    (id,) = asking.ids("pause-1", walltime=Duration(600))
    asking.cluster.clock.advance(500)
    asking.cluster.suspend(id)
    asking.cluster.clock.advance(500)
    asking.cluster.resume(id)
    asking.cluster.clock.advance(90)
    assert asking.cluster.jobs == {id: "RUNNING"}
    asking.cluster.clock.advance(20)
    assert asking.cluster.jobs == {id: "TIMEOUT"}


def test_a_held_job_waits_until_it_is_released(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect, start_delay=10), tmp_path)
    (id,) = asking.ids("held-1")
    asking.cluster.hold_job(id, "held by an administrator")
    asking.cluster.clock.advance(20)
    seen = asking.poll("held-1")[id]
    assert (seen.state, seen.reason) == (JobState.PENDING, "held by an administrator")
    assert seen.hold is not None
    assert not seen.hold.hopeless
    asking.cluster.release_job(id)
    assert asking.poll("held-1")[id].state is JobState.RUNNING


# The habits of one


@pytest.mark.parametrize(
    ("dialect", "single", "array"),
    [
        ("brackets", ["1.node1"], ["2[1].node1", "2[2].node1"]),
        ("abrupt", ["1.1"], ["2.1", "2.2"]),
        ("numbered", ["1"], ["2", "3"]),
        ("hanging", ["1.0"], ["2.0", "2.1"]),
    ],
)
def test_ids_have_their_form(dialect: str, single: list[str], array: list[str], tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=DIALECTS[dialect]), tmp_path)
    assert [*asking.ids("single-1")] == single
    assert [*asking.ids("array-1", 2)] == array


@of("brackets")
def test_an_array_of_one_is_refused_here(dialect: Dialect) -> None:
    done = FakeCluster(dialect=dialect).run(Command(("fake-submit", "--name=a", "--array=1-1"), stdin="#!/bin/sh\n"))
    assert done.returncode == 1
    assert "array of one" in done.words


@of("brackets")
def test_two_ids_in_one_cancel_bring_it_down(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect), tmp_path)
    ids = asking.ids("array-1", 2)
    assert asking.run(Command(("fake-cancel", *ids))).ok
    assert asking.cluster.controller == "down"
    assert isinstance(asking.submit("array-2"), Doubtful)


def test_the_listing_shows_ended_jobs_or_forgets_them(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect), tmp_path)
    (id,) = asking.ids("end-1")
    asking.cluster.end(id, "TIMEOUT")
    seen = asking.poll("end-1")
    assert list(seen) == ([id] if dialect.shows_ended else [])


def test_the_accounting_tells_how_jobs_ended_or_is_none(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect), tmp_path)
    (id,) = asking.ids("end-1")
    asking.cluster.end(id, "TIMEOUT")
    if dialect.accounting:
        told = asking.account("end-1", id)
        assert isinstance(told, dict)
        assert isinstance(told[id], Ending)
        assert told[id].kind is EndingKind.TIMED_OUT
    else:
        assert asking.system.account([Tracked("end-1", {0: id})]) == ()
        assert asking.system.capabilities.exit_files


def test_jobs_of_the_users_own_are_left_out(dialect: Dialect, tmp_path: Path) -> None:
    asking = Asking(FakeCluster(dialect=dialect), tmp_path)
    (mine,) = asking.ids("mine-1")
    asking.ids("other-1")
    (command,) = asking.system.poll([Tracked("mine-1")])
    assert len(asking.run(command).stdout.splitlines()) == (3 if dialect.lists_all else 1)
    assert list(asking.poll("mine-1")) == [mine]


def test_a_job_that_cannot_be_started_is_held_or_ends(lasting: Asking) -> None:
    (id,) = lasting.ids("lost-1", logs=lasting.directory / "missing")
    if lasting.system.dialect.holds_failed_starts:
        hold = lasting.poll("lost-1")[id].hold
        assert hold is not None
        assert hold.hopeless
        assert lasting.poll("lost-1")[id].reason == FAILED_STARTS
        lasting.cancel("lost-1", id)
    assert lasting.cluster.jobs[id] in ("CANCELLED", "FAILED")


def test_a_job_has_the_notice_that_is_told_or_none(lasting: Asking) -> None:
    traps = "trap 'echo TERM; exit' TERM; trap 'echo USR2; exit' USR2; echo ready; while :; do sleep 0.05; done"
    (id,) = lasting.ids("last-1", argv=("sh", "-c", traps, "sh"))
    log = lasting.directory / f"last-1-{id}.log"
    assert wait_until(lambda: log.exists() and "ready" in log.read_text(), 10)
    lasting.cancel("last-1", id)
    assert wait_until(lambda: not lasting.cluster.queue, 10)
    notice = lasting.system.notices(Limits()).delete
    told = [line for line in log.read_text().splitlines() if line in ("ready", "TERM", "USR2")]
    assert told == ["ready", *([] if notice is None else [notice.signal])]


def test_a_command_that_hangs_has_done_its_work(dialect: Dialect, tmp_path: Path) -> None:
    with FakeCluster(tmp_path / "cluster", dialect=replace(dialect, hangs=None, patience=0.5)) as cluster:
        asking = Asking(cluster, tmp_path)
        cluster.hang("fake-submit")
        assert isinstance(asking.submit("slow-1"), Doubtful)
        (id,) = asking.poll("slow-1")
        cluster.hang("fake-cancel")
        assert isinstance(asking.cancel("slow-1", id)[0], Doubtful)
        assert wait_until(lambda: cluster.jobs == {id: "CANCELLED"}, 10)
        cluster.hang("fake-list")
        done = [asking.run(command) for command in asking.system.poll([Tracked("slow-1")])]
        assert isinstance(asking.system.parse_poll(done, [Tracked("slow-1")]), Unanswered)
        assert asking.run(done[0].command).ok


def test_in_one_dialect_commands_hang_by_themselves(tmp_path: Path) -> None:
    cluster = FakeCluster(dialect=DIALECTS["hanging"])
    asking = Asking(cluster, tmp_path)
    answers = [asking.submit(f"some-{number}") for number in range(6)]
    assert [type(answer) for answer in answers] == [Submitted, Submitted, Doubtful] * 2
    assert len(cluster.jobs) == 6
