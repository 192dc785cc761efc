"""How much of two workers calls of mixed length keep busy: many short ones, some of ten times their length.

The order is shuffled, always in the same way. A call uses a given amount of CPU, so that it is the same work on a busy
machine. All parts keep to two CPUs, the client and the server too. The ideal is what two bare processes take, each with
every second call of each length, in the same turn.

Others who use the machine spoil that ratio. Beside it stands one that they hardly move: of the CPU time that the calls
used, the pool used besides, and the two CPUs stood idle, the part that the calls used.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import sys
import time
from collections.abc import Callable

import _common
import _processes
from _calls import burn
from _peers import JOBPOOL, JOBPOOL_SLURM, LOCAL, WORKERS, Peer
from _places import PEERS, places

LIMIT = 0.95
"""Of the ideal."""

SHORT, LONG = 0.005, 0.050
"""CPU seconds of a call."""

IDEAL = "bare processes"

EFFICIENCY, ALONE, SECONDS = "part of the ideal", "without others' CPU", "seconds"


def lengths(options: argparse.Namespace) -> list[float]:
    calls = [SHORT] * options.short + [LONG] * options.long
    random.Random(3).shuffle(calls)
    return calls


def burn_all(calls: list[float]) -> None:
    for seconds in calls:
        burn(seconds)


def ideal(options: argparse.Namespace) -> dict[str, float]:
    calls, cpus = sorted(lengths(options)), _processes.keep_to(WORKERS)
    processes = [multiprocessing.Process(target=burn_all, args=(calls[first::WORKERS],)) for first in range(WORKERS)]
    start, idle = time.perf_counter(), _processes.idle_seconds(cpus)
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds, idle = time.perf_counter() - start, _processes.idle_seconds(cpus) - idle
    return {SECONDS: seconds, "idle CPU s": idle, ALONE: sum(calls) / (sum(calls) + idle)}


def measured(options: argparse.Namespace, peer: Peer, *, by_map: bool = False) -> dict[str, float]:
    calls, cpus = lengths(options), _processes.keep_to(WORKERS)
    with peer.open() as pool:
        pool.warm()
        cpu, start, idle = _processes.Cpu(), time.perf_counter(), _processes.idle_seconds(cpus)
        if by_map or peer.maps_only:
            results = list(pool.map(burn, calls))
        else:
            results = pool.results([pool.submit(burn, seconds) for seconds in calls])
        seconds, idle, used = (
            time.perf_counter() - start,
            _processes.idle_seconds(cpus) - idle,
            sum(cpu.by_role().values()),
        )
    if results != calls:
        raise SystemExit("the results are wrong")
    return {
        SECONDS: seconds,
        "idle CPU s": idle,
        "CPU s besides": used - sum(calls),
        ALONE: sum(calls) / (used + idle),
    }


MAPS = {f"{name}, map": PEERS[name] for name in (JOBPOOL, JOBPOOL_SLURM)}
PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    IDEAL: ideal,
    **{name: functools.partial(measured, peer=peer) for name, peer in PEERS.items()},
    **{name: functools.partial(measured, peer=peer, by_map=True) for name, peer in MAPS.items()},
}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv, peers=True,
        quick={"repeats": 1, "short": 400, "long": 40}, repeats=3, short=2000, long=200,
    )  # fmt: skip
    print(_common.machine())
    for place in places(options):
        subject = f"{options.short} calls of 5 ms, {options.long} of 50 ms"
        runs = place.run(subject, PARTS, options, ["--short", options.short, "--long", options.long])
        for turns in runs.values():
            for turn, bare in zip(turns, runs[IDEAL], strict=True):
                turn[EFFICIENCY] = bare[SECONDS] / turn[SECONDS]
        _common.show(
            runs, {EFFICIENCY: ".3f", ALONE: ".3f", SECONDS: ".2f", "idle CPU s": ".2f", "CPU s besides": ".2f"}
        )
        jobpool = JOBPOOL if place.peers is LOCAL else JOBPOOL_SLURM
        for part in (jobpool, f"{jobpool}, map"):
            _common.limit(f"{part}, of the ideal", _common.median(runs, part, EFFICIENCY), at_least=LIMIT)
            _common.limit(f"{part}, without others' CPU", _common.median(runs, part, ALONE), at_least=LIMIT)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
