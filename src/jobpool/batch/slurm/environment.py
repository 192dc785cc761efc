"""What SLURM's commands see of a user's environment: the way to the cluster, and nothing that changes what they do."""

from __future__ import annotations

from collections.abc import Mapping

from jobpool.model.command import Command, Unset

__all__ = ["UNSET", "command", "for_commands", "for_jobs"]

_OWN = (
    "SLURM_",
    "SLURMD_",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "SQUEUE_",
    "SACCT_",
    "SACCTMGR_",
    "SCANCEL_",
    "SCONTROL_",
    "SINFO_",
    "SPRIO_",
    "PMI_",
    "PMI2_",
    "PMIX_",
)
"""Variables of SLURM and its launchers: inside an allocation they describe *that* one (SLURM_CPU_BIND,
SLURM_CPUS_PER_TASK, SLURM_ARRAY_TASK_ID), or they would change what our commands do (SBATCH_EXPORT=NONE), print
(SQUEUE_FORMAT, SLURM_TIME_FORMAT), or mean: with SCANCEL_STATE=PENDING a running job is not cancelled (seen)."""

_ACCESS = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"})
"""How SLURM is reached at all. SLURM_CLUSTERS leads all commands alike, so jobs are looked for where they went."""

_SITE_DEFAULTS = {
    "SBATCH_ACCOUNT": "--account",
    "SBATCH_PARTITION": "--partition",
    "SBATCH_QOS": "--qos",
    "SBATCH_RESERVATION": "--reservation",
    "SBATCH_CONSTRAINT": "--constraint",
    "SBATCH_WCKEY": "--wckey",
}
"""Defaults that sites tell people to set. They would win over a directive, so they stay only where there is none."""

_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"})
"""Inside an allocation: its GPUs, which are not those of the new job."""


UNSET = Unset(_OWN, _ACCESS)
"""What no command of SLURM sees of the user's variables; on another host, of those that a login there has."""


def command(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables that would change what it does or prints."""
    return Command(argv, stdin=stdin, timeout=timeout, unset=UNSET)


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command that asks SLURM or cancels its jobs."""
    return UNSET.cleaned(environment)


def for_jobs(environment: Mapping[str, str], stated: frozenset[str]) -> dict[str, str]:
    """Return the environment for sbatch, which hands it on to the job.

    PATH, LD_LIBRARY_PATH, a venv and loaded modules stay (``--export=NONE`` would drop them). ``stated`` are the
    options of the script's directives.
    """
    defaults = {
        name: environment[name]
        for name, option in _SITE_DEFAULTS.items()
        if name in environment and option not in stated
    }
    inside = _DEVICES if "SLURM_JOB_ID" in environment else frozenset()
    kept = {name: value for name, value in for_commands(environment).items() if name not in inside}
    return {**kept, **defaults}
