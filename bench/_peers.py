"""The peers, each with two workers on this machine or two jobs of a SLURM, behind one face.

A peer that is not installed is named, and takes no part. All listen on loopback only.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from _calls import nothing, place

__all__ = [
    "DASK",
    "DASK_JOBQUEUE",
    "JOBPOOL",
    "JOBPOOL_SLURM",
    "LOCAL",
    "MPI",
    "MPI_POLLING",
    "PARSL",
    "PARSL_SLURM",
    "PROCESS_POOL",
    "SLURM",
    "WORKERS",
    "Peer",
    "Pool",
]

WORKERS = 2

START = 60.0
"""Seconds for all workers to be up."""

JOBPOOL = "jobpool"
PROCESS_POOL = "ProcessPoolExecutor"
DASK = "raw Dask"
PARSL = "Parsl"
MPI = "mpi4py.futures"
DASK_JOBQUEUE = "dask-jobqueue"
JOBPOOL_SLURM = "jobpool on SLURM"
PARSL_SLURM = "Parsl on SLURM"


def _results(futures: Sequence[Any]) -> list[Any]:
    return [future.result() for future in futures]


@dataclass(frozen=True)
class Pool:
    """A running pool."""

    submit: Callable[..., Any]
    map: Callable[..., Iterable[Any]]
    """``map(function, items)``, and ``chunksize`` where the peer has it."""
    results: Callable[[Sequence[Any]], list[Any]] = field(default=_results)
    """What waits for all futures of ``submit``."""

    def warm(self) -> None:
        """Wait until all workers have answered, and the pace of calls is known to who measures it."""
        answered, end = set[object](), time.monotonic() + START
        while len(answered) < WORKERS:
            answered |= set(self.map(place, range(2 * WORKERS)))
            if time.monotonic() > end:
                raise SystemExit(f"{len(answered)} workers have answered in {START:.0f} s")
        list(self.map(nothing, range(200)))


@dataclass(frozen=True)
class Peer:
    """How to open a pool, and what it needs."""

    open: Callable[[], AbstractContextManager[Pool]]
    module: str
    """The peer takes part when this can be imported."""
    maps_only: bool = False
    """It has no ``submit``."""
    slow: bool = False
    """It is asked for the small number of calls alone: more take minutes or gigabytes, and cost no less each."""
    command: Callable[[], list[str]] = lambda: [sys.executable]
    """What starts a client; the script and its options follow."""


@contextmanager
def _jobpool() -> Iterator[Pool]:
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(max_workers=WORKERS, scheduler="local") as pool:
        pool.scale(WORKERS)
        yield Pool(pool.submit, pool.map)


@contextmanager
def _process_pool() -> Iterator[Pool]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        yield Pool(pool.submit, pool.map)


@contextmanager
def _loky() -> Iterator[Pool]:
    from loky import ProcessPoolExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with ProcessPoolExecutor(WORKERS) as pool:
        yield Pool(pool.submit, pool.map)


@contextmanager
def _dask() -> Iterator[Pool]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(WORKERS)
        yield _dask_pool(client)


def _dask_pool(client: Any) -> Pool:
    # ``pure=False``: cheaper for it, and what an executor does, where equal calls are different calls.
    return Pool(
        lambda function, *args: client.submit(function, *args, pure=False),
        lambda function, items: client.gather(client.map(function, items, pure=False)),
        client.gather,
    )


@contextmanager
def _joblib() -> Iterator[Pool]:
    from joblib import Parallel, delayed  # type: ignore[import-untyped,import-not-found,unused-ignore]

    def run(function: Callable[..., Any], items: Iterable[Any]) -> Any:
        return parallel(delayed(function)(item) for item in items)

    with Parallel(n_jobs=WORKERS) as parallel:
        yield Pool(_no_submit, run)


def _no_submit(*_: object) -> None:
    raise NotImplementedError("joblib has no submit")


@contextmanager
def _mpi4py(**settings: float) -> Iterator[Pool]:
    from mpi4py.futures import MPIPoolExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with MPIPoolExecutor(WORKERS, **settings) as pool:
        yield Pool(pool.submit, pool.map)


def _mpi_command() -> list[str]:
    """Start one client and the workers as one MPI program: not every MPI lets a client alone add workers."""
    return ["mpiexec", "-iface", "lo", "-n", str(1 + WORKERS), sys.executable, "-m", "mpi4py.futures"]


@contextmanager
def _executorlib() -> Iterator[Pool]:
    from executorlib import SingleNodeExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    _zmq_on_loopback()
    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True, hostname_localhost=True) as pool:
        yield Pool(pool.submit, pool.map)


def _zmq_on_loopback() -> None:
    """Bind executorlib's sockets on loopback: it takes pickles from anybody at a port of all interfaces."""
    import zmq

    bind = zmq.Socket.bind_to_random_port
    zmq.Socket.bind_to_random_port = lambda socket, _: bind(socket, "tcp://127.0.0.1")  # type: ignore[method-assign,misc,assignment]


