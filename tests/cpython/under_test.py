"""``JobPoolExecutor`` in the place of ``ProcessPoolExecutor``, with what CPython's tests read of the latter's inside.

Where the pool runs comes from the environment (``JOBPOOL_SCHEDULER``, ...).
"""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from jobpool import JobPoolExecutor, Pool
from jobpool.show import waiting
from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of

MARK = "JOBPOOL_UNDER_TEST"
"""A variable that all processes of a pool inherit, those in jobs too."""

PATIENCE = 20.0
"""Seconds for what takes a fraction of one."""


def keep_stderr_empty() -> None:
    """Let a pool of this process wait longer before it says so on stderr, where these tests want nothing.

    A job starts late on a machine full of other tests.
    """
    waiting.QUIET = PATIENCE


class ExecutorUnderTest(JobPoolExecutor):
    """An executor that takes a context of ``multiprocessing`` and has no use for it."""

    def __init__(self, max_workers: int | None = None, mp_context: object = None, **keywords: Any) -> None:
        # All in one job unless a test says otherwise: the times that the tests allow are not those of a queue.
        keywords.setdefault("workers_per_job", max(1, max_workers or 1))
        self._mark = os.environ[MARK] = uuid.uuid4().hex
        try:
            super().__init__(max_workers, **keywords)
        finally:
            del os.environ[MARK]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit. What the call prints is printed here, too: there its process inherits stdout."""
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(_print_its_words)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down. With ``cancel_futures`` not before calls run: there the first do as soon as they are submitted."""
        if cancel_futures:
            self._wait_until_busy()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _wait_until_busy(self) -> None:
        """Wait until as many calls run as can."""

        def busy() -> bool:
            calls = self.status().calls
            return calls.waiting == 0 or calls.running == self._max_workers

        assert wait_until(busy, PATIENCE)

    @property
    def _max_workers(self) -> int:
        return self.settings.max_workers

    @property
    def _broken(self) -> bool:
        return self._connection.broken is not None

    @property
    def _executor_manager_thread(self) -> threading.Thread:
        return self._connection._thread

    @property
    def _call_queue(self) -> _NoQueue:
        return _NoQueue()

    @property
    def _processes(self) -> dict[int, _Worker]:
        """The workers' processes, when as many calls run as can: there they are made at the submit."""
        self._wait_until_busy()
        workers = {}
        for process in processes_of([f"{MARK}={self._mark}"]):
            with suppress(psutil.NoSuchProcess):  # a command that has just ended
                if "jobpool.worker.forkserver" in " ".join(process.parent().cmdline()):  # type: ignore[union-attr]
                    workers[process.pid] = _Worker(process.pid)
        return workers


class _NoQueue:
    def join_thread(self) -> None:
        """There is no such thread."""


class _Worker(psutil.Process):
    def join(self, timeout: float = PATIENCE) -> None:
        """Wait for its end."""
        self.wait(timeout)

    def is_alive(self) -> bool:
        """Say whether it has not ended."""
        return bool(self.is_running())


def _print_its_words(future: Any) -> None:
    sys.stdout.write(future.logs())
    sys.stdout.flush()


class TheProcessPoolExecutor(ExecutorUnderTest):
    """What ``concurrent.futures.ProcessPoolExecutor`` is while the tests run.

    Another class than the one under test: tests that hang with process pools are skipped for that one by its identity.
    """


class PoolUnderTest(Pool):
    """A pool with all its workers in one job."""

    def __init__(self, processes: int | None = None, *arguments: Any, **keywords: Any) -> None:
        super().__init__(processes, *arguments, workers_per_job=max(1, processes or 1), **keywords)

    def __reduce__(self) -> Any:
        # Test cases hold one, and where they travel by value it goes with them.
        return object, ()


concurrent.futures.ProcessPoolExecutor = TheProcessPoolExecutor  # type: ignore[misc, assignment]
