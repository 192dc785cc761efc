"""Which CPUs each worker of a job gets, and how libraries are told how many threads to start.

A core has its own execution units; with hyper-threading it has two CPUs (hardware threads), in the kernel's words.
A worker owns whole cores: two workers on the two threads of one core would slow each other down.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobpool.model.request import Bind
from jobpool.model.units import Memory

__all__ = [
    "Shares",
    "partition",
    "scrub",
    "share_devices",
    "share_out",
    "thread_environment",
    "thread_siblings",
    "too_little_memory",
]


@dataclass(frozen=True, slots=True)
class Shares:
    """The CPUs of each worker, or why there is no binding."""

    cpus: tuple[tuple[int, ...], ...] | None
    note: str = ""
    """A sentence for the user, where what was asked for could not be done."""
    of_site: bool = False
    """The note is true of the site, whatever was asked for."""


def share_out(*, size: int, cores: int, threads_per_core: int, bind: Bind | None, counted: int = 0) -> Shares:
    """Share the CPUs that this process may use among ``size`` workers of ``cores`` cores each.

    ``counted``: how many of them the batch system counts as the job's.
    """
    if bind is None:
        return Shares(None)
    return partition(
        os.sched_getaffinity(0),
        thread_siblings(),
        size=size,
        cores=cores,
        threads_per_core=threads_per_core,
        bind=bind,
        counted=counted,
    )


def partition(
    allowed: Collection[int],
    siblings: Mapping[int, Collection[int]],
    *,
    size: int,
    cores: int,
    threads_per_core: int,
    bind: Bind,
    counted: int = 0,
) -> Shares:
    """Share CPUs among workers. Pure.

    ``allowed`` are the CPUs of the job, ``siblings`` tells, for each CPU of the machine, all CPUs of its core. Bound to
    ``"cores"``, a worker gets all of its cores' CPUs; to ``"threads"``, the first ``threads_per_core`` of each.

    No binding where it would do harm: when the job has fewer cores than its workers ask for, and when it may use the
    whole machine but asked for a part of it. Then nobody keeps jobs apart, and all would bind to the same first cores;
    unless the batch system counts all the machine's CPUs as the job's (``counted``): it has the node for itself.
    """
    owned = sorted({tuple(sorted({cpu, *siblings.get(cpu, ())} & set(allowed))) for cpu in allowed})
    needed = size * cores
    if len(owned) < needed:
        return Shares(
            None,
            f"workers are not bound to cores: {size} of {cores} cores each need {needed}, "
            f"and the job may use {len(owned)} ({len(allowed)} CPUs)",
        )
    whole = counted >= len(owned) * threads_per_core
    if len(owned) > needed and set(allowed) >= set(siblings) and not whole:
        return Shares(
            None,
            f"workers are not bound to cores: the job asked for {needed} and may use all {len(owned)} of the machine, "
            "so other jobs may run on any of them",
            of_site=True,
        )
    taken = owned if bind == "cores" else [core[:threads_per_core] for core in owned]
    shares = [taken[worker * cores : (worker + 1) * cores] for worker in range(size)]
    return Shares(tuple(tuple(sorted(cpu for core in share for cpu in core)) for share in shares))


def thread_siblings(root: Path = Path("/sys/devices/system/cpu")) -> dict[int, tuple[int, ...]]:
    """Read from the kernel which CPUs share a core with each CPU that is online. Empty where it does not say."""
    siblings = {}
    for file in root.glob("cpu[0-9]*/topology/thread_siblings_list"):
        siblings[int(file.parts[-3].removeprefix("cpu"))] = _parse_list(file.read_text())
    return siblings


def _parse_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's list of CPUs, such as ``0,32`` or ``0-1,8-9``."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def too_little_memory(asked: int | None, limit: int | None) -> str:
    """Say so when the workers of a job may hold more together than the job may; in bytes. Empty: all is well."""
    if asked is None or limit is None or limit >= asked:
        return ""
    return (
        f"the workers may hold {Memory(asked)} together, and the job no more than {Memory(limit)}: calls may be killed "
        "before they reach their own limit (look at job_extra and job_skip)"
    )


THREAD_VARIABLES = {
    "OMP_NUM_THREADS": "OpenMP (its specification, 6.2): GCC's and LLVM's runtimes, PyTorch, scikit-learn, FAISS",
    "OPENBLAS_NUM_THREADS": "OpenBLAS: numpy and scipy from PyPI",
    "MKL_NUM_THREADS": "Intel oneMKL: numpy and scipy from conda",
    "BLIS_NUM_THREADS": "BLIS",
    "VECLIB_MAXIMUM_THREADS": "Apple's Accelerate",
    "NUMEXPR_NUM_THREADS": "NumExpr: threads to begin with",
    "NUMEXPR_MAX_THREADS": "NumExpr: threads at most; it warns when this is not set",
    "NUMBA_NUM_THREADS": "Numba's parallel loops",
    "OPENCV_FOR_THREADS_NUM": "OpenCV: what cv2.setNumThreads sets (its environment variables reference)",
    "OPENCV_FFMPEG_THREADS": "OpenCV: decoder threads of cv2.VideoCapture with FFmpeg (same reference)",
    "RAYON_NUM_THREADS": "Rayon: Rust libraries, such as Hugging Face's tokenizers",
    "POLARS_MAX_THREADS": "Polars",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "ITK, SimpleITK",
    "PYTHON_CPU_COUNT": "Python from 3.13 on: os.cpu_count(), and so the size of a pool in a call",
    "LOKY_MAX_CPU_COUNT": "loky: what joblib's n_jobs=-1 means in a call",
}
"""Variables by which libraries are told how many threads to use, each documented by its library."""


def thread_environment(threads: int, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that make libraries start ``threads`` threads and not one for each CPU of the machine.

    ``given`` are variables that the user set for the jobs (``environment=``), and who knows better; not what the jobs
    happen to inherit, such as an ``OMP_NUM_THREADS=1`` of a login shell.
    """
    own = {name: value for name, value in (given or {}).items() if name in THREAD_VARIABLES}
    return {**dict.fromkeys(THREAD_VARIABLES, str(threads)), **own}


