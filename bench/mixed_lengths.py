"""How much of two workers calls of mixed length keep busy: many short ones, some of ten times their length.

The order is shuffled, always in the same way. A call uses a given amount of CPU, so that it is the same work on a busy
machine. The ideal is what two bare processes take, each with every second call of each length, in the same turn. The
machine's idle CPU in the time of the calls tells losses apart: what a pool lets stand idle, and what it uses itself.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import sys
import time

import _common
import _processes
import psutil
from _calls import burn
from _peers import JOBPOOL, LOCAL, WORKERS, Peer, here

LIMIT = 0.95
"""Of the ideal."""

SHORT, LONG = 0.005, 0.050
"""CPU seconds of a call."""

IDEAL = "bare processes"

EFFICIENCY, SECONDS = "part of the ideal", "seconds"


def lengths(options: argparse.Namespace) -> list[float]:
    calls = [SHORT] * options.short + [LONG] * options.long
    random.Random(3).shuffle(calls)
    return calls


def burn_all(calls: list[float]) -> None:
    for seconds in calls:
        burn(seconds)


def ideal(options: argparse.Namespace) -> dict[str, float]:
    calls = sorted(lengths(options))
    processes = [multiprocessing.Process(target=burn_all, args=(calls[first::WORKERS],)) for first in range(WORKERS)]
    start, idle = time.perf_counter(), psutil.cpu_times().idle
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return {SECONDS: time.perf_counter() - start, "idle CPU s": psutil.cpu_times().idle - idle}


def measured(options: argparse.Namespace, peer: Peer) -> dict[str, float]:
    calls = lengths(options)
    with peer.open() as pool:
        pool.warm()
        cpu, start, idle = _processes.Cpu(), time.perf_counter(), psutil.cpu_times().idle
        if peer.maps_only:
            results = list(pool.map(burn, calls))
        else:
            results = pool.results([pool.submit(burn, seconds) for seconds in calls])
        seconds, idle, used = time.perf_counter() - start, psutil.cpu_times().idle - idle, cpu.by_role()
    if results != calls:
        raise SystemExit("the results are wrong")
    return {SECONDS: seconds, "idle CPU s": idle, "CPU s above the calls'": used.total() - sum(calls)}


PARTS = {IDEAL: ideal, **{name: functools.partial(measured, peer=peer) for name, peer in LOCAL.items()}}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, PARTS, argv,
        quick={"repeats": 1, "short": 400, "long": 40}, repeats=3, short=2000, long=200,
    )  # fmt: skip
    print(f"{_common.machine()}\n\n{options.short} calls of 5 ms, {options.long} of 50 ms, 2 local workers")
    parts = [IDEAL, *_common.chosen(here(LOCAL), options)]
    with _common.home() as env:
        runs = _common.in_turns(
            parts, repeats=options.repeats, env=env,
            options=["--short", options.short, "--long", options.long], may_fail=parts[2:],
        )  # fmt: skip
    for turns in runs.values():
        for turn, bare in zip(turns, runs[IDEAL], strict=True):
            turn[EFFICIENCY] = bare[SECONDS] / turn[SECONDS]
    _common.show(runs, {EFFICIENCY: ".3f", SECONDS: ".2f", "idle CPU s": ".2f", "CPU s above the calls'": ".2f"})
    _common.limit("mixed lengths, of the ideal", _common.median(runs, JOBPOOL, EFFICIENCY), at_least=LIMIT)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
