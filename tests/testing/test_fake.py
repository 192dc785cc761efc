"""The fake SLURM: it says what the real one says, and its faults do what they promise."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch.base import Doubtful, JobScript, NoAccounting, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory
from jobpool.testing import FakeCluster, SlurmLab, wait_until
from jobpool.testing.labs.machine import user_name

SLURM = Slurm()
Run = Callable[[Command], Completed]

SLEEP = ("sh", "-c", "exec sleep 60", "sh")


def outside(environment: dict[str, str]) -> Run:
    """Return what runs a command as a process, with these variables."""

    def run(command: Command) -> Completed:
        done = subprocess.run(
            command.argv,
            input=command.stdin or "",
            env={**os.environ, **dict(command.environment or ()), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Completed(command, done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(params=["memory", "programs", "real"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """The same commands to the fake, in memory and as programs, and to a real SLURM."""
    match request.param:
        case "memory":
            yield FakeCluster().run
        case "programs":
            with FakeCluster(tmp_path / "cluster") as cluster:
                yield outside(cluster.environment)
        case _:
            lab: SlurmLab = request.getfixturevalue("slurm_lab")
            yield outside(lab.environment)
            lab.cancel_jobs()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as cluster:
        yield cluster


def submit(
    run: Run, directory: Path, name: str, count: int = 1, argv: tuple[str, ...] = SLEEP, **asked: object
) -> object:
    request = Request(**{"memory": Memory(2**29), **asked})  # type: ignore[arg-type]
    job = JobScript(
        name=name,
        request=request,
        directory=directory,
        log_directory=directory,
        working_directory=directory,
        argv=argv,
        environment={},
    )
    return SLURM.parse_submit(run(SLURM.prepare(job, count=count, environment=os.environ).command), count=count)


def show(run: Run, *names: str) -> tuple[Seen, ...] | Unanswered:
    (command,) = SLURM.poll([Tracked(name) for name in names])
    return SLURM.parse_poll([run(command)], ())


def account(run: Run, name: str) -> object:
    (command,) = SLURM.account([Tracked(name)])
    return SLURM.parse_account([run(command)], ())


def poll(run: Run, *names: str) -> dict[JobId, Seen]:
    answer = show(run, *names)
    assert not isinstance(answer, Unanswered), answer
    return {seen.id: seen for seen in answer}


def until(run: Run, name: str, *states: JobState) -> dict[JobId, Seen]:
    assert wait_until(
        lambda: sorted(s.state.value for s in poll(run, name).values()) == sorted(s.value for s in states), 30
    )
    return poll(run, name)


def cancel(run: Run, names: tuple[str, ...] = (), ids: tuple[JobId, ...] = ()) -> None:
    for command in SLURM.cancel([Tracked(name) for name in names], ids):
        assert SLURM.parse_cancel(run(command)) is None


# What the real one says, too


def test_an_array_is_submitted_seen_and_cancelled(run: Run, tmp_path: Path) -> None:
    answer = submit(run, tmp_path, "array-1", 3, walltime=Duration(1800))
    assert isinstance(answer, Submitted)
    seen = until(run, "array-1", *[JobState.RUNNING] * 3)
    assert set(seen) == set(answer.ids)
    assert sorted(job.index for job in seen.values()) == [0, 1, 2]
    assert all(job.node and job.ending is None and job.name == "array-1" for job in seen.values())
    cancel(run, ids=answer.ids[:1])
    assert wait_until(lambda: poll(run, "array-1")[answer.ids[0]].state is JobState.ENDED, 30)
    ending = poll(run, "array-1")[answer.ids[0]].ending
    assert ending is not None
    assert ending.kind is EndingKind.CANCELLED
    cancel(run, names=("array-1",))
    until(run, "array-1", *[JobState.ENDED] * 3)


def test_a_single_job_is_no_array(run: Run, tmp_path: Path) -> None:
    answer = submit(run, tmp_path, "single-1")
    assert isinstance(answer, Submitted)
    (job,) = until(run, "single-1", JobState.RUNNING).values()
    assert job.id == answer.ids[0]
    assert "_" not in job.id
    cancel(run, ids=(job.id,))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "nosuch"}, "Invalid partition name specified"),
        ({"memory": Memory(2**45)}, "Requested node configuration is not available"),
        ({"cores": 100}, "Requested node configuration is not available"),
        ({"gpus": 1}, "Requested node configuration is not available"),
    ],
)
def test_a_request_is_refused_in_these_words(run: Run, tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    answer = submit(run, tmp_path, "refused-1", **asked)
    assert isinstance(answer, Refused)
    assert words in answer.words
    assert not answer.temporary


def test_an_array_beyond_the_limit_is_refused(run: Run, tmp_path: Path) -> None:
    answer = submit(run, tmp_path, "refused-2", 1002)
    assert isinstance(answer, Refused)
    assert "Invalid job array specification" in answer.words


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"walltime": Duration(7200)}, "PartitionTimeLimit"), ({"cores": 1000}, "PartitionConfig")],
)
def test_some_requests_are_taken_and_pend_for_ever(
    run: Run, tmp_path: Path, asked: dict[str, Any], reason: str
) -> None:
    name = f"pends-{reason}"
    assert isinstance(submit(run, tmp_path, name, **asked), Submitted)
    assert wait_until(lambda: [job.reason for job in poll(run, name).values()] == [reason], 10)
    cancel(run, names=(name,))


def test_unknown_names_and_ids_are_no_failure(run: Run) -> None:
    assert poll(run, "nosuch") == {}
    cancel(run, names=("nosuch",), ids=(JobId("987654"), JobId("987654_1")))


def test_the_limits_agree(run: Run) -> None:
    limits = SLURM.parse_limits([run(command) for command in SLURM.limits(user_name())])
    assert limits.unknown == ()
    assert limits.max_array_size == 1001
    partitions = {partition.name: partition for partition in limits.partitions}
    assert partitions["short"].default
    assert partitions["short"].max_time == 3600.0
    assert partitions["long"].max_time == 2 * 86400.0
    assert partitions["closed"].allow_groups == ("daemon",)
    (nodes,) = partitions["long"].nodes
    assert (nodes.cores, nodes.threads_per_core, nodes.memory) == (16, 2, 64 * 2**30)
    assert partitions["gpu"].nodes[0].gpus == 4


def test_without_accounting_it_says_so(run: Run) -> None:
    if isinstance(getattr(run, "__self__", None), FakeCluster):
        run.__self__.accounting = False  # type: ignore[attr-defined]
        assert isinstance(account(run, "nosuch"), NoAccounting)
    else:
        assert not isinstance(account(run, "nosuch"), Unanswered)


# Scripts run for real


def test_a_script_runs_with_its_variables_and_its_log(cluster: FakeCluster, tmp_path: Path) -> None:
    run = outside(cluster.environment)
    command = ("sh", "-c", 'echo "$SLURM_JOB_ID $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $PWD $*"; exit $2', "sh")
    submit(run, tmp_path, "vars-1", 2, argv=command)
    ends = until(run, "vars-1", JobState.ENDED, JobState.ENDED)
    # "--index N --job-id ID" are behind the command: the exit code of the script is the index.
    assert ends[JobId("1_0")].ending == Ending(
        kind=EndingKind.COMPLETED, message="COMPLETED 0:0", exit_code=0, node=ends[JobId("1_0")].node, source="queue"
    )
    second = ends[JobId("1_1")].ending
    assert second is not None
    assert (second.kind, second.exit_code, second.message) == (EndingKind.FAILED, 1, "FAILED NonZeroExitCode 1:0")
    said = (tmp_path / "vars-1-1_1.log").read_text().split()
    assert said[:8] == ["2", "1", "1", str(tmp_path), "--index", "1", "--job-id", "1_1"]


def test_a_job_without_a_place_for_its_log_fails_as_a_launch(cluster: FakeCluster, tmp_path: Path) -> None:
    run = outside(cluster.environment)
    submit(run, tmp_path / "missing", "lost-1")
    (job,) = until(run, "lost-1", JobState.ENDED).values()
    assert job.ending is not None
    assert job.ending.kind is EndingKind.LAUNCH_FAILED


def test_scancel_ends_all_processes_of_a_job(cluster: FakeCluster, tmp_path: Path) -> None:
    run = outside(cluster.environment)
    # One that left the session, one that ignores TERM.
    script = "setsid sleep 60 & trap '' TERM; sleep 60 & wait; sleep 60"
    submit(run, tmp_path, "tree-1", argv=("sh", "-c", script, "sh"))
    until(run, "tree-1", JobState.RUNNING)
    assert wait_until(lambda: len(cluster.processes_of("1")) >= 3, 10)
    cancel(run, names=("tree-1",))
    assert poll(run, "tree-1")[JobId("1")].state in (JobState.COMPLETING, JobState.ENDED)
    assert wait_until(lambda: not cluster.processes_of("1"), 10)
    until(run, "tree-1", JobState.ENDED)


def test_leaving_the_context_leaves_nothing(tmp_path: Path) -> None:
    with FakeCluster(tmp_path / "cluster") as cluster:
        submit(outside(cluster.environment), tmp_path, "left-1", 3)
        assert wait_until(lambda: all(cluster.processes_of(job) for job in ("1_0", "1_1", "1_2")), 10)
        processes = [process for job in cluster.jobs for process in cluster.processes_of(job)]
    assert not any(process.is_running() for process in processes)
    assert list((tmp_path / "cluster").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fake-")]


@pytest.mark.alone
def test_a_command_is_quick(cluster: FakeCluster) -> None:
    run = outside(cluster.environment)
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        run(*SLURM.poll([Tracked("nosuch")]))
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.03


# Faults, in memory


ENDINGS = {
    "TIMEOUT": EndingKind.TIMED_OUT,
    "OUT_OF_MEMORY": EndingKind.OUT_OF_MEMORY,
    "PREEMPTED": EndingKind.PREEMPTED,
    "NODE_FAIL": EndingKind.NODE_FAILED,
    "CANCELLED": EndingKind.CANCELLED,
    "FAILED": EndingKind.FAILED,
    "COMPLETED": EndingKind.COMPLETED,
}


@pytest.mark.parametrize("word", ENDINGS)
def test_a_job_ends_as_told(word: str, tmp_path: Path) -> None:
    cluster = FakeCluster()
    submit(cluster.run, tmp_path, "end-1")
    cluster.end("1", word)  # type: ignore[arg-type]
    (job,) = poll(cluster.run, "end-1").values()
    assert job.ending is not None
    assert job.ending.kind is ENDINGS[word]
    endings = account(cluster.run, "end-1")
    assert isinstance(endings, dict)
    assert endings[JobId("1")].kind is ENDINGS[word]


def test_a_requeued_job_runs_again_under_its_id(tmp_path: Path) -> None:
    cluster = FakeCluster()
    submit(cluster.run, tmp_path, "again-1", 2)
    cluster.end("1_1", "PREEMPTED", requeue=True)
    job = poll(cluster.run, "again-1")[JobId("1_1")]
    assert (job.state, job.reason) == (JobState.PENDING, "BeginTime")
    cluster.clock.advance(10)
    assert poll(cluster.run, "again-1")[JobId("1_1")].state is JobState.RUNNING


def test_the_walltime_ends_a_job(tmp_path: Path) -> None:
    cluster = FakeCluster(start_delay=100)
    submit(cluster.run, tmp_path, "time-1", walltime=Duration(600))
    cluster.clock.advance(699)
    assert cluster.jobs == {"1": "RUNNING"}
    cluster.clock.advance(2)
    assert cluster.jobs == {"1": "TIMEOUT"}


def test_slots_and_holds_make_jobs_wait(tmp_path: Path) -> None:
    cluster = FakeCluster(slots=1)
    submit(cluster.run, tmp_path, "slots-1", 3)
    assert [job.reason for job in poll(cluster.run, "slots-1").values()] == ["", "Resources", "Priority"]
    cluster.hold("QOSMaxJobsPerUserLimit")
    cluster.slots = 3
    assert {job.reason for job in poll(cluster.run, "slots-1").values()} == {"", "QOSMaxJobsPerUserLimit"}
    cluster.release()
    assert set(cluster.jobs.values()) == {"RUNNING"}


def test_submits_are_refused_and_lost_as_often_as_told(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.refuse_submits(1, "Batch job submission failed: Invalid qos specification")
    cluster.lose_answers(1, jobs_exist=False)
    cluster.lose_answers(1, jobs_exist=True)
    answers = [submit(cluster.run, tmp_path, f"s-{number}") for number in range(4)]
    assert [type(answer) for answer in answers] == [Refused, Doubtful, Doubtful, Submitted]
    assert [len(poll(cluster.run, f"s-{number}")) for number in range(4)] == [0, 0, 1, 1]


def test_a_controller_that_is_down_says_nothing_of_jobs(tmp_path: Path) -> None:
    cluster = FakeCluster()
    submit(cluster.run, tmp_path, "down-1")
    cluster.controller = "down"
    assert isinstance(submit(cluster.run, tmp_path, "down-2"), Doubtful)
    assert isinstance(show(cluster.run, "down-1"), Unanswered)
    assert all(SLURM.parse_cancel(cluster.run(command)) for command in SLURM.cancel([Tracked("down-1")], ()))
    cluster.controller = "up"
    assert [job.state for job in poll(cluster.run, "down-1").values()] == [JobState.RUNNING]


def test_a_frozen_controller_answers_when_it_thaws(cluster: FakeCluster) -> None:
    run = outside(cluster.environment)
    cluster.controller = "frozen"
    answers: list[Completed] = []
    asking = threading.Thread(target=lambda: answers.append(run(*SLURM.poll([Tracked("nosuch")]))))
    asking.start()
    assert wait_until(lambda: cluster.commands_of("squeue"), 10)
    assert cluster.commands_of("squeue")[0].ended is None
    assert answers == []
    cluster.controller = "up"
    asking.join(10)
    assert answers[0].ok


def test_a_forgotten_job_leaves_no_trace(tmp_path: Path) -> None:
    cluster = FakeCluster()
    submit(cluster.run, tmp_path, "gone-1", 2)
    cluster.forget("1_0")
    assert list(poll(cluster.run, "gone-1")) == ["1_1"]
    assert account(cluster.run, "gone-1") == {"1_1": JobState.RUNNING}


def test_a_listing_may_be_old_and_have_holes(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.listing_age = 60.0
    submit(cluster.run, tmp_path, "old-1", 2)
    assert poll(cluster.run, "old-1") == {}
    assert account(cluster.run, "old-1") == dict.fromkeys(("1_0", "1_1"), JobState.RUNNING)
    cluster.clock.advance(61)
    assert list(poll(cluster.run, "old-1")) == ["1_0", "1_1"]
    cluster.end("1_0", "TIMEOUT")
    assert poll(cluster.run, "old-1")[JobId("1_0")].state is JobState.RUNNING
    cluster.listing_age = 0.0
    assert poll(cluster.run, "old-1")[JobId("1_0")].state is JobState.ENDED
    cluster.hide("1_1")
    assert list(poll(cluster.run, "old-1")) == ["1_0"]
    cluster.show("1_1")
    assert list(poll(cluster.run, "old-1")) == ["1_0", "1_1"]


def test_a_silently_killed_job_goes_on_for_slurm(cluster: FakeCluster, tmp_path: Path) -> None:
    run = outside(cluster.environment)
    submit(run, tmp_path, "quiet-1")
    assert wait_until(lambda: cluster.jobs == {"1": "RUNNING"} and cluster.processes_of("1"), 10)
    cluster.kill_silently("1")
    assert wait_until(lambda: not cluster.processes_of("1"), 10)
    assert cluster.jobs == {"1": "RUNNING"}
    cancel(run, names=("quiet-1",))
    assert wait_until(lambda: cluster.jobs == {"1": "CANCELLED"}, 10)


def test_all_commands_are_kept(tmp_path: Path) -> None:
    cluster = FakeCluster()
    submit(cluster.run, tmp_path, "kept-1", 5)
    poll(cluster.run, "kept-1")
    assert [received.argv[0] for received in cluster.commands] == ["sbatch", "squeue"]
    assert "--array=0-4" in cluster.commands[0].argv
    assert cluster.commands[0].stdin.startswith("#!/bin/bash")


def test_an_option_that_slurm_does_not_know_is_refused() -> None:
    done = FakeCluster().run(Command(("sbatch", "--memory=1G"), stdin="#!/bin/sh\n"))
    assert done.returncode == 255
    assert "--memory=1G" in done.words


def test_signals_have_their_status(cluster: FakeCluster, tmp_path: Path) -> None:
    run = outside(cluster.environment)
    submit(run, tmp_path, "signal-1", argv=("sh", "-c", "kill -SEGV $$", "sh"))
    (job,) = until(run, "signal-1", JobState.ENDED).values()
    assert job.ending is not None
    assert (job.ending.signal, job.ending.message) == (signal.SIGSEGV, "FAILED JobLaunchFailure 0:11")
