"""What PBS's variables in a job say, for the job script to hand on to the agent."""

from __future__ import annotations

from jobpool.batch.job_side import JobSide

__all__ = ["INDEX", "JOB_SIDE"]

INDEX = "${PBS_ARRAY_INDEX:-0}"
"""PBS_ARRAY_INDEX is there in an element of an array only."""

JOB_SIDE = JobSide(
    index=f'"{INDEX}"',
    id='"$PBS_JOBID"',
    # The name that the node has for PBS; `uname` may say it with the domain.
    node='"$(head -n 1 "$PBS_NODEFILE" 2>/dev/null)"',
    cpus='"${NCPUS:-}"',
    # The job's number of cores, where a call has fewer. PBS_JOBID, PBS_NODEFILE and what tm needs stay: mpirun starts
    # its processes by them.
    step_variables="NCPUS|ENVIRONMENT",
)
