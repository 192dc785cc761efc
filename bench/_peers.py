"""The peers, each with two workers on this machine or two jobs of a SLURM, behind one face.

A peer that is not installed is named, and takes no part. All listen on loopback only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from _calls import nothing

__all__ = ["DASK", "JOBPOOL", "LOCAL", "PROCESS_POOL", "SLURM", "WORKERS", "Peer", "Pool", "here"]

WORKERS = 2

JOBPOOL = "jobpool"
PROCESS_POOL = "ProcessPoolExecutor"
DASK = "raw Dask"


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
        """Wait until all workers are up, and the pace of calls is known to who measures it."""
        self.results([self.submit(nothing, item) for item in range(200)])


@dataclass(frozen=True)
class Peer:
    """How to open a pool, and what it needs."""

    open: Callable[[], AbstractContextManager[Pool]]
    module: str
    """The peer takes part when this can be imported."""
    maps_only: bool = False
    """It has no ``submit``."""
    at_most: int | None = None
    """Calls it is asked for; more take minutes or gigabytes, and cost no less each."""


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


LOCAL: dict[str, Peer] = {
    JOBPOOL: Peer(_jobpool, "jobpool"),
    PROCESS_POOL: Peer(_process_pool, "concurrent.futures"),
    DASK: Peer(_dask, "distributed", at_most=10_000),
    "loky": Peer(_loky, "loky"),
}
"""Two workers on this machine."""

SLURM: dict[str, Peer] = {}
"""Two jobs of one worker each."""


def here(peers: dict[str, Peer], calls: int | None = None) -> list[str]:
    """Return the names of the peers that are installed and fit for so many calls, and say who is not installed."""
    missing = [name for name, peer in peers.items() if not importlib.util.find_spec(peer.module)]
    if missing:
        print(f"not installed, skipped: {', '.join(missing)}")
    fit = [name for name, peer in peers.items() if calls is None or peer.at_most is None or calls <= peer.at_most]
    return [name for name in fit if name not in missing]
