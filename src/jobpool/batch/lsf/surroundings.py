"""LSF's variables around a process: what they say of where it runs, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("LSB_", "BSUB_"),
    step_variables=("LSF_PM_",),
    launchers=("blaunch",),
    starters=("bsub",),
)

_CHANGING = ("LSB_DEFAULT", "LSB_NTRIES", "LSB_BSUB_ERR_RETRY", "BSUB_")
"""How variables begin by which users change what bsub does."""


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if job := environment.get("LSB_JOBID"):
        yield Remark(f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones")
    if changing := sorted(name for name in environment if name.startswith(_CHANGING)):
        text = f"{', '.join(changing)} change what bsub does; of them jobpool heeds the default queue, project, user "
        text += "group and job group, where no setting says otherwise"
        yield Remark(text, "say what jobs need in jobpool.toml")
