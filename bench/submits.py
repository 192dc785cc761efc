"""What one call that does nothing costs when each is submitted and all are awaited, on 2 workers, beside the peers.

All workers are up and have answered before the clock starts; it stops when the last result is there. Beside the time
stand the CPU seconds of client and server, which is what a busy submit host has to bear: no worker's, no agent's.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time

import _common
import _processes
from _calls import nothing
from _peers import DASK, DASK_JOBQUEUE, JOBPOOL, JOBPOOL_SLURM, LOCAL, PROCESS_POOL, Peer
from _places import PEERS, Place, places
from _processes import ALL_CPU, HOST_CPU

PROCESS_POOL_LIMIT = 0.6
"""Of the time that ProcessPoolExecutor takes."""

DASK_LIMIT = 1 / 30
"""Of the time that raw ``Client.submit`` takes."""

CPU_LIMIT = 0.1
"""Of the CPU seconds of client and server that raw Dask takes."""

TIME = "us per call"


def measured(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    with peer.open() as pool:
        pool.warm()
        cpu, start = _processes.Cpu(), time.perf_counter()
        futures = [pool.submit(nothing, item) for item in range(options.calls)]
        submitted = time.perf_counter()
        results = pool.results(futures)
        end, used = time.perf_counter(), cpu.figures(options.calls)
    if results != list(range(options.calls)):
        raise SystemExit("the results are wrong")
    return {
        TIME: (end - start) / options.calls * 1e6,
        "of it submit": (submitted - start) / options.calls * 1e6,
        **used,
    }


PARTS = {name: functools.partial(measured, peer=peer) for name, peer in PEERS.items() if not peer.maps_only}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True,
        quick={"repeats": 1, "calls": 2000, "many": 10_000}, repeats=3, calls=10_000, many=100_000,
    )  # fmt: skip
    print(_common.machine())
    for place in places(options):
        few, many = (in_turns(place, options, calls) for calls in (options.calls, options.many))
        if place.peers is LOCAL:
            judge(options.calls, few, few, JOBPOOL, DASK)
            judge(options.many, many, few, JOBPOOL, DASK)
        else:
            judge(options.calls, few, few, JOBPOOL_SLURM, DASK_JOBQUEUE)
            judge(options.many, many, few, JOBPOOL_SLURM, DASK_JOBQUEUE)
    return _common.finish(options)


def in_turns(place: Place, options: argparse.Namespace, calls: int) -> _common.Runs:
    slow = [] if calls == options.calls else [name for name, peer in PEERS.items() if peer.slow]
    runs = place.run(f"{calls} submits of a call that does nothing", PARTS, options, ["--calls", calls], without=slow)
    _common.show(runs, {TIME: ".1f", "of it submit": ".1f", HOST_CPU: ".2f", ALL_CPU: ".1f"}, against=PROCESS_POOL)
    return runs


def judge(calls: int, runs: _common.Runs, few: _common.Runs, jobpool: str, dask: str) -> None:
    if jobpool == JOBPOOL:
        of_process_pool = _common.ratio(runs, JOBPOOL, PROCESS_POOL, TIME)
        _common.limit(f"{calls} submits, of ProcessPoolExecutor's time", of_process_pool, at_most=PROCESS_POOL_LIMIT)
    # Dask is measured with few calls alone: they get no cheaper with their number.
    both = {jobpool: runs[jobpool], dask: few.get(dask, [])}
    for what, figure, most in (("time", TIME, DASK_LIMIT), ("host CPU", HOST_CPU, CPU_LIMIT)):
        _common.limit(f"{calls} submits, of {dask}'s {what}", _common.ratio(both, jobpool, dask, figure), at_most=most)


if __name__ == "__main__":
    sys.exit(main())
