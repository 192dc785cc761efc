"""How much of the work that was done was of use, when every now and then a job is killed.

The same calls with every peer on the same SLURM, one after the other: a number of calls of 2 to 20 s for four jobs at
once. Every 20 seconds one of the jobs that run is cancelled, as an administrator or a preemption would do it: SIGTERM,
and SIGKILL three seconds later. Which one follows from a seed, the same for all.

Each call tells in a file of its own how long it ran. *Useful* is the first run of each call that came to its end; all
runs are the total. *Errors* are calls that ended with an exception, or had no end when the time was over: what the user
of a peer has to see to himself. submitit takes part twice: as it comes, where a call whose job was killed has failed,
and with a script around it that submits such calls again (``submitit, again``), as most of its users have one.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _common
from _calls import toil

if TYPE_CHECKING:
    from jobpool.testing import SlurmLab

SEED = 4

LEAST = 0.1
"""The shortest call, of the longest one."""

RATIO, ERRORS, SECONDS = "useful/total", "errors", "seconds to finish"

LIMIT = 0.97
"""Of dask-jobqueue's useful share: which call a kill hits, and when in it, decides about this much."""


def lengths(options: argparse.Namespace) -> list[float]:
    rng = random.Random(SEED)
    return [rng.uniform(LEAST * options.longest, options.longest) for _ in range(options.calls)]


# ------------------------------------------------------------------------------------------------------- the kills


@contextmanager
def kills(options: argparse.Namespace) -> Iterator[list[str]]:
    """Cancel a job that runs every now and then; yield the list of those that were."""
    killed: list[str] = []
    over = threading.Event()
    thread = threading.Thread(target=_kill, args=(options.every, over, killed), daemon=True)
    thread.start()
    yield killed
    over.set()
    thread.join()


def _kill(every: float, over: threading.Event, killed: list[str]) -> None:
    rng = random.Random(SEED)
    while not over.wait(every):
        asked = ["squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i"]
        jobs = sorted(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split())
        place = rng.random()
        if jobs and not over.is_set():
            job = jobs[int(place * len(jobs))]
            subprocess.run(["scancel", job], check=True)
            killed.append(job)


# --------------------------------------------------------------------------------------------------------- the peers


def jobpool(options: argparse.Namespace, calls: list[tuple[str, int, float]], end: float) -> int:
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(
        options.jobs, workers_per_job=1, scheduler="slurm", cores=1, memory="1 GiB", walltime="30 min"
    ) as pool:
        futures = [pool.submit(toil, *call) for call in calls]
        done, late = wait(futures, timeout=end - time.monotonic())
        errors = len(late) + sum(future.exception() is not None for future in done)
        if late:
            pool.shutdown(cancel_futures=True)
    return errors


def dask_jobqueue(options: argparse.Namespace, calls: list[tuple[str, int, float]], end: float) -> int:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client, as_completed

    with SLURMCluster(
        cores=1,
        processes=1,
        memory="1GiB",
        walltime="00:30:00",
        interface="lo",
        scheduler_options={"host": "127.0.0.1", "dashboard": False},
        worker_extra_args=["--no-dashboard"],
    ) as cluster:
        cluster.adapt(minimum_jobs=options.jobs, maximum_jobs=options.jobs)
        with Client(cluster) as client:
            futures = [client.submit(toil, *call, pure=False) for call in calls]
            # Each result is fetched and let go: one that stays on a worker is computed again when that is killed.
            ended = as_completed(futures, with_results=True, raise_errors=False, timeout=end - time.monotonic())
            futures.clear()
            good = 0
            try:
                for future, _ in ended:
                    good += future.status == "finished"
            except TimeoutError:
                print("not all ended in time", file=sys.stderr)
            errors = len(calls) - good
    return errors


def submitit(
    options: argparse.Namespace, calls: list[tuple[str, int, float]], end: float, *, again: bool = False
) -> int:
    from submitit import SlurmExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    executor = SlurmExecutor(folder="submitit")
    executor.update_parameters(time=30, mem="1GB", cpus_per_task=1, array_parallelism=options.jobs)
    jobs: list[tuple[Any, tuple[str, int, float]]] = _array(executor, calls)
    errors = 0
    while jobs and time.monotonic() < end:
        time.sleep(0.5)
        failed = []
        for job, call in jobs[:]:
            if job.done():
                jobs.remove((job, call))
                if job.exception() is not None:
                    failed.append(call)
        errors += len(failed)
        if again and failed:
            jobs += _array(executor, failed)
    for job, _ in jobs:
        job.cancel()
    return errors + len(jobs)


