"""Seconds from the constructor to results: on local processes, and on a cluster until all of 8 jobs have answered.

The clock starts at the constructor and stops when the last result awaited is there. The import of the package comes
before that and is printed beside it; the end of the pool comes after it and is not measured. On SLURM every part keeps
calls in flight that sleep 0.1 s and return the id of their job, until each job has returned one. Below all of them
lies ``sbatch array``: no pool, 8 elements of one bare array that touch a file each. ``+ import distributed`` is the
same with a Python that imports Dask, which is what each job must load before it can be a Dask Worker. dask-jobqueue
runs as it comes, and a second time with the dashboards of its scheduler and workers turned off; jobpool loads its own
when it is asked for.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _common

if TYPE_CHECKING:
    from jobpool.testing.labs.registry import Lab


LOCAL_LIMIT = 2.5
"""Seconds, local, from the constructor to the first result."""

CLUSTER_LIMIT = 0.8
"""Of the time that dask-jobqueue takes for the same, as it comes."""

SLEEP = 0.1
"""Seconds per call: long enough that the calls themselves cost nobody's CPU while other jobs are still starting."""


JOB = ("SLURM_JOB_ID", "_CONDOR_SCRATCH_DIR", "SGE_STDOUT_PATH")
"""Variables that tell one job from another, by batch system."""


def job_id() -> str:
    time.sleep(SLEEP)
    return next(os.environ[name] for name in JOB if name in os.environ)


class Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def jobpool_local(_: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    from jobpool import JobPoolExecutor

    imported = clock.lap()
    with JobPoolExecutor(max_workers=2, scheduler="local") as pool:
        constructed = clock.lap()
        pool.submit(os.getpid).result()
        answered = clock.lap()
    return {"first result": constructed + answered, "import": imported, "constructor": constructed}


def process_pool(_: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    from concurrent.futures import ProcessPoolExecutor

    imported = clock.lap()
    with ProcessPoolExecutor(max_workers=2) as pool:
        constructed = clock.lap()
        pool.submit(os.getpid).result()
        answered = clock.lap()
    return {"first result": constructed + answered, "import": imported, "constructor": constructed}


def dask_local(_: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    from distributed import Client, LocalCluster

    imported = clock.lap()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        constructed = clock.lap()
        client.submit(os.getpid).result()
        answered = clock.lap()
    return {"first result": constructed + answered, "import": imported, "constructor": constructed}


def until_all_answered(submit: Callable[[], Future[str]], jobs: int) -> float:
    """Keep two calls per job in flight until all jobs have answered, and return the seconds to the first answer."""
    start, first = time.perf_counter(), 0.0
    pending, answered = {submit() for _ in range(2 * jobs)}, set[str]()
    while len(answered) < jobs:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        first = first or time.perf_counter() - start
        answered |= {future.result() for future in done}
        pending |= {submit() for _ in done}
    return first


def jobpool_on(options: argparse.Namespace, scheduler: str) -> dict[str, float]:
    clock = Clock()
    from jobpool import JobPoolExecutor

    imported = clock.lap()
    with JobPoolExecutor(
        max_workers=options.jobs, scheduler=scheduler, cores=1, memory="1 GiB", walltime="10 min"
    ) as pool:
        constructed = clock.lap()
        first = until_all_answered(lambda: pool.submit(job_id), options.jobs)
        answered = clock.lap()
    return {
        "all answered": constructed + answered,
        "import": imported,
        "constructor": constructed,
        "first result": constructed + first,
    }


def dask_jobqueue(
    options: argparse.Namespace, *, pages: bool = True, place: str = "slurm.SLURMCluster", **more: Any
) -> dict[str, float]:
    clock = Clock()
    from distributed import Client

    module, _, name = place.partition(".")
    cluster_class = getattr(importlib.import_module(f"dask_jobqueue.{module}"), name)
    imported = clock.lap()
    with cluster_class(
        cores=1,
        processes=1,
        memory="1GiB",
        **(more or {"walltime": "00:10:00"}),
        interface="lo",
        # The pages of scheduler and workers are there as they are by default, but for this host only.
        scheduler_options={"host": "127.0.0.1", "dashboard": pages, "dashboard_address": "127.0.0.1:0"},
        worker_extra_args=["--dashboard" if pages else "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
    ) as cluster:
        constructed = clock.lap()
        cluster.scale(jobs=options.jobs)
        with Client(cluster) as client:
            # Dask's futures are not the standard library's; its executor hands those out.
            executor = client.get_executor(pure=False)
            first = until_all_answered(lambda: executor.submit(job_id), options.jobs)
            answered = clock.lap()
    return {
        "all answered": constructed + answered,
        "import": imported,
        "constructor": constructed,
        "first result": constructed + first,
    }


def dask_jobqueue_htcondor(options: argparse.Namespace) -> dict[str, float]:
    # It starts its workers by the shell, which needs the PATH.
    more: dict[str, Any] = {"disk": "100MB", "job_extra_directives": {"getenv": "true"}}
    return dask_jobqueue(options, place="htcondor.HTCondorCluster", **more)


def dask_jobqueue_sge(options: argparse.Namespace) -> dict[str, float]:
    # A worker needs more address space than memory, and it starts by the shell, which needs the PATH.
    more: dict[str, Any] = {"resource_spec": "h_vmem=4G", "job_extra_directives": ["-S /bin/bash", "-V"]}
    return dask_jobqueue(options, place="sge.SGECluster", walltime="00:10:00", **more)


def dask_jobqueue_no_pages(options: argparse.Namespace) -> dict[str, float]:
    return dask_jobqueue(options, pages=False)


def executorlib_slurm(options: argparse.Namespace) -> dict[str, float]:
    clock = Clock()
    import zmq
    from executorlib import SlurmJobExecutor

    imported = clock.lap()
    # It takes pickles from anybody at a port of all interfaces; here on loopback only.
    bind = zmq.Socket.bind_to_random_port
    zmq.Socket.bind_to_random_port = lambda socket, _: bind(socket, "tcp://127.0.0.1")  # type: ignore[method-assign,misc,assignment]
    # Outside of an allocation each worker is one srun, hence one job; workers load neither Dask nor TLS.
    with SlurmJobExecutor(
        max_workers=options.jobs, resource_dict={"cores": 1}, block_allocation=True, hostname_localhost=True
    ) as pool:
        constructed = clock.lap()
        first = until_all_answered(lambda: pool.submit(job_id), options.jobs)
        answered = clock.lap()
        pool.shutdown(wait=True, cancel_futures=True)
    return {
        "all answered": constructed + answered,
        "import": imported,
        "constructor": constructed,
        "first result": constructed + first,
    }


def bare_array(options: argparse.Namespace, command: str = "true") -> dict[str, float]:
    script = f"#!/bin/sh\n{command}\n: > answer-$SLURM_ARRAY_TASK_ID\n"
    clock = Clock()
    subprocess.run(
        ["sbatch", f"--array=0-{options.jobs - 1}", "--time=10", "--mem=1G", "--output=/dev/null"],
        input=script,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    while len(list(Path.cwd().glob("answer-*"))) < options.jobs:
        time.sleep(0.005)
    return {"all answered": clock.lap()}


def bare_array_with_dask(options: argparse.Namespace) -> dict[str, float]:
    return bare_array(options, f"{sys.executable} -c 'import distributed'")


LOCAL: dict[str, _common.Part] = {
    "jobpool": jobpool_local,
    "ProcessPoolExecutor": process_pool,
    "LocalCluster": dask_local,
}
SLURM: dict[str, _common.Part] = {
    "jobpool on SLURM": functools.partial(jobpool_on, scheduler="slurm"),
    "dask-jobqueue": dask_jobqueue,
    "dask-jobqueue, no dashboard": dask_jobqueue_no_pages,
    "executorlib": executorlib_slurm,
    "sbatch array": bare_array,
    "sbatch array + import distributed": bare_array_with_dask,
}
GRID_ENGINE: dict[str, _common.Part] = {
    "jobpool on Grid Engine": functools.partial(jobpool_on, scheduler="sge"),
    "dask-jobqueue's SGECluster": dask_jobqueue_sge,
}
HTCONDOR: dict[str, _common.Part] = {
    "jobpool on HTCondor": functools.partial(jobpool_on, scheduler="htcondor"),
    "dask-jobqueue's HTCondorCluster": dask_jobqueue_htcondor,
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, {**LOCAL, **SLURM, **GRID_ENGINE, **HTCONDOR}, argv, quick={"repeats": 1, "jobs": 4}, repeats=5, jobs=8
    )
    print(_common.machine())
    with _common.home() as env:
        print("\nlocal, 2 workers; seconds")
        runs = _common.in_turns(list(LOCAL), repeats=options.repeats, env=env)
        _common.show(runs, {"first result": ".2f", "constructor": ".2f", "import": ".2f"})
        _common.limit(
            "local, to the first result",
            _common.median(runs, "jobpool", "first result"),
            at_most=LOCAL_LIMIT,
            unit=" s",
        )
        with _common.lab_environment(env) as here:
            if here is not None:
                _on_slurm(options, *here)
        for system, parts in (("sge", GRID_ENGINE), ("htcondor", HTCONDOR)):
            with _common.lab_environment(env, system=system) as here:
                if here is not None:
                    _beside_dask_jobqueue(options, parts, *here)
    return _common.finish(options)


def _on_slurm(options: argparse.Namespace, lab: Lab, env: dict[str, str]) -> None:
    print(f"\nSLURM, {options.jobs} jobs; seconds")
    parts = [part for part in SLURM if part != "executorlib" or importlib.util.find_spec("executorlib")]
    runs = _common.in_turns(
        parts, repeats=options.repeats, env=env, options=["--jobs", options.jobs], between=lab.cancel_jobs
    )
    figures = {"all answered": ".2f", "first result": ".2f", "constructor": ".2f", "import": ".2f"}
    _common.show(runs, figures, against="dask-jobqueue")
    times = [_common.median(runs, part, "all answered") for part in ("jobpool on SLURM", "dask-jobqueue")]
    _common.limit("SLURM, of dask-jobqueue's time", times[0] / times[1], at_most=CLUSTER_LIMIT)


def _beside_dask_jobqueue(
    options: argparse.Namespace, parts: dict[str, _common.Part], lab: Lab, env: dict[str, str]
) -> None:
    ours, theirs = parts
    title = ours.removeprefix("jobpool on ")
    print(f"\n{title}, {options.jobs} jobs; seconds")
    runs = _common.in_turns(
        [ours, theirs], repeats=options.repeats, env=env, options=["--jobs", options.jobs], between=lab.cancel_jobs
    )
    figures = {"all answered": ".2f", "first result": ".2f", "constructor": ".2f", "import": ".2f"}
    _common.show(runs, figures, against=theirs)
    times = [_common.median(runs, part, "all answered") for part in (ours, theirs)]
    _common.limit(f"{title}, of dask-jobqueue's time", times[0] / times[1], at_most=CLUSTER_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