@contextmanager
def _parsl() -> Iterator[Pool]:
    from parsl.providers import LocalProvider  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with _parsl_pool(LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1), WORKERS) as pool:
        yield pool


@contextmanager
def _parsl_pool(provider: Any, workers_per_node: int) -> Iterator[Pool]:
    from parsl import Config  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from parsl.concurrent import ParslPoolExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from parsl.executors import HighThroughputExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    executor = HighThroughputExecutor(address="127.0.0.1", provider=provider, max_workers_per_node=workers_per_node)
    with ParslPoolExecutor(Config(executors=[executor], initialize_logging=False)) as pool:
        yield Pool(pool.submit, pool.map)


LOCAL: dict[str, Peer] = {
    JOBPOOL: Peer(_jobpool, "jobpool"),
    PROCESS_POOL: Peer(_process_pool, "concurrent.futures"),
    "loky": Peer(_loky, "loky"),
    "joblib": Peer(_joblib, "joblib", maps_only=True),
    MPI: Peer(_mpi4py, "mpi4py", slow=True, command=_mpi_command),
    "executorlib": Peer(_executorlib, "executorlib", slow=True),
    PARSL: Peer(_parsl, "parsl", slow=True),
    DASK: Peer(_dask, "distributed", slow=True),
}
"""Two workers on this machine."""


@contextmanager
def _jobpool_slurm() -> Iterator[Pool]:
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(
        max_workers=WORKERS, workers_per_job=1, scheduler="slurm", cores=1, memory="1 GiB", walltime="10 min"
    ) as pool:
        pool.scale(WORKERS)
        yield Pool(pool.submit, pool.map)


@contextmanager
def _dask_jobqueue() -> Iterator[Pool]:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

    with SLURMCluster(
        cores=1,
        processes=1,
        memory="1GiB",
        walltime="00:10:00",
        interface="lo",
        scheduler_options={"host": "127.0.0.1", "dashboard": False},
        worker_extra_args=["--no-dashboard"],
    ) as cluster:
        cluster.scale(jobs=WORKERS)
        with Client(cluster) as client:
            client.wait_for_workers(WORKERS)
            yield _dask_pool(client)


@contextmanager
def _executorlib_slurm() -> Iterator[Pool]:
    from executorlib import SlurmJobExecutor  # type: ignore[import-untyped,import-not-found,unused-ignore]

    _zmq_on_loopback()
    with SlurmJobExecutor(
        max_workers=WORKERS, resource_dict={"cores": 1}, block_allocation=True, hostname_localhost=True
    ) as pool:
        yield Pool(pool.submit, pool.map)


@contextmanager
def _parsl_slurm() -> Iterator[Pool]:
    from parsl.providers import SlurmProvider  # type: ignore[import-untyped,import-not-found,unused-ignore]

    provider = SlurmProvider(
        cores_per_node=1, mem_per_node=1, exclusive=False, init_blocks=WORKERS, min_blocks=WORKERS, max_blocks=WORKERS
    )
    with _parsl_pool(provider, 1) as pool:
        yield pool


MPI_POLLING = replace(LOCAL[MPI], open=functools.partial(_mpi4py, backoff=0))
"""Without pauses between its looks for messages: big ones are many messages, but all its processes use a CPU each."""

SLURM: dict[str, Peer] = {
    JOBPOOL_SLURM: Peer(_jobpool_slurm, "jobpool"),
    DASK_JOBQUEUE: Peer(_dask_jobqueue, "dask_jobqueue", slow=True),
    "executorlib on SLURM": Peer(_executorlib_slurm, "executorlib", slow=True),
    PARSL_SLURM: Peer(_parsl_slurm, "parsl", slow=True),
}
"""Two jobs of one worker each."""
