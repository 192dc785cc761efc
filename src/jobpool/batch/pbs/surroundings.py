"""PBS's variables around a process: what they say of where it runs, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("PBS_", "NCPUS"),
    scratch=("TMPDIR",),
    launchers=("pbsdsh", "pbs_tmrsh"),
    starters=("qsub",),
)


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if job := environment.get("PBS_JOBID"):
        yield Remark(f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones")
    if server := environment.get("PBS_SERVER") or environment.get("PBS_DEFAULT"):
        yield Remark(
            f"PBS's commands go to the server {server}, whatever pbs.conf says", "unset it, unless you mean it"
        )
    if prefix := environment.get("PBS_DPREFIX"):
        text = f"PBS_DPREFIX={prefix!r} changes which lines of a script qsub reads; jobpool leaves it out"
        yield Remark(text, "say what jobs need in jobpool.toml")
