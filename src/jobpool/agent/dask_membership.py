"""An agent's part in Dask: the Worker that it is, from the first use of the pool's client on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from jobpool.agent.workers import Workers
from jobpool.transport.messages.agent import NodeWarning, SlotsTaken

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["DaskMembership"]

log = logging.getLogger("jobpool.agent")


class DaskMembership:
    """Joins the Scheduler of the pool's server, once, and again when its Worker is closed from there."""

    def __init__(self, pool: Path, job: str, node: str, say: Callable[[NodeWarning | SlotsTaken], None]) -> None:
        self._pool, self._job, self._node, self._say = pool, job, node, say
        self._joined: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._scratch: Path | None = None

    def join(self, address: str, workers: Workers, *, size: int, sys_path: Sequence[str]) -> None:
        """Be a Worker of the Scheduler at this address, with the slots of these workers."""
        if self._joined is None:
            self._joined = asyncio.create_task(self._be_worker(address, workers, size, sys_path))
            self._joined.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Join no more."""
        if self._joined is not None:
            self._joined.cancel()

    async def close(self) -> None:
        """Leave the Scheduler."""
        if self._worker is not None:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._worker.close(timeout=1), timeout=2)

    def delete_scratch(self) -> None:
        """Delete what Dask's Worker had on the disk."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job=%s is no Dask Worker", self._job, exc_info=error)
            self._say(NodeWarning(f"pool.client has no Worker in this job: {error!r}"))

    async def _be_worker(self, address: str, workers: Workers, size: int, sys_path: Sequence[str]) -> None:
        # A module that is not found would end the Worker.
        dask_side = await asyncio.to_thread(_import_dask, sys_path)
        self._scratch = Path(tempfile.mkdtemp(prefix="jobpool-"))
        while True:
            self._worker = await dask_side.start_worker(
                address,
                pool=self._pool,
                job=self._job,
                node=self._node,
                workers=size,
                scratch=self._scratch,
                job_workers=workers,
                slots_taken=lambda count: self._say(SlotsTaken(count)),
            )
            # client.restart() closes it, but the job is still there: it joins again, until it is cancelled.
            await self._worker.finished()


def _import_dask(paths: Sequence[str]) -> ModuleType:
    from jobpool.transport import dask_config

    dask_config.extend_path(paths)
    dask_config.quiet_logging()
    return importlib.import_module("jobpool.agent.dask_worker")
