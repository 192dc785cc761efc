"""What one call that does nothing costs in ``pool.map``, on 2 local workers, beside the peers.

All workers are up and have answered before the clock starts; it stops when the last result is there, in order. In
jobpool and in raw Dask each item is a call with a Future; "chunks" hands 250 items to each call, as one would with
``ProcessPoolExecutor``. Dask's keys are made with ``pure=False``: cheaper for it, and what an executor does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import _common

LIMIT = 0.1
"""Of the time that raw ``Client.map`` takes."""

CHUNK = 250
"""Items per chunk: 40 chunks of 10,000 items keep two workers busy to the end, and cost little each."""


def nothing(item: int) -> int:
    return item


def measured(options: argparse.Namespace, run: Callable[[Iterable[int]], Iterable[Any]]) -> dict[str, float]:
    # Not one call but enough that both workers are up and the pace of the calls is known.
    list(run(range(200)))
    start = time.perf_counter()
    results = list(run(range(options.items)))
    seconds = time.perf_counter() - start
    if results != list(range(options.items)):
        raise SystemExit("the results are wrong")
    return {"us per item": seconds / options.items * 1e6, "seconds": seconds}


def jobpool_each(options: argparse.Namespace, chunksize: int | None = None) -> dict[str, float]:
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(max_workers=2, scheduler="local") as pool:
        pool.scale(2)
        return measured(options, lambda items: pool.map(nothing, items, chunksize=chunksize))


def jobpool_chunks(options: argparse.Namespace) -> dict[str, float]:
    return jobpool_each(options, CHUNK)


def process_pool(options: argparse.Namespace, chunksize: int = 1) -> dict[str, float]:
    with ProcessPoolExecutor(max_workers=2) as pool:
        return measured(options, lambda items: pool.map(nothing, items, chunksize=chunksize))


def process_pool_chunks(options: argparse.Namespace) -> dict[str, float]:
    return process_pool(options, CHUNK)


def client_map(options: argparse.Namespace) -> dict[str, float]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        return measured(options, lambda items: client.gather(client.map(nothing, items, pure=False)))


PARTS = {
    "jobpool": jobpool_each,
    "Client.map": client_map,
    "ProcessPoolExecutor": process_pool,
    "jobpool, chunks": jobpool_chunks,
    "ProcessPoolExecutor, chunks": process_pool_chunks,
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, PARTS, argv, repeats=3, items=10_000)
    print(f"{_common.machine()}\n\n{options.items} calls that do nothing, 2 local workers")
    with _common.home() as env:
        runs = _common.in_turns(list(PARTS), repeats=options.repeats, env=env, options=["--items", options.items])
    _common.show(runs, {"us per item": ".1f", "seconds": ".2f"}, against="Client.map")
    times = [_common.median(runs, part, "us per item") for part in ("jobpool", "Client.map")]
    _common.limit("of raw Client.map's time", times[0] / times[1], at_most=LIMIT)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
