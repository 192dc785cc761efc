"""Seconds from the constructor until all of 8 jobs have answered, on a practice Grid Engine that schedules each second.

As ``startup.py`` does on SLURM: every part keeps calls in flight that sleep 0.1 s and return the id of their job, until
each job has returned one. dask-jobqueue runs as it comes. For root, whom the practice Grid Engine needs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import _common
from startup import Clock, until_all_answered

LIMIT = 0.8
"""Of the time that dask-jobqueue takes for the same."""


def job_id() -> str:
    time.sleep(0.1)
    return f"{os.environ['JOB_ID']}.{os.environ['SGE_TASK_ID']}"


def jobpool_sge(options: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    from jobpool import JobPoolExecutor

    imported = clock.lap()
    with JobPoolExecutor(max_workers=options.jobs, scheduler="sge", memory="1 GiB", walltime="10 min") as pool:
        constructed = clock.lap()
        first = until_all_answered(lambda: pool.submit(job_id), options.jobs)
        answered = clock.lap()
    return {
        "all answered": constructed + answered,
        "import": imported,
        "constructor": constructed,
        "first result": constructed + first,
    }


def dask_jobqueue(options: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    from dask_jobqueue.sge import SGECluster
    from distributed import Client

    imported = clock.lap()
    with SGECluster(
        cores=1,
        processes=1,
        memory="1GiB",
        resource_spec="h_vmem=4G",
        walltime="00:10:00",
        interface="lo",
        job_extra_directives=["-S /bin/bash", "-V"],
        # The pages of scheduler and workers are there as they are by default, but for this host only.
        scheduler_options={"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
        worker_extra_args=["--dashboard-address", "127.0.0.1:0"],
    ) as cluster:
        constructed = clock.lap()
        cluster.scale(jobs=options.jobs)
        with Client(cluster) as client:
            executor = client.get_executor(pure=False)
            first = until_all_answered(lambda: executor.submit(job_id), options.jobs)
            answered = clock.lap()
    return {
        "all answered": constructed + answered,
        "import": imported,
        "constructor": constructed,
        "first result": constructed + first,
    }


PARTS = {"jobpool": jobpool_sge, "dask-jobqueue": dask_jobqueue}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, PARTS, argv, quick={"repeats": 1, "jobs": 4}, repeats=5, jobs=8)
    print(_common.machine())
    from jobpool.testing.lab_sge import GridEngineLab, sge_missing

    if (missing := sge_missing()) or os.geteuid() != 0:
        print(f"SKIPPED, no Grid Engine here; missing: {', '.join(missing) or 'root'}")
        return _common.finish(options)
    with _common.home() as env, GridEngineLab(Path(env["HOME"]) / "lab") as lab:
        print(f"\nGrid Engine, {options.jobs} jobs; seconds")
        runs = _common.in_turns(
            list(PARTS),
            repeats=options.repeats,
            env={**env, **lab.environment, "JOBPOOL_ADDRESSES": "127.0.0.1"},
            options=["--jobs", options.jobs],
            between=lab.cancel_jobs,
        )
        figures = {"all answered": ".2f", "first result": ".2f", "constructor": ".2f", "import": ".2f"}
        _common.show(runs, figures, against="dask-jobqueue")
        times = [_common.median(runs, part, "all answered") for part in PARTS]
        _common.limit("Grid Engine, of dask-jobqueue's time", times[0] / times[1], at_most=LIMIT)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
