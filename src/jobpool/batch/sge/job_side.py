"""What Grid Engine's variables in a job say, for the job script to hand on to the agent."""

from __future__ import annotations

from jobpool.batch.job_side import JobSide

__all__ = ["INDEX", "JOB_SIDE", "TASK"]

TASK = "task=${SGE_TASK_ID/undefined/}"
"""A line for the script, before the others: the number of the element, and nothing outside of an array."""

INDEX = "$((${task:-1} - 1))"
"""A word for the shell: Grid Engine counts elements from 1."""

JOB_SIDE = JobSide(
    index=f'"{INDEX}"',
    id='"$JOB_ID${task:+.$task}"',  # as qdel takes it
    node='"${HOSTNAME:-}"',
    cpus='"${NSLOTS:-}"',
)
"""Nothing tells when a job ends: its agent counts from the start of the script. No variable describes a step: what PE
and PE_HOSTFILE say is the whole job's, and a ``mpirun`` in a call needs them."""
