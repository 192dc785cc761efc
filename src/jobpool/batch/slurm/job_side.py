"""What SLURM's variables in a job say, for the job script to hand on to the agent."""

from __future__ import annotations

from jobpool.batch.job_side import JobSide

__all__ = ["JOB_SIDE"]

_STEP = (
    # How the script's own step was laid out: srun's defaults (srun(1), INPUT ENVIRONMENT VARIABLES) ...
    r"SLURM_(CPU_BIND.*|CPUS_PER_TASK|CPUS_PER_GPU|NTASKS.*|NPROCS|TASKS_PER_NODE|MEM_(PER_|BIND).*|DISTRIBUTION"
    r"|TRES_(PER_TASK|BIND|FREQ)|THREADS_PER_CORE|HINT|EXACT|EXCLUSIVE|OVERCOMMIT|OVERLAP|GPUS_PER_.*|GPU_BIND|STEP_.*|STEPID"
    # ... and these tell an MPI library that it is a rank of a running MPI program, which a call is not.
    r"|PROCID|LOCALID|NODEID|GTIDS|SRUN_COMM_.*|LAUNCH_NODE_IPADDR|MPI_TYPE|TASK_PID|UMASK)"
    r"|SBATCH_(CPU_BIND|MEM_BIND|HINT|EXCLUSIVE|DISTRIBUTION|THREADS_PER_CORE).*"
)
"""What describes the job stays: SLURM_JOB_ID, SLURM_JOB_NODELIST, SLURM_ARRAY_TASK_ID, SLURM_CPUS_ON_NODE, ..."""

JOB_SIDE = JobSide(
    # SLURM_ARRAY_* are there in an element of an array only; the id has the form that squeue and sacct print.
    index='"${SLURM_ARRAY_TASK_ID:-0}"',
    id='"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
    node='"${SLURMD_NODENAME:-}"',
    # Newer versions say when a job ends (22.05.8 does not).
    began='"${SLURM_JOB_START_TIME:-}"',
    ends='"${SLURM_JOB_END_TIME:-}"',
    cpus='"${SLURM_CPUS_ON_NODE:-}"',
    cluster='"${SLURM_CLUSTER_NAME:-}"',
    step_variables=_STEP,
)
