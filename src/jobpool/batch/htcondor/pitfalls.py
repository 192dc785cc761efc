"""Pitfalls in a submit description: what HTCondor makes of it that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.batch.user_script import ScriptWish

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish) -> Iterator[str]:
    """Name what in the lines is not as it looks, each with what to write instead."""
    there = set(asked.options)
    if "request_memory" not in there:
        yield (
            "no request_memory: the job gets what the pool sets, by default little more than its program's size; "
            "write request_memory = 4GB"
        )
    if "request_cpus" not in there:
        yield "no request_cpus: the job gets one CPU; write request_cpus = 4 for a program with four threads"
    if not there & {"allowed_job_duration", "allowed_execute_duration"}:
        yield "no allowed_job_duration: the job may run for ever; write the seconds that it may run"
    if "allowed_execute_duration" in there and "allowed_job_duration" not in there:
        yield (
            "allowed_execute_duration acts only where files are transferred; write allowed_job_duration, "
            "which counts the transfers, too"
        )
    if there & {"allowed_job_duration", "allowed_execute_duration"} and "periodic_remove" not in there:
        yield (
            "a job that ran as long as it may is held, and stays in the queue; "
            "write periodic_remove = JobStatus == 5 && HoldReasonCode == 46"
        )
    if "job_max_vacate_time" not in there:
        yield (
            "no job_max_vacate_time: a job that is removed, and does not end by itself at SIGTERM, keeps its slot for "
            "10 minutes; write job_max_vacate_time = 30"
        )
    if not there & {"getenv", "environment"}:
        yield "no getenv or environment: the job has no PATH and no HOME; write them into environment"
