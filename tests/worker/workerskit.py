"""Workers to try things on: real processes, and all reports kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from jobpool.agent.reports import InitializerError, Report
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.workers import Workers
from jobpool.host.private_directory import open_directory
from jobpool.model.call import Call, Outcome
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.serialize import pickling
from jobpool.transport.messages.agent import Died, Done, Returned, Started
from jobpool.transport.messages.base import Function

DEADLINE = 30.0
"""Seconds; far above what anything here takes, below pytest's own limit."""


class Watched:
    """A job's workers, the reports that they made, and ways to wait for them."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.workers = Workers(settings, self._take)
        self.settings = settings
        self.reports: list[Report] = []
        self._news = asyncio.Event()
        self._ids = count()

    def _take(self, report: Report) -> None:
        self.reports.append(report)
        self._news.set()

    def submit(
        self, function: Callable[..., Any], *argument_lists: tuple[Any, ...], terms: CallOptions = PLAIN
    ) -> list[int]:
        """Submit one bundle: a call for each tuple of arguments."""
        key, pickled = pickling.dumps_function(function)
        self.workers.define([Function(key, pickled)])
        payloads = [pickling.dumps_arguments(args, {}) for args in argument_lists]
        calls = [Call(next(self._ids), key, payload, timeout=terms.timeout) for payload in payloads]
        self.workers.submit(calls)
        return [call.id for call in calls]

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one call and return its result, or raise its exception."""
        (id,) = self.submit(function, args)
        return value(await self.outcome(id))

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return {
            outcome.call: outcome for report in self.reports if isinstance(report, Done) for outcome in report.outcomes
        }

    @property
    def started(self) -> list[int]:
        return [id for report in self.reports if isinstance(report, Started) for id in report.ids]

    @property
    def returned(self) -> list[int]:
        return [id for report in self.reports if isinstance(report, Returned) for id in report.ids]

    @property
    def died(self) -> list[Died]:
        return [report for report in self.reports if isinstance(report, Died)]

    @property
    def failed(self) -> list[InitializerError]:
        return [report for report in self.reports if isinstance(report, InitializerError)]

    async def outcome(self, id: int) -> Outcome:
        await self.until(lambda: id in self.outcomes)
        return self.outcomes[id]

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait for a report that makes something so."""
        async with asyncio.timeout(DEADLINE):
            while not reached():
                self._news.clear()
                await self._news.wait()


def value(outcome: Outcome) -> Any:
    if outcome.ok:
        return pickling.loads(outcome.payload)
    raise pickling.loads_exception(outcome.payload)


@asynccontextmanager
async def run_workers(directory: Path, **changes: Any) -> AsyncIterator[Watched]:
    """Run workers, and see that nothing is left of them."""
    settings: dict[str, Any] = {
        "size": 1,
        "logs": open_directory(directory),
        "environment": {},
        "working_directory": None,
        "sys_path": (),
        "initializer": None,
        "max_tasks_per_child": None,
        "cpus": None,
    }
    before = set(psutil.Process().children(recursive=True))  # a lab's daemons, for one
    watched = Watched(WorkerSettings(**{**settings, **changes}))
    await watched.workers.start()
    try:
        yield watched
    finally:
        processes = set(psutil.Process().children(recursive=True)) - before
        await watched.workers.close(drain=False)
    # Those of a fork-server that was killed die with it, and are taken off the list by the first process.
    assert not psutil.wait_procs(processes, timeout=5)[1], "processes are left"


def wait_until(reached: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait for something that other processes do."""
    for _ in _ticks(seconds):
        if reached():
            return
    raise TimeoutError(f"not reached within {seconds} s")


async def reached_soon(reached: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait, in a loop, for something that other processes do."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached within {seconds} s")
        await asyncio.sleep(0.01)


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.01)
