"""What a job's log says of its end, beside what SLURM calls it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobpool.batch.slurm.system import Slurm
from jobpool.model.job import Ending, EndingKind

BEGINS = (
    "2026-01-05 10:00:00,000 INFO jobpool.agent job=JobKey(submission='jp-x-1', element=0) id=7 node=n1 pid=9 begins\n"
)
KILLED = (
    "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=7.batch. Some of your processes may have been killed "
    "by the cgroup out-of-memory handler.\n"
)
KILLED_BEFORE_20_11 = "slurmstepd: error: Detected 2 oom-kill event(s) in step 7.batch cgroup. Some of your processes\n"
KILLED_SINCE_23 = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed.\n"
)
EXCEEDED = "slurmstepd: error: StepId=7.batch exceeded memory limit (639320064 > 209715200), being killed\n"

FAILED = Ending(kind=EndingKind.FAILED, message="FAILED JobLaunchFailure 0:9", signal=9, source="queue")
FAILED_137 = Ending(kind=EndingKind.FAILED, message="FAILED NonZeroExitCode 137:0", exit_code=137)
CANCELLED = Ending(kind=EndingKind.CANCELLED, message="CANCELLED 0:15")
COMPLETED = Ending(kind=EndingKind.COMPLETED, message="COMPLETED 0:0", exit_code=0)


@pytest.mark.parametrize(
    ("ending", "log"),
    [
        (FAILED, KILLED),
        (FAILED, KILLED_BEFORE_20_11),
        (FAILED_137, KILLED_SINCE_23),
        (COMPLETED, KILLED),
        (FAILED, EXCEEDED),
        (CANCELLED, EXCEEDED),
    ],
)
def test_a_job_killed_for_memory_under_another_name(ending: Ending, log: str) -> None:
    read = Slurm().read_log(ending, BEGINS + "a line of the agent's\n" + log)
    assert read.kind is EndingKind.OUT_OF_MEMORY
    assert ending.message in read.message
    assert ("exceeded memory limit" if log == EXCEEDED else "Detected") in read.message
    assert read.limit == ("200 MiB" if log == EXCEEDED else None)


@pytest.mark.parametrize(("log", "kills"), [(KILLED, 1), (KILLED_BEFORE_20_11, 2), ("", None)])
def test_how_often_the_kernel_killed_is_read(log: str, kills: int | None) -> None:
    killed = Ending(kind=EndingKind.OUT_OF_MEMORY, message="OUT_OF_MEMORY OutOfMemory 0:125")
    assert Slurm().read_log(killed, BEGINS + log) == replace(killed, kills=kills)


def test_what_the_job_held_is_read() -> None:
    assert Slurm().read_log(FAILED, BEGINS + EXCEEDED).used == 639320064


@pytest.mark.parametrize(
    ("ending", "log"),
    [
        (FAILED, "no such line\n"),
        (CANCELLED, KILLED),  # a worker was killed at some time; then somebody cancelled the job
        (Ending(kind=EndingKind.TIMED_OUT, message="TIMEOUT"), KILLED),
        (Ending(kind=EndingKind.PREEMPTED, message="PREEMPTED"), EXCEEDED),
        (Ending(kind=EndingKind.NODE_FAILED, message="NODE_FAIL"), KILLED),
        (Ending(kind=EndingKind.FAILED, message="FAILED 77:0", exit_code=77), KILLED),  # the agent's own word
        (FAILED, KILLED + BEGINS + "the second run\n"),  # the first one was killed, and the job requeued
    ],
)
def test_a_cause_that_holds_whatever_the_log_says(ending: Ending, log: str) -> None:
    assert Slurm().read_log(ending, BEGINS + log) is ending
