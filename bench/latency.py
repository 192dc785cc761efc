"""How long a single call takes there and back on an idle pool of 2 local workers, beside the peers.

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
import _peers
from _calls import nothing
from _peers import JOBPOOL, LOCAL, PARSL, PROCESS_POOL, Peer

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


PARTS = {name: functools.partial(measured, peer=peer) for name, peer in LOCAL.items() if not peer.maps_only}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, quick={"repeats": 1, "calls": 100}, repeats=3, calls=500
    )  # fmt: skip
    print(f"{_common.machine()}\n\na single call, {options.calls} times, 2 local workers")
    parts = _peers.parts_here(PARTS, LOCAL, options.only)
    with _common.home() as env:
        runs = _peers.in_turns(parts, LOCAL, repeats=options.repeats, env=env, options=["--calls", options.calls])
    _common.show(runs, {MEDIAN: ".2f", P95: ".2f"}, against=PROCESS_POOL)
    _common.limit("latency, of Parsl's median", _common.ratio(runs, JOBPOOL, PARSL, MEDIAN), at_most=1)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
