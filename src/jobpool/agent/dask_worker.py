"""The agent as a Dask Worker: the threads in which tasks of ``pool.client`` run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import dask
from distributed import Worker
from distributed.threadpoolexecutor import ThreadPoolExecutor

from jobpool.agent.workers import Workers
from jobpool.transport import dask_config

__all__ = ["start_worker"]

log = logging.getLogger("jobpool.agent")


class SlotThreads(ThreadPoolExecutor):  # type: ignore[misc]  # Dask is seen as Any
    """Threads that take the place of one of the job's workers while they run a task: no CPU is given out twice."""

    def __init__(self, size: int, workers: Workers, slots_taken: Callable[[int], None]) -> None:
        super().__init__(size, thread_name_prefix="jobpool-dask")
        self._workers, self._slots_taken = workers, slots_taken
        self._loop = asyncio.get_running_loop()
        self._count = 0

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task when a worker's place is free."""
        future: Future[Any] = super().submit(self._in_a_slot, fn, *args, **kwargs)
        return future

    def _in_a_slot(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        asyncio.run_coroutine_threadsafe(self._take(), self._loop).result()
        try:
            return fn(*args, **kwargs)
        finally:
            self._loop.call_soon_threadsafe(self._give_back)

    async def _take(self) -> None:
        self._change(+1)  # wanted already: the server should not fill this place meanwhile
        try:
            await self._workers.occupy()
        except BaseException:
            self._change(-1)
            raise

    def _give_back(self) -> None:
        self._workers.release()
        self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        self._slots_taken(self._count)


async def start_worker(
    scheduler: str,
    *,
    pool: Path,
    job: str,
    node: str,
    workers: int,
    scratch: Path,
    job_workers: Workers,
    slots_taken: Callable[[int], None],
) -> Worker:
    """Start the Worker and connect it to the pool's Scheduler."""
    dask.config.set(dask_config.settings())
    worker = Worker(
        scheduler,
        nthreads=workers,
        name=dask_config.worker_name(job, node, os.getpid()),
        security=dask_config.security(pool),
        protocol="tls",
        # Where the Scheduler is on loopback, so are all who want data of this Worker.
        host="127.0.0.1" if scheduler.startswith("tls://127.0.0.1:") else None,
        # No limit: our own meter watches the calls, and a graph's data are the user's choice.
        memory_limit=0,
        executor=SlotThreads(workers, job_workers, slots_taken),
        local_directory=str(scratch),
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        death_timeout=30,
    )
    await worker
    dask_config.limit_handshakes(worker)
    # Its pages answer anybody on this node; the server's dashboard shows the same to the user alone.
    worker.http_server.stop()
    return worker