def _array(executor: Any, calls: list[tuple[str, int, float]]) -> list[tuple[Any, tuple[str, int, float]]]:
    with executor.batch():
        jobs = [executor.submit(toil, *call) for call in calls]
    return list(zip(jobs, calls, strict=True))


def submitit_again(options: argparse.Namespace, calls: list[tuple[str, int, float]], end: float) -> int:
    return submitit(options, calls, end, again=True)


# ------------------------------------------------------------------------------------------------------- the figures


def measured(
    options: argparse.Namespace, run: Callable[[argparse.Namespace, list[tuple[str, int, float]], float], int]
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=Path.home(), ignore_cleanup_errors=True) as directory:
        calls = [(directory, number, seconds) for number, seconds in enumerate(lengths(options))]
        begin = time.monotonic()
        with kills(options) as killed:
            errors = run(options, calls, begin + options.patience)
            # The end of a pool that has all results is not waited for, but its processes still work on what is left.
        work = list(map(_work, Path(directory).iterdir()))
        seconds = max(end for _, _, end, _ in work) - min(start for _, start, _, _ in work)
    total = sum(end - start for _, start, end, _ in work)
    first: dict[int, tuple[float, float]] = {}
    for number, start, end, done in sorted(work, key=lambda run: run[2]):
        if done:
            first.setdefault(number, (start, end))
    useful = sum(end - start for start, end in first.values())
    return {
        RATIO: useful / total,
        "useful s": useful,
        "lost s": total - useful,
        "calls without result": options.calls - len(first),
        ERRORS: errors,
        "kills": len(killed),
        SECONDS: seconds,
    }


def _work(path: Path) -> tuple[int, float, float, bool]:
    """Return of one run: its call, when it began, when it was seen last, and whether it came to its end."""
    began, *done = path.read_text().split()
    return int(path.name.partition("-")[0]), float(began), path.stat().st_mtime, bool(done)


PEERS = {
    "jobpool": (jobpool, "jobpool"),
    "dask-jobqueue, adapt": (dask_jobqueue, "dask_jobqueue"),
    "submitit": (submitit, "submitit"),
    "submitit, again": (submitit_again, "submitit"),
}
"""How each runs the calls, and what it needs."""

PARTS: dict[str, _common.Part] = {
    name: lambda options, run=run: measured(options, run)  # type: ignore[misc]
    for name, (run, _) in PEERS.items()
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv,
        quick={"repeats": 1, "calls": 12, "longest": 3, "every": 6, "jobs": 2, "patience": 60},
        repeats=1, calls=40, longest=20, every=20, jobs=4, patience=240,
    )  # fmt: skip
    print(_common.machine())
    with _common.home() as env, _common.lab_environment(env, accounting=True) as here:
        if here is not None:
            _on_slurm(options, *here)
    return _common.finish(options)


def _on_slurm(options: argparse.Namespace, lab: SlurmLab, env: dict[str, str]) -> None:
    parts = [name for name, (_, module) in PEERS.items() if importlib.util.find_spec(module)]
    if missing := [name for name in PEERS if name not in parts]:
        print(f"SKIPPED, not installed: {', '.join(missing)}")
    work = sum(lengths(options))
    what = f"{options.calls} calls, {work:.0f} s of work for {options.jobs} jobs at once"
    print(f"\n{what}, a job killed every {options.every} s")
    sizes = [f"--{name}={getattr(options, name)}" for name in ("calls", "longest", "every", "jobs", "patience")]
    runs = _common.in_turns(
        parts,
        repeats=options.repeats,
        env=env,
        options=sizes,
        between=lab.cancel_jobs,
        may_fail=[name for name in parts if name != "jobpool"],
    )
    figures = {
        RATIO: ".3f",
        "lost s": ".1f",
        ERRORS: ".0f",
        "calls without result": ".0f",
        "kills": ".0f",
        SECONDS: ".1f",
    }
    _common.show(runs, figures)
    share = _common.ratio(runs, "jobpool", "dask-jobqueue, adapt", RATIO)
    _common.limit("useful share, of dask-jobqueue's", share, at_least=LIMIT)


if __name__ == "__main__":
    sys.exit(main())
