"""What a batch system tells a job's script of itself, in its environment."""

from __future__ import annotations

from jobpool.testing.fake.jobs import FakeJob

__all__ = ["neutral_variables", "slurm_variables"]


def slurm_variables(job: FakeJob, node: str, now: float) -> dict[str, str]:
    """Return the variables that SLURM sets."""
    order = job.order
    variables = {
        "SLURM_JOB_ID": str(job.raw),
        "SLURM_JOBID": str(job.raw),
        "SLURM_JOB_NAME": order.name,
        "SLURM_JOB_NODELIST": node,
        "SLURM_JOB_PARTITION": order.partition,
        "SLURM_CLUSTER_NAME": "fake",
        "SLURMD_NODENAME": node,
    }
    if order.walltime is not None:
        variables["SLURM_JOB_START_TIME"] = str(int(now))
        variables["SLURM_JOB_END_TIME"] = str(int(now) + int(order.walltime))
    if job.restarts:
        variables["SLURM_RESTART_COUNT"] = str(job.restarts)
    if job.index is not None:
        variables["SLURM_ARRAY_JOB_ID"] = str(order.base)
        variables["SLURM_ARRAY_TASK_ID"] = str(job.index)
        variables["SLURM_ARRAY_TASK_COUNT"] = str(len(order.elements))
    return variables


def neutral_variables(job: FakeJob, node: str, now: float) -> dict[str, str]:
    """Return the variables that a system with another dialect sets; ``FAKE_NUMBER`` is there in arrays alone."""
    variables = {"FAKE_JOB": job.id, "FAKE_NAME": job.name, "FAKE_NODE": node}
    if job.index is not None:
        variables["FAKE_NUMBER"] = str(job.index)
    if job.order.walltime is not None:
        variables["FAKE_END"] = str(int(now) + int(job.order.walltime))
    return variables
