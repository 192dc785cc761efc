"""Sharing CPUs, thread counts, and what the batch system's variables must not tell a call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.agent.binding import (
    Shares,
    partition,
    scrub,
    share_devices,
    share_out,
    thread_environment,
    thread_siblings,
    too_little_memory,
)
from jobpool.batch.slurm.job_side import JOB_SIDE
from jobpool.model.request import Bind


def machine(cores: int, threads: int = 2) -> dict[int, tuple[int, ...]]:
    """A machine whose second hardware threads are numbered after all first ones, as Intel's and AMD's are."""
    return {
        core + cores * thread: tuple(core + cores * other for other in range(threads))
        for core in range(cores)
        for thread in range(threads)
    }


@pytest.mark.parametrize(
    ("bind", "threads_per_core", "cpus"),
    [
        ("cores", 1, ((0, 1, 8, 9), (2, 3, 10, 11))),
        ("cores", 2, ((0, 1, 8, 9), (2, 3, 10, 11))),
        ("threads", 1, ((0, 1), (2, 3))),
        ("threads", 2, ((0, 1, 8, 9), (2, 3, 10, 11))),
    ],
)
def test_whole_cores(bind: Bind, threads_per_core: int, cpus: tuple[tuple[int, ...], ...]) -> None:
    allowed = {0, 1, 2, 3, 8, 9, 10, 11}
    shares = partition(allowed, machine(8), size=2, cores=2, threads_per_core=threads_per_core, bind=bind)
    assert shares == Shares(cpus)


def test_a_job_that_was_given_one_thread_of_each_core_gets_no_more() -> None:
    shares = partition({4, 5, 6}, machine(8), size=3, cores=1, threads_per_core=2, bind="cores")
    assert shares == Shares(((4,), (5,), (6,)))


def test_too_few_cores() -> None:
    shares = partition({0, 8, 1, 9}, machine(8), size=2, cores=2, threads_per_core=1, bind="cores")
    assert shares.cpus is None
    assert "2 of 2 cores each need 4, and the job may use 2 (4 CPUs)" in shares.note


def test_a_job_that_nobody_confines_is_not_bound() -> None:
    shares = partition(set(machine(8)), machine(8), size=2, cores=2, threads_per_core=1, bind="cores")
    assert shares.cpus is None
    assert "may use all 8 of the machine" in shares.note


def test_a_job_that_asked_for_the_whole_machine_is_bound() -> None:
    shares = partition(set(machine(4)), machine(4), size=2, cores=2, threads_per_core=1, bind="threads")
    assert shares == Shares(((0, 1), (2, 3)))


@given(
    cores=st.integers(1, 16),
    threads=st.integers(1, 4),
    size=st.integers(1, 6),
    each=st.integers(1, 6),
    per_core=st.integers(1, 2),
    bind=st.sampled_from(["cores", "threads"]),
    data=st.data(),
)
def test_no_cpu_is_given_twice_and_none_that_is_not_ours(
    cores: int, threads: int, size: int, each: int, per_core: int, bind: Bind, data: st.DataObject
) -> None:
    siblings = machine(cores, threads)
    allowed: Collection[int] = data.draw(st.sets(st.sampled_from(sorted(siblings)), min_size=1))
    shares = partition(allowed, siblings, size=size, cores=each, threads_per_core=per_core, bind=bind)
    if shares.cpus is None:
        assert shares.note
        return
    given_out = [cpu for share in shares.cpus for cpu in share]
    assert len(shares.cpus) == size
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= set(allowed)
    for share in shares.cpus:
        assert len({siblings[cpu] for cpu in share}) == each


def test_no_binding_when_none_is_asked_for() -> None:
    assert share_out(size=1, cores=1, threads_per_core=1, bind=None) == Shares(None)


def test_siblings_are_read_from_the_kernels_lists(tmp_path: Path) -> None:
    for cpu, text in ((0, "0,2\n"), (1, "1,3\n"), (2, "0,2\n"), (3, "1,3\n"), (10, "8-11\n")):
        file = tmp_path / f"cpu{cpu}/topology/thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (tmp_path / "cpufreq").mkdir()
    siblings = thread_siblings(tmp_path)
    assert siblings == {0: (0, 2), 1: (1, 3), 2: (0, 2), 3: (1, 3), 10: (8, 9, 10, 11)}
    assert set(thread_siblings()) >= os.sched_getaffinity(0)


def test_thread_counts() -> None:
    environment = thread_environment(6)
    assert environment["OMP_NUM_THREADS"] == environment["OPENCV_FOR_THREADS_NUM"] == "6"
    assert set(environment.values()) == {"6"}


def test_what_the_user_sets_for_the_jobs_wins() -> None:
    environment = thread_environment(6, {"OPENBLAS_NUM_THREADS": "1", "LANG": "C"})
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert environment["OMP_NUM_THREADS"] == "6"
    assert "LANG" not in environment


def test_less_memory_than_the_workers_may_hold_is_told() -> None:
    assert too_little_memory(None, 2**30) == too_little_memory(2**30, None) == too_little_memory(2**30, 2**30) == ""
    assert "may hold 2 GiB together, and the job no more than 1 GiB" in too_little_memory(2**31, 2**30)


def test_opencv_reads_its_variable() -> None:
    pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, "-c", "import cv2; print(cv2.getNumThreads())"],
        env={**os.environ, **thread_environment(1)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1"]


KEPT: dict[str, Any] = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOBID": "7",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_JOB_NODELIST": "n1",
    "SLURM_NODELIST": "n1",
    "SLURM_CPUS_ON_NODE": "4",
    "SLURM_JOB_CPUS_PER_NODE": "4",
    "SLURM_JOB_PARTITION": "long",
    "SLURM_SUBMIT_DIR": "/home/x",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "PATH": "/bin",
}
REMOVED = [
    *("SLURM_CPU_BIND", "SLURM_CPU_BIND_LIST", "SLURM_CPU_BIND_TYPE", "SLURM_CPU_BIND_VERBOSE", "SLURM_HINT"),
    *("SLURM_CPUS_PER_TASK", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NPROCS", "SLURM_TASKS_PER_NODE"),
    *("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_THREADS_PER_CORE", "SLURM_TRES_PER_TASK", "SLURM_GTIDS"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_ID", "SLURM_STEPID"),
    *("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "PMIX_SERVER_URI2", "OMPI_COMM_WORLD_RANK"),
]


def test_scrub_keeps_the_job_and_removes_the_step() -> None:
    assert JOB_SIDE.step_variables
    assert scrub({**KEPT, **dict.fromkeys(REMOVED, "x")}, JOB_SIDE.step_variables) == KEPT


def test_workers_of_one_job_get_devices_of_their_own() -> None:
    job = {"CUDA_VISIBLE_DEVICES": "0,1,GPU-7,3", "PATH": "/bin"}
    assert share_devices(job, size=2, gpus=2) == (
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "GPU-7,3"},
    )


@pytest.mark.parametrize(("devices", "size", "gpus"), [("0,1", 1, 2), ("0,1", 2, 0), ("0", 2, 1), ("", 2, 1)])
def test_where_there_is_nothing_to_share_the_jobs_devices_stay(devices: str, size: int, gpus: int) -> None:
    assert share_devices({"CUDA_VISIBLE_DEVICES": devices}, size=size, gpus=gpus) is None


def test_a_job_that_has_its_node_for_itself_is_bound() -> None:
    shared = partition(range(16), machine(8), size=1, cores=2, threads_per_core=1, bind="cores", counted=2)
    assert (shared.cpus, shared.of_site) == (None, True)
    # What SLURM sets with --exclusive, or where partitions give out whole nodes: SLURM_CPUS_ON_NODE.
    for threads, counted in ((1, 8), (1, 16), (2, 16)):
        whole = partition(
            range(16), machine(8), size=1, cores=2, threads_per_core=threads, bind="cores", counted=counted
        )
        assert whole == Shares(((0, 1, 8, 9),))
