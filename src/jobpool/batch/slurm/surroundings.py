"""SLURM's variables around a process: what they say of where it runs, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobpool.batch.explainer import Remark, Surroundings

__all__ = ["SURROUNDINGS", "remarks"]

SURROUNDINGS = Surroundings(
    variables=("SLURM_", "SBATCH_"),
    step_variables=("SLURM_STEP",),
    counts=("SLURM_STEP_NUM_TASKS",),
    scratch=("SLURM_TMPDIR",),
    launchers=("srun",),
    starters=("sbatch", "salloc"),
)


def remarks(environment: Mapping[str, str]) -> Iterator[Remark]:
    """Say what these variables change about jobs and commands."""
    if job := environment.get("SLURM_JOB_ID"):
        yield Remark(f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones")
    if defaults := sorted(name for name in environment if name.startswith("SBATCH_")):
        text = f"{', '.join(defaults)} change what sbatch asks for; of them jobpool heeds account, partition, QoS, "
        text += "reservation, constraint and wckey, where no setting says otherwise"
        yield Remark(text, "say what jobs need in jobpool.toml")
    if clusters := environment.get("SLURM_CLUSTERS"):
        text = f"SLURM_CLUSTERS={clusters} leads SLURM's commands to other clusters than this host's"
        yield Remark(text, "unset it, unless you mean it")