_RANK_VARIABLES = r"PMI_.*|PMIX_.*|OMPI_COMM_WORLD_.*|OMPI_UNIVERSE_SIZE|HYDI_.*|MPI_LOCAL.*|PALS_.*"
"""Of launchers of MPI programs: they tell an MPI library that it is a rank of one, which a call is not."""


_DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""NVIDIA's and AMD's. Batch systems set them to the devices of the whole job."""


def share_devices(environment: Mapping[str, str], *, size: int, gpus: int) -> tuple[dict[str, str], ...] | None:
    """Return the variables that give each of ``size`` workers its own ``gpus`` devices of the job's.

    None when there is nothing to share: one worker, no GPUs, or fewer devices than asked for.
    """
    shares: list[dict[str, str]] = [{} for _ in range(size)]
    for name in _DEVICE_VARIABLES:
        devices = [device for device in environment.get(name, "").split(",") if device]
        if gpus and len(devices) >= size * gpus:
            for number, share in enumerate(shares):
                share[name] = ",".join(devices[number * gpus : (number + 1) * gpus])
    return tuple(shares) if size > 1 and shares[0] else None


def scrub(environment: Mapping[str, str], step_variables: str = "") -> dict[str, str]:
    """Return the environment without what describes the agent's own place: a nested launch or mpirun starts afresh.

    ``step_variables``: a regular expression for the batch system's own. What describes the job stays.
    """
    misleading = re.compile("|".join(filter(None, (step_variables, _RANK_VARIABLES))))
    return {name: value for name, value in environment.items() if not misleading.fullmatch(name)}
