"""What ``explain`` says a call sees is what it sees, and what it says a job gets is what SLURM gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobpool
from jobpool import JobPoolExecutor
from jobpool.testing import SlurmLab, wait_until

PATIENCE = 60.0


def look() -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "threads": {int(os.environ[name]) for name in names},
        "cpu_count": os.cpu_count(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"cores": 1},
        {"cores": 3, "partition": "long"},
        {"cores": 2, "threads_per_core": 2, "workers_per_job": 2},
        {"cores": 16, "bind": None},
    ],
)
def test_a_job_gets_what_was_explained(
    slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], asked: dict[str, Any]
) -> None:
    lab = enter_lab(slurm_lab)
    keywords = {"scheduler": "slurm", "addresses": ["127.0.0.1"], "memory": "100 MiB", "walltime": "10 min", **asked}
    (node,) = jobpool.explain(**keywords).nodes
    with JobPoolExecutor(asked.get("workers_per_job", 1), **keywords) as pool:
        seen = pool.submit(look).result(PATIENCE)
        known = dict(re.findall(r"(\S+?)=(\S*)", lab.run("scontrol", "-o", "show", "job", seen["job"]).stdout))
    assert int(known["NumCPUs"]) == node.job.cpus
    assert node.job.memory is not None
    assert known["MinMemoryNode"] == f"{node.job.memory.mebibytes}M"
    assert known["TimeLimit"] == "00:10:00"
    assert node.call.deadline == 600.0
    assert seen["threads"] == {node.call.threads}


@pytest.mark.parametrize("asked", [{}, {"bind": "threads"}, {"bind": None}, {"workers_per_job": 2}])
def test_a_call_sees_what_was_explained(
    slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], asked: dict[str, Any]
) -> None:
    enter_lab(slurm_lab_cgroups)
    keywords = {"scheduler": "slurm", "addresses": ["127.0.0.1"], "memory": "100 MiB", "walltime": "10 min", **asked}
    (node,) = jobpool.explain(**keywords).nodes
    with JobPoolExecutor(asked.get("workers_per_job", 1), **keywords) as pool:
        seen = pool.submit(look).result(PATIENCE)
    assert seen["cpus"] == node.call.cpus
    assert seen["threads"] == {node.call.threads}
    assert seen["cpu_count"] == node.call.cpu_count


def test_what_is_true_of_a_site_is_told_once_a_day(
    slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("NOT TESTED: a job may run on one core, and asks for it")
    enter_lab(slurm_lab)
    keywords: dict[str, Any] = {"scheduler": "slurm", "addresses": ["127.0.0.1"], "walltime": "10 min"}

    def told() -> bool:
        return any("workers are not bound to cores" in text for text, _ in pool.status().notices)

    with JobPoolExecutor(1, **keywords) as pool:
        pool.submit(look).result(PATIENCE)
        assert wait_until(told, PATIENCE)
    with JobPoolExecutor(1, name="second", **keywords) as pool:
        pool.submit(look).result(PATIENCE)
        log = home / ".jobpool/second/server.log"
        assert wait_until(lambda: "workers are not bound to cores" in log.read_text(), PATIENCE)
        assert not told()
    assert capfd.readouterr().err.count("workers are not bound to cores") == 1
