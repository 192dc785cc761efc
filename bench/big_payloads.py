"""Calls with 10 MB in and 10 MB out, on 2 workers, beside the peers: their time, and what the client's memory does.

All calls are submitted at once and their results taken in order, each forgotten when it has been looked at.
"buffersize" is jobpool's ``map`` with a few items ahead: what keeps the client's memory bounded however many calls
there are. Raw Dask has no TLS; jobpool has. mpi4py's processes pause between two looks for messages, of which a big
payload is many; "no pauses" is the same without, at the price of a CPU for each process. Both, and Parsl with its
encryption, get a few calls only.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import _common
import _processes
from _calls import echo
from _peers import (
    DASK,
    DASK_JOBQUEUE,
    JOBPOOL,
    JOBPOOL_SLURM,
    LOCAL,
    MPI,
    MPI_POLLING,
    PARSL,
    PARSL_SLURM,
    PROCESS_POOL,
    Peer,
    Pool,
)
from _places import PEERS, places

LIMIT = 1.0
"""Of the time that raw Dask takes."""

AHEAD = 4
"""Items ahead of the consumer with ``buffersize``: both workers have one, and another one waits."""

COPIES = 5
"""Times that what is in flight may be in the client's memory: as argument, pickled, encrypted, received, as result."""

TIME, CLIENT, SERVER, HOST = "ms per call", "client's peak, MB", "server's peak, MB", "host CPU ms per call"


def submitted(pool: Pool, payload: bytes, calls: int) -> Iterable[Any]:
    futures = deque(pool.submit(echo, payload) for _ in range(calls))
    while futures:
        yield pool.results([futures.popleft()])[0]


def buffered(pool: Pool, payload: bytes, calls: int) -> Iterable[Any]:
    return pool.map(echo, (payload for _ in range(calls)), buffersize=AHEAD)


def measured(options: argparse.Namespace, peer: Peer, run: Any = submitted) -> dict[str, float]:
    payload = os.urandom(options.megabytes * 10**6)
    with peer.open() as pool:
        pool.warm()
        for role in ("client", "server"):
            _processes.reset_peak(role)
        client, server = (_processes.resident_mb(role) for role in ("client", "server"))
        cpu, start = _processes.Cpu(), time.perf_counter()
        right = [result == payload for result in run(pool, payload, options.calls)]
        seconds, used = time.perf_counter() - start, cpu.by_role()
        peaks = {CLIENT: _processes.peak_mb("client") - client, SERVER: _processes.peak_mb("server") - server}
    if right != [True] * options.calls:
        raise SystemExit("the results are wrong")
    host = used["client"] + used["server"]
    return {TIME: seconds / options.calls * 1e3, HOST: host / options.calls * 1e3, **peaks}


BUFFERED = f"{JOBPOOL}, buffersize"
NO_PAUSES = f"{MPI}, no pauses"
FEW = (MPI, NO_PAUSES, PARSL, PARSL_SLURM)
"""Parts that take seconds for a call."""

PARTS = {
    **{name: functools.partial(measured, peer=peer) for name, peer in PEERS.items() if not peer.maps_only},
    NO_PAUSES: functools.partial(measured, peer=MPI_POLLING),
    BUFFERED: functools.partial(measured, peer=LOCAL[JOBPOOL], run=buffered),
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True,
        quick={"repeats": 1, "calls": 10, "few": 3}, repeats=3, calls=100, few=10, megabytes=10,
    )  # fmt: skip
    print(_common.machine())
    for place in places(options):
        for calls, without in ((options.few, [part for part in PARTS if part not in FEW]), (options.calls, FEW)):
            subject = f"{calls} calls with {options.megabytes} MB in and out"
            runs = place.run(
                subject, PARTS, options, ["--calls", calls, "--megabytes", options.megabytes], without=without
            )
            _common.show(runs, {TIME: ".1f", HOST: ".1f", CLIENT: ".0f", SERVER: ".0f"}, against=PROCESS_POOL)
        jobpool, dask = (JOBPOOL, DASK) if place.peers is LOCAL else (JOBPOOL_SLURM, DASK_JOBQUEUE)
        _common.limit(f"big payloads, of {dask}'s time", _common.ratio(runs, jobpool, dask, TIME), at_most=LIMIT)
        if place.peers is LOCAL:
            most = COPIES * AHEAD * options.megabytes
            peak = _common.median(runs, BUFFERED, CLIENT)
            _common.limit("the client's memory with buffersize", peak, at_most=most, unit=" MB")
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
