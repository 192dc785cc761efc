"""Grid Engine's variables around a process: what they say of where it runs, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings
from jobpool.batch.sge.environment import in_job

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("SGE_",),
    launchers=("qrsh -inherit",),
    starters=("qsub", "qrsh", "qlogin"),
)


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if in_job(environment):
        yield Remark(
            f"this runs inside of job {environment['JOB_ID']}: the pool ends with it, and its jobs are new ones"
        )
    if level := environment.get("SGE_DEBUG_LEVEL"):
        text = f"SGE_DEBUG_LEVEL={level} has Grid Engine's commands print what they do; jobpool runs them without it"
        yield Remark(text, "unset it, unless you mean it")
