"""What the meter of a job costs: CPU time of the agent while calls run, with 1, 8 and 32 workers, and nested pools.

Each worker runs one call that holds memory far below its limit, or close to it (``near``: looked at as often as the
meter ever looks), or has forked three processes that share it (``pool``: what they share is counted page by page). The
agent does nothing else meanwhile, so that all its CPU time is the meter's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable

import _common

from jobpool.agent.reports import Report
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.workers import Workers
from jobpool.host.private_directory import open_directory
from jobpool.model.call import Call
from jobpool.serialize import pickling
from jobpool.transport.messages.agent import Started
from jobpool.transport.messages.base import Function

LIMIT = 96 * 2**20
NEAR = 0.9
"""A look every 10 ms, but for the share."""
MOST = 0.01


def hold(size: int, processes: int) -> None:
    block = bytearray(b"x") * size
    for _ in range(processes):
        if not os.fork():
            break
    signal.pause()
    del block


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def share(workers: int, size: int, processes: int, seconds: float) -> float:
    """Return the CPUs that the agent uses while so many calls run."""
    running = asyncio.Event()
    started: set[int] = set()

    def take(report: Report) -> None:
        if isinstance(report, Started):
            started.update(report.ids)
            if len(started) == workers:
                running.set()

    with tempfile.TemporaryDirectory() as directory:
        settings = WorkerSettings(
            size=workers, logs=open_directory(directory), environment={}, working_directory=None, sys_path=(),
            initializer=None, max_tasks_per_child=None, cpus=None, memory=LIMIT,
        )  # fmt: skip
        pool = Workers(settings, take)
        await pool.start()
        key, function = pickling.dumps_function(hold)
        pool.define([Function(key, function)])
        for id in range(workers):
            pool.submit([Call(id, key, pickling.dumps_arguments((size, processes), {}))])
        await running.wait()
        await asyncio.sleep(2)  # all are as large as they get, and what was saved up is spent
        begin, used = asyncio.get_running_loop().time(), cpu()
        await asyncio.sleep(seconds)
        used, passed = cpu() - used, asyncio.get_running_loop().time() - begin
        if len(pool.memory) != workers:
            raise RuntimeError(f"only {len(pool.memory)} of {workers} calls are seen")
        await pool.close(drain=False)
    return used / passed


def part(workers: int, size: int, processes: int = 0) -> Callable[[argparse.Namespace], dict[str, float]]:
    return lambda options: {"of a CPU": asyncio.run(share(workers, size, processes, options.seconds))}


FAR_SIZE, NEAR_SIZE = LIMIT // 4, int(LIMIT * NEAR) - 2**24  # an idle worker has some 16 MiB of its own
PARTS = {
    **{f"{workers} workers, far": part(workers, FAR_SIZE) for workers in (1, 8, 32)},
    **{f"{workers} workers, near": part(workers, NEAR_SIZE) for workers in (1, 8, 32)},
    "8 workers, pool": part(8, FAR_SIZE, 3),
}


def main(argv: list[str] | None = None) -> int:
    quick = {"repeats": 1, "seconds": 3}
    options = _common.arguments(__doc__, PARTS, argv, quick=quick, repeats=3, seconds=10)
    print(_common.machine())
    with _common.home() as env:
        runs = _common.in_turns(list(PARTS), repeats=options.repeats, env=env, options=["--seconds", options.seconds])
    _common.show(runs, {"of a CPU": ".4f"})
    for name in PARTS:
        _common.limit(f"{name}: of a CPU", _common.median(runs, name, "of a CPU"), at_most=MOST)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
