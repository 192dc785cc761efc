"""What a pending call costs in memory: in the client, with its Future, and in the server.

Both workers are held by a call that waits for a file. Then come the calls that cannot start. The client is measured
when the last ``submit`` has returned, the server when its memory has stopped growing; the second time after a while in
which nothing happens. Then the file is made, all calls end, and everything is done twice more: what the third time adds
to the second, leaks. (What is kept of a run for its report is bounded, and full after two.)
"""

from __future__ import annotations

import argparse
import functools
import gc
import sys
import time
from pathlib import Path

import _common
import _processes
from _calls import hold, nothing
from _peers import JOBPOOL, LOCAL, WORKERS, Peer, Pool
from _places import places

CLIENT_LIMIT = 1.5
"""KB for a pending submit in the client."""

SERVER_LIMIT = 2.0
"""MB that the server may grow while nothing happens, and in a third round of the same."""

SETTLED = 0.1
"""MB within which memory counts as unchanged."""

LOOK = 0.25
"""Seconds between two looks at the server's memory."""

CLIENT, SERVER = "client KB per call", "server KB per call"
IDLE_GROWTH, LEAK = "server grows idle, MB", "... in round 3, MB"


def settled() -> float:
    """Return the server's memory when it has not changed for four looks. 0: there is no server."""
    seen = [_processes.resident_mb("server")]
    while seen[0] and (len(seen) < 5 or max(seen[-5:]) - min(seen[-5:]) > SETTLED):
        time.sleep(LOOK)
        seen.append(_processes.resident_mb("server"))
    return seen[-1]


def once(options: argparse.Namespace, pool: Pool, gate: Path) -> dict[str, float]:
    gate.unlink(missing_ok=True)
    held = [pool.submit(hold, str(gate)) for _ in range(WORKERS)]
    items = list(range(options.calls))
    gc.collect()
    client, server = _processes.resident_mb(), settled()
    futures = [pool.submit(nothing, item) for item in items]
    gc.collect()
    client = _processes.resident_mb() - client
    full = settled()
    time.sleep(options.idle)
    later = _processes.resident_mb("server")
    gate.touch()
    if pool.results(futures) != items:
        raise SystemExit("the results are wrong")
    pool.results(held)
    return {
        CLIENT: client / options.calls * 1e3,
        SERVER: (full - server) / options.calls * 1e3,
        IDLE_GROWTH: later - full,
        "server MB": full,
    }


def measured(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    with peer.open() as pool:
        pool.warm()
        first, second, third = (once(options, pool, Path("gate").absolute()) for _ in range(3))
    return {**first, LEAK: third["server MB"] - second["server MB"]}


PARTS = {name: functools.partial(measured, peer=peer) for name, peer in LOCAL.items() if not peer.maps_only}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True,
        quick={"repeats": 1, "calls": 5000, "few": 1000, "idle": 1}, repeats=3, calls=100_000, few=10_000, idle=5,
    )  # fmt: skip
    options.where = "local"
    print(_common.machine())
    for place in places(options):
        for calls, without in ((options.few, fast()), (options.calls, slow())):
            runs = place.run(
                f"{calls} pending calls", PARTS, options, ["--calls", calls, "--idle", options.idle], without=without
            )
            _common.show(runs, {CLIENT: ".2f", SERVER: ".2f", "server MB": ".0f", IDLE_GROWTH: ".1f", LEAK: ".1f"})
        per_call = _common.median(runs, JOBPOOL, CLIENT)
        _common.limit("a pending submit in the client", per_call, at_most=CLIENT_LIMIT, unit=" KB")
        for figure in (IDLE_GROWTH, LEAK):
            grown = _common.median(runs, JOBPOOL, figure)
            _common.limit(figure.replace("...", "server grows"), grown, at_most=SERVER_LIMIT, unit=" MB")
    return _common.finish(options)


def slow() -> list[str]:
    return [name for name, peer in LOCAL.items() if peer.slow]


def fast() -> list[str]:
    return [name for name, peer in LOCAL.items() if not peer.slow]


if __name__ == "__main__":
    sys.exit(main())
