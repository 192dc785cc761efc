"""What LSF's variables in a job say, for the job script to hand on to the agent."""

from __future__ import annotations

from jobpool.batch.job_side import JobSide

__all__ = ["ELEMENT", "INDEX", "JOB_SIDE", "LOG_ID"]

ELEMENT = ("jobpool_element=${LSB_JOBINDEX:-0}", "jobpool_element=${jobpool_element#0}")
"""Lines of the script that come first. Elements of an array are counted from 1; of a job that is none, LSB_JOBINDEX is
0, and the variable empty."""

INDEX = "$((${jobpool_element:-1} - 1))"

LOG_ID = '"$LSB_JOBID${jobpool_element:+_$jobpool_element}"'
"""The id as file names have it: brackets mean something to shells."""

_STEP = r"LSF_PM_.*|LSB_TASKID.*|PMI_(RANK|SIZE|FD|ID|PORT)|PMIX_(RANK|NAMESPACE|SERVER_.*)"
"""What a launcher tells one rank of a program (blaunch). What describes the job stays: LSB_JOBID, LSB_MCPU_HOSTS,
LSB_DJOB_HOSTFILE, by which mpirun finds the job's slots."""

JOB_SIDE = JobSide(
    index=f'"{INDEX}"',
    id='"$LSB_JOBID${jobpool_element:+[$jobpool_element]}"',
    node='"${LSB_HOSTS%% *}"',
    cpus='"${LSB_DJOB_NUMPROC:-}"',
    step_variables=_STEP,
)
