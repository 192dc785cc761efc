"""What one item costs in ``map``, for a call that does nothing, on 2 workers, beside the peers.

All workers are up and have answered before the clock starts; it stops when the last result is there, in order. jobpool
is given no ``chunksize``. ``ProcessPoolExecutor`` and loky are measured with 1 and with several good ones, of which the
best counts: what its user can reach who knows how long the calls are. joblib chooses its batches itself. In raw Dask
each item is a task, with ``pure=False``: cheaper for it, and what an executor does.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import _common
import _processes
from _calls import nothing
from _peers import DASK, DASK_JOBQUEUE, JOBPOOL, JOBPOOL_SLURM, LOCAL, PROCESS_POOL, Peer, Pool
from _places import PEERS, Place, places
from _processes import ALL_CPU, HOST_CPU

PROCESS_POOL_LIMIT = 3.0
"""Of the time of ProcessPoolExecutor with its best chunksize."""

DASK_LIMIT = 0.1
"""Of the time that raw ``Client.map`` takes."""

GROWTH_LIMIT = 1.2
"""An item among many costs at most this much of an item among few; a fifth is what turns differ by anyway."""

BUFFER = 10_000
"""Items ahead of the consumer, in the part that looks at memory."""

MEMORY_LIMIT = 10.0
"""MB that the client may grow more for many items than for few, when ``buffersize`` is given."""

CHUNKS = (500, 2000, 8000)
"""Good chunk sizes: enough chunks to keep two workers busy to the end, few enough that they cost little each."""

TIME, GROWN = "us per item", "client grows, MB"
BEST = f"{PROCESS_POOL}, best chunks"
BUFFERED = f"{JOBPOOL}, buffersize"


def timed(options: argparse.Namespace, results: Iterable[Any], start: float) -> float:
    """Take all results, and return the microseconds per item since the start."""
    count = 0
    for expected, result in enumerate(results):
        count += result == expected
    if count != options.items:
        raise SystemExit("the results are wrong")
    return (time.perf_counter() - start) / float(options.items) * 1e6


def each(options: argparse.Namespace, peer: Peer, **how: int) -> dict[str, float]:
    with peer.open() as pool:
        pool.warm()
        return once(options, pool, **how)


def once(options: argparse.Namespace, pool: Pool, **how: int) -> dict[str, float]:
    before, cpu = _processes.resident_mb(), _processes.Cpu()
    _processes.reset_peak()
    start = time.perf_counter()
    microseconds = timed(options, pool.map(nothing, range(options.items), **how), start)
    return {
        TIME: microseconds,
        **cpu.figures(options.items),
        GROWN: _processes.peak_mb() - before,
    }


def best(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    with peer.open() as pool:
        pool.warm()
        tried = [{**once(options, pool, chunksize=size), "chunksize": size} for size in CHUNKS]
    return min(tried, key=lambda figures: figures[TIME])


def endless(options: argparse.Namespace) -> Iterator[int]:
    """Items that are made when asked for: a range would do, but ``map`` must not rely on a length."""
    yield from range(options.items)


def buffered(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    with peer.open() as pool:
        pool.warm()
        before = _processes.resident_mb()
        _processes.reset_peak()
        start = time.perf_counter()
        microseconds = timed(options, pool.map(nothing, endless(options), buffersize=BUFFER), start)
        return {TIME: microseconds, GROWN: _processes.peak_mb() - before}


SINGLY = 100_000
"""Items at most for a pool of processes with a chunksize of 1: more take gigabytes there, and cost the same each."""

PARTS = {
    **{name: functools.partial(each, peer=peer) for name, peer in PEERS.items()},
    BEST: functools.partial(best, peer=LOCAL[PROCESS_POOL]),
    "loky, best chunks": functools.partial(best, peer=LOCAL["loky"]),
    BUFFERED: functools.partial(buffered, peer=LOCAL[JOBPOOL]),
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True,
        quick={"repeats": 1, "few": 2000, "items": 20_000, "many": 100_000},
        repeats=3, few=10_000, items=100_000, many=1_000_000,
    )  # fmt: skip
    print(_common.machine())
    for place in places(options):
        few, some, many = (in_turns(place, options, items) for items in (options.few, options.items, options.many))
        if place.peers is LOCAL:
            _common.limit("of raw Client.map's time", _common.ratio(few, JOBPOOL, DASK, TIME), at_most=DASK_LIMIT)
            judge(options, some, many)
        else:
            of_dask = _common.ratio(few, JOBPOOL_SLURM, DASK_JOBQUEUE, TIME)
            _common.limit("of dask-jobqueue's Client.map's time", of_dask, at_most=DASK_LIMIT)
    return _common.finish(options)


def in_turns(place: Place, options: argparse.Namespace, items: int) -> _common.Runs:
    left_out = {name for name, peer in PEERS.items() if peer.slow} if items > options.few else set()
    if items > SINGLY:
        left_out |= {PROCESS_POOL, "loky"}
    runs = place.run(f"{items} items, calls that do nothing", PARTS, options, ["--items", items], without=left_out)
    _common.show(runs, {TIME: ".2f", HOST_CPU: ".3f", ALL_CPU: ".2f", GROWN: ".1f", "chunksize": ".0f"}, against=BEST)
    return runs


def judge(options: argparse.Namespace, some: _common.Runs, many: _common.Runs) -> None:
    for items, runs in ((options.items, some), (options.many, many)):
        _common.limit(
            f"{items} items, of ProcessPoolExecutor's time with its best chunksize",
            _common.ratio(runs, JOBPOOL, BEST, TIME),
            at_most=PROCESS_POOL_LIMIT,
        )
    growth = _common.median(many, JOBPOOL, TIME) / _common.median(some, JOBPOOL, TIME)
    _common.limit(f"time of an item among {options.many}, of one among {options.items}", growth, at_most=GROWTH_LIMIT)
    growth = _common.median(many, JOBPOOL, ALL_CPU) / _common.median(some, JOBPOOL, ALL_CPU)
    _common.limit("the same in CPU of all processes", growth, at_most=GROWTH_LIMIT)
    more = _common.median(many, BUFFERED, GROWN) - _common.median(some, BUFFERED, GROWN)
    _common.limit("memory with buffersize, for more items", more, at_most=MEMORY_LIMIT, unit=" MB")


if __name__ == "__main__":
    sys.exit(main())
