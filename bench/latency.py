"""How long a single call takes there and back on an idle pool of 2 workers, beside the peers.

The calls come one at a time, each a few milliseconds after the last one's result, so that the pool is idle but not
asleep.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time

import _common
from _calls import nothing
from _peers import JOBPOOL, JOBPOOL_SLURM, LOCAL, PARSL, PARSL_SLURM, PROCESS_POOL, Peer
from _places import PEERS, places

PAUSE = 0.005
"""Seconds between two calls."""

MEDIAN, P95 = "median ms", "95 % below, ms"


def measured(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    taken = []
    with peer.open() as pool:
        pool.warm()
        for item in range(options.calls):
            time.sleep(PAUSE)
            start = time.perf_counter()
            [result] = pool.results([pool.submit(nothing, item)])
            taken.append((time.perf_counter() - start) * 1e3)
            if result != item:
                raise SystemExit("the result is wrong")
    return {MEDIAN: statistics.median(taken), P95: statistics.quantiles(taken, n=20)[-1]}


PARTS = {name: functools.partial(measured, peer=peer) for name, peer in PEERS.items() if not peer.maps_only}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True, quick={"repeats": 1, "calls": 100}, repeats=3, calls=500
    )
    print(_common.machine())
    for place in places(options):
        runs = place.run(f"a single call, {options.calls} times", PARTS, options, ["--calls", options.calls])
        _common.show(runs, {MEDIAN: ".2f", P95: ".2f"}, against=PROCESS_POOL)
        jobpool, parsl = (JOBPOOL, PARSL) if place.peers is LOCAL else (JOBPOOL_SLURM, PARSL_SLURM)
        _common.limit(f"latency, of {parsl}'s median", _common.ratio(runs, jobpool, parsl, MEDIAN), at_most=1)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
