"""Where the CPU time of one call that does nothing goes: hop by hop, for ``submit`` and for ``map``.

CPU and not wall time: the hops work at the same time, and a machine with more CPUs than two runs more of them beside
each other. What stays is the work. On the way of a call: the client's main thread pickles it and makes its Future; the
client's other threads send bundles and resolve Futures; the server decides where it runs; the agent hands it to one of
its workers and back; the worker runs it.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time

import _common
import _processes
from _calls import nothing
from _peers import LOCAL, Peer
from _places import places

WALL, MAIN, THREADS = "wall", "client's main thread", "client's other threads"
HOPS = (MAIN, THREADS, "server", "agent", "workers", WALL)


def threads() -> dict[str, float]:
    used = _processes.client_threads()
    main = used.pop("MainThread")
    return {MAIN: main, THREADS: sum(used.values())}


def measured(options: argparse.Namespace, peer: Peer, *, by_map: bool) -> dict[str, float]:
    items = range(options.calls)
    with peer.open() as pool:
        pool.warm()
        cpu, before, start = _processes.Cpu(), threads(), time.perf_counter()
        if by_map:
            results = list(pool.map(nothing, items))
        else:
            results = pool.results([pool.submit(nothing, item) for item in items])
        wall, after, used = time.perf_counter() - start, threads(), cpu.by_role()
    if results != list(items):
        raise SystemExit("the results are wrong")
    del used["client"]
    seconds = {WALL: wall, **{hop: after[hop] - before[hop] for hop in after}, **used}
    return {hop: seconds.get(hop, 0.0) / options.calls * 1e6 for hop in HOPS}


WAYS = {"submit": False, "map": True}
PARTS = {
    f"{name}, {way}": functools.partial(measured, peer=peer, by_map=by_map)
    for name, peer in LOCAL.items()
    for way, by_map in WAYS.items()
    if by_map or not peer.maps_only
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True, quick={"repeats": 1, "calls": 10_000, "few": 1000},
        repeats=3, calls=100_000, few=10_000,
    )  # fmt: skip
    options.where = "local"
    print(_common.machine())
    for place in places(options):
        for calls, is_slow in ((options.few, True), (options.calls, False)):
            without = [part for part in PARTS if LOCAL[part.partition(",")[0]].slow != is_slow]
            subject = f"microseconds of CPU per call, {calls} calls"
            runs = place.run(subject, PARTS, options, ["--calls", calls], without=without)
            _common.show(runs, dict.fromkeys(HOPS, ".1f"))
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
