"""HTCondor's variables around a process: what they say of where it runs, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings
from jobpool.batch.htcondor.environment import command

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("_CONDOR_", "CONDOR_"),
    scratch=("_CONDOR_SCRATCH_DIR",),
    starters=("condor_submit", "condor_run"),
)


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if slot := environment.get("_CONDOR_SLOT"):
        yield Remark(f"this runs inside of a job, in {slot}: the pool ends with it, and its jobs are new ones")
    settings = sorted(name for name in command().unset.cleaned(environment) if name.startswith("_CONDOR_"))
    if settings:
        text = f"{', '.join(settings)} change settings of HTCondor's commands: they are in the place of those in its "
        text += "configuration"
        yield Remark(text, "unset them, unless you mean them")
