"""What a call costs on the workers of one job, beside ProcessPoolExecutor: microseconds per no-op call, and latency.

For each size of bundle: wall time per call, CPU time per call of the agent (this process) and of the workers, with one
worker and bundles handed in one after the other, as a server does. ``chunksize`` is the peer's word for a bundle.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import _common

from jobpool.agent.reports import Report
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.workers import Workers
from jobpool.host.private_directory import open_directory
from jobpool.model.call import Call
from jobpool.serialize import pickling
from jobpool.transport.messages.agent import Done
from jobpool.transport.messages.base import Function

SIZES = (1, 10, 100, 1000)


def noop(x: int) -> int:
    return x


def cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Bench:
    def __init__(self, directory: Path) -> None:
        settings = WorkerSettings(
            size=1, logs=open_directory(directory), environment={}, working_directory=None, sys_path=(),
            initializer=None, max_tasks_per_child=None, cpus=None,
        )  # fmt: skip
        self.workers = Workers(settings, self._take)
        self._done = 0
        self._reports = 0
        self._wanted = 0
        self._reached: asyncio.Event = asyncio.Event()
        self._key, function = pickling.dumps_function(noop)
        self.workers.define([Function(self._key, function)])

    def _take(self, report: Report) -> None:
        self._reports += 1
        if isinstance(report, Done):
            self._done += len(report.outcomes)
            if self._done >= self._wanted:
                self._reached.set()

    async def run(self, calls: int, bundle: int) -> tuple[float, float, float, float]:
        """Return microseconds per call (wall, agent's CPU, worker's CPU) and reports per call."""
        arguments = [pickling.dumps_arguments((n,), {}) for n in range(calls)]
        bundles = [
            [Call(n, self._key, arguments[n]) for n in range(start, min(start + bundle, calls))]
            for start in range(0, calls, bundle)
        ]
        self._done, self._reports, self._wanted = 0, 0, calls
        self._reached.clear()
        (pid,) = [slot.pid for slot in self.workers._slots.values()]
        assert pid is not None
        own, worker, wall = cpu(resource.RUSAGE_SELF), tree_cpu(pid), time.perf_counter()
        for one in bundles:
            self.workers.submit(one)
        await self._reached.wait()
        wall = time.perf_counter() - wall
        own, worker = cpu(resource.RUSAGE_SELF) - own, tree_cpu(pid) - worker
        return wall / calls * 1e6, own / calls * 1e6, worker / calls * 1e6, self._reports / calls

    async def latency(self, times: int) -> float:
        """Return the median of microseconds from submit to result of a single call."""
        taken = []
        for n in range(times):
            self._done, self._wanted = 0, 1
            self._reached.clear()
            begin = time.perf_counter()
            self.workers.submit([Call(n, self._key, pickling.dumps_arguments((n,), {}))])
            await self._reached.wait()
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken) * 1e6


async def measure_workers(calls: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        await bench.workers.start()
        await bench.latency(10)
        for size in SIZES:
            wall, agent, worker, reports = await bench.run(calls, size)
            print(f"workers         bundle {size:5d}: {wall:7.1f} us wall, {agent:6.1f} us agent CPU, "
                  f"{worker:6.1f} us worker CPU, {reports:6.3f} reports per call")  # fmt: skip
        print(f"workers         latency of a single call: {await bench.latency(500):.0f} us (median)")
        await bench.workers.close(drain=True)


def measure_peer(calls: int) -> None:
    with ProcessPoolExecutor(1) as pool:
        list(pool.map(noop, range(100)))
        for size in SIZES:
            own, wall = cpu(resource.RUSAGE_SELF), time.perf_counter()
            list(pool.map(noop, range(calls), chunksize=size))
            wall, own = time.perf_counter() - wall, cpu(resource.RUSAGE_SELF) - own
            wall, own = wall / calls * 1e6, own / calls * 1e6
            print(f"ProcessPool     chunk  {size:5d}: {wall:7.1f} us wall, {own:6.1f} us own CPU per call")
        taken = []
        for n in range(500):
            begin = time.perf_counter()
            pool.submit(noop, n).result()
            taken.append(time.perf_counter() - begin)
        print(f"ProcessPool     latency of a single call: {statistics.median(taken) * 1e6:.0f} us (median)")


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, {}, argv, quick={"repeats": 1, "calls": 2000}, repeats=1, calls=10_000)
    for _ in range(options.repeats):
        asyncio.run(measure_workers(options.calls))
        measure_peer(options.calls)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
