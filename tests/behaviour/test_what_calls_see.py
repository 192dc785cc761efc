"""What a call sees is what was asked for: CPUs, thread counts, memory, and no trace of the job's own step.

On a real SLURM with real cpusets, as root; the machine's own cores are those of the nodes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate

from jobpool import JobPoolExecutor
from jobpool.agent.binding import THREAD_VARIABLES
from jobpool.testing import SlurmLab

PATIENCE = 60.0
SLURM: dict[str, Any] = {"scheduler": "slurm", "addresses": ["127.0.0.1"]}


@pytest.fixture
def lab(slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab]) -> SlurmLab:
    return enter_lab(slurm_lab_cgroups)


def seen() -> dict[str, Any]:
    import cv2
    import numpy
    import threadpoolctl

    numpy.ones(4) @ numpy.ones(4)
    return {
        "cpus": sorted(os.sched_getaffinity(0)),
        "blas": [entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"],
        "opencv": cv2.getNumThreads(),
        "variables": {name: os.environ.get(name) for name in THREAD_VARIABLES},
    }


@pytest.mark.parametrize("cores", [1, 2])
def test_as_many_threads_as_cores(lab: SlurmLab, cores: int) -> None:
    for package in ("cv2", "numpy", "threadpoolctl"):
        pytest.importorskip(package)
    if cores > int(lab.run("sinfo", "--noheader", "--format=%c").stdout.split()[0]):
        pytest.skip("this machine has a single CPU")
    with JobPoolExecutor(1, cores=cores, memory="500 MiB", **SLURM) as pool:
        found = pool.submit(seen).result(PATIENCE)
    assert len(found["cpus"]) >= cores
    # OpenBLAS starts no more threads than it may use CPUs.
    assert found["blas"]
    assert set(found["blas"]) == {cores}
    assert found["opencv"] == cores
    assert set(found["variables"].values()) == {str(cores)}


def test_two_workers_of_a_job_share_no_cpu(lab: SlurmLab, gate: Gate) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("this machine has a single CPU")

    wait = gate.hold()

    def hold() -> list[int]:
        wait()
        return sorted(os.sched_getaffinity(0))

    with JobPoolExecutor(2, workers_per_job=2, memory="200 MiB", **SLURM) as pool:
        futures = [pool.submit(hold) for _ in range(2)]
        gate.wait_for(2)
        gate.open()
        one, two = (future.result(PATIENCE) for future in futures)
    assert one
    assert two
    assert not set(one) & set(two)


def test_a_nested_srun_is_a_step_of_its_own(lab: SlurmLab) -> None:
    def step() -> str:
        command = ["srun", "--ntasks=1", "printenv", "SLURM_STEP_ID"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40)
        return done.stdout + done.stderr

    with JobPoolExecutor(1, cores=2, memory="200 MiB", **SLURM) as pool:
        assert pool.submit(step).result(PATIENCE) == "0\n"


def test_less_memory_than_was_asked_for_is_told(lab: SlurmLab) -> None:
    with JobPoolExecutor(1, memory="500 MiB", job_skip=["--mem"], job_extra=["--mem=300M"], **SLURM) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        notices = [text for text, _ in pool.status().notices]
    assert any("may hold 500 MiB together, and the job no more than 300 MiB" in text for text in notices)


def test_what_the_user_sets_for_the_jobs_is_kept(lab: SlurmLab) -> None:
    with JobPoolExecutor(1, environment={"OPENBLAS_NUM_THREADS": "3"}, **SLURM) as pool:
        variables = pool.submit(lambda: dict(os.environ)).result(PATIENCE)
    assert variables["OPENBLAS_NUM_THREADS"] == "3"
    assert variables["OMP_NUM_THREADS"] == "1"
