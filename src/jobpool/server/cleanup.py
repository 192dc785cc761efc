"""End the jobs of a pool whose server is dead.

The names of all its submissions are in the pool's directory, written there before the jobs could exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from jobpool.batch import registry
from jobpool.batch.base import BatchSystem, Unanswered
from jobpool.commands import shell
from jobpool.host.home import PoolDirectory
from jobpool.model.job import JobId, JobState

__all__ = ["end_server", "reap"]

log = logging.getLogger("jobpool.reap")

PATIENCE = 45.0
"""Seconds to wait for cancelled jobs to be gone: SLURM's KillWait is 30 s by default."""

AGAIN = 10.0
"""Seconds after which a cancel is repeated: one that met a job between two states may have been lost."""


async def reap(directory: PoolDirectory, *, patience: float = PATIENCE) -> tuple[JobId, ...]:
    """Cancel what is left of a dead pool and forget its keys; return the jobs that could not be removed."""
    names = [] if directory.replaced else directory.lines("submissions")  # not those of another pool's jobs
    if not names:
        directory.retire(keep_logs=True)
        return ()
    # Not from connection.json: a server that ended with jobs left has taken it away.
    named = directory.lines("system") or [str((directory.connection() or {}).get("system", "slurm"))]
    system = registry.get(named[0], directory.path)
    left = await _cancel_until_gone(system, names, patience)
    if not left:
        (directory.path / "submissions").unlink(missing_ok=True)
        directory.retire(keep_logs=True)
    return left


async def _cancel_until_gone(system: BatchSystem, names: list[str], patience: float) -> tuple[JobId, ...]:
    loop = asyncio.get_running_loop()
    begun, cancelled, pause = loop.time(), -AGAIN, 0.1
    while True:
        if loop.time() - cancelled >= AGAIN:
            cancelled = loop.time()
            await asyncio.gather(*map(shell.run, system.cancel(names, ())))
        answer = system.parse_poll(await shell.run(system.poll(names)))
        if isinstance(answer, Unanswered):
            log.warning("poll unanswered said=%r", answer.words[:200])
            living: tuple[JobId, ...] = tuple(JobId(f"all jobs named {name}") for name in names)
        else:
            living = tuple(seen.id for seen in answer if seen.state is not JobState.ENDED)
            if not living:
                return ()
        if loop.time() - begun > patience:
            return living
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 3.0)


def end_server(directory: PoolDirectory) -> None:
    """Send SIGTERM to a pool's server if it is alive on this host: it ends its jobs and then itself."""
    connection = directory.connection()
    if connection and connection["host"] == os.uname().nodename and directory.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(connection["pid"], signal.SIGTERM)
