"""Memory and CPUs where the batch system really enforces them: SLURM with cgroups. Needs root."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from jobpool import CallOutOfMemory, JobPoolExecutor, Memory
from jobpool.testing import SlurmLab


def fill(mebibytes: int) -> int:
    return len(bytearray(mebibytes * 2**20))


def where_i_run() -> tuple[int, str]:
    return len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"]


def test_a_call_over_its_memory_fails_alone_with_figures_and_advice(
    slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_lab(slurm_lab_cgroups)
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    with JobPoolExecutor(max_workers=1, memory="200 MiB", walltime="10 min", scheduler="slurm") as pool:
        before = pool.submit(fill, 10)
        too_much = pool.submit(fill, 3000)
        after = pool.submit(fill, 20)
        with pytest.raises(CallOutOfMemory) as caught:
            too_much.result(timeout=60)
        assert before.result(timeout=60) == 10 * 2**20
        assert after.result(timeout=60) == 20 * 2**20
        assert isinstance(caught.value, MemoryError)
        assert caught.value.job == before.job.id  # type: ignore[union-attr]
        assert "200 MiB" in str(caught.value.limit)
        assert "memory=" in caught.value.details["advice"]
        usage = after.usage
        assert usage is not None
        assert Memory(20 * 2**20) < usage.peak_memory < Memory(200 * 2**20)


def test_a_call_sees_the_cores_that_were_asked_for(
    slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_lab(slurm_lab_cgroups)
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    with JobPoolExecutor(max_workers=1, cores=1, walltime="10 min", scheduler="slurm") as pool:
        assert pool.submit(where_i_run).result(timeout=60) == (1, "1")
