"""OAR's variables around a process: what they say of where it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("OAR_",),
    # taktuk and oarsh start plain processes on the nodes: they leave no variables of their own.
    launchers=("oarsh", "taktuk"),
    starters=("oarsub",),
)


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if job := environment.get("OAR_JOB_ID"):
        yield Remark(f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones")
