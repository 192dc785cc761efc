"""End the jobs of a pool whose server is dead.

The names of all its submissions are in the pool's directory, written there before the jobs could exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

from jobpool.batch import registry
from jobpool.batch.base import BatchSystem, Tracked, Unanswered
from jobpool.commands import shell
from jobpool.host.home import PoolDirectory
from jobpool.host.user import user_name
from jobpool.model.job import JobId, JobState, Seen
from jobpool.server.cancel import Cancels

__all__ = ["cancel_once", "end_server", "look", "reap"]

log = logging.getLogger("jobpool.server.cleanup")

PATIENCE = 45.0
"""Seconds to wait for cancelled jobs to be gone, before the site is asked whether it gives them longer to end."""

MARGIN = 15.0
"""Seconds for a job to go from the queue after the time that the site gives it."""

LONGEST = 600.0
"""Seconds that are waited for it at most: a person waits, too."""

AGAIN = 10.0
"""Seconds after which a cancel is repeated: one that met a job between two states may have been lost."""


async def reap(directory: PoolDirectory, *, patience: float | None = None) -> tuple[JobId, ...]:
    """Cancel what is left of a dead pool and forget its keys; return the jobs that could not be removed.

    ``patience``: seconds to wait for them. None: as long as the site gives them to end.
    """
    names = [] if directory.replaced else directory.lines("submissions")  # not those of another pool's jobs
    if not names:
        directory.retire(keep_logs=True)
        return ()
    # Not from connection.json: a server that ended with jobs left has taken it away.
    named = directory.lines("system") or [str((directory.connection() or {}).get("system") or registry.detect())]
    system = registry.get(named[0], directory.path, host=next(iter(directory.lines("submit_host")), None))
    left = await _cancel_until_gone(system, names, patience)
    if not left:
        (directory.path / "submissions").unlink(missing_ok=True)
        directory.retire(keep_logs=True)
    return left


async def _cancel_until_gone(system: BatchSystem, names: list[str], patience: float | None) -> tuple[JobId, ...]:
    loop = asyncio.get_running_loop()
    asks, patience = patience is None, PATIENCE if patience is None else patience
    cancels, submissions = Cancels(system), [Tracked(name) for name in names]
    begun, pause = loop.time(), 0.1
    by_name, cancelled = await cancels.cancel(submissions, ()), loop.time()
    told: set[JobId] = set()
    while True:
        answer = await look(system, submissions)
        if isinstance(answer, Unanswered):
            log.warning("poll unanswered said=%r", answer.words[:200])
            living: tuple[JobId, ...] = tuple(JobId(f"all jobs named {name}") for name in names)
        else:
            living = tuple(seen.id for seen in answer if seen.state is not JobState.ENDED)
            if not living:
                return ()
        if loop.time() - begun > patience:
            if isinstance(answer, Unanswered) or not asks:
                return living
            asks, patience = False, await _time_to_end(system) + MARGIN
            continue
        again = loop.time() - cancelled >= AGAIN
        new = not (by_name or isinstance(answer, Unanswered)) and not told.issuperset(living)
        if again or new:
            ids = () if isinstance(answer, Unanswered) else living
            await cancels.cancel(submissions, ids)
            cancelled, told = loop.time(), told | set(ids)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 3.0)


async def _time_to_end(system: BatchSystem) -> float:
    """Ask how many seconds a cancelled job has to end at this site."""
    limits = system.parse_limits(await shell.run_all(system.limits(user_name())))
    seconds = min(LONGEST, system.notices(limits).after_delete)
    log.info("the site gives a cancelled job %.0f s to end", seconds)
    return seconds


async def cancel_once(system: BatchSystem, names: Sequence[str]) -> None:
    """Cancel all jobs of these submissions, and wait for nothing but the commands."""
    cancels, submissions = Cancels(system), [Tracked(name) for name in names]
    if submissions and not await cancels.cancel(submissions, ()):
        answer = await look(system, submissions)
        if not isinstance(answer, Unanswered):
            await cancels.cancel((), [seen.id for seen in answer if seen.state is not JobState.ENDED])


async def look(system: BatchSystem, submissions: Sequence[Tracked]) -> tuple[Seen, ...] | Unanswered:
    """Show the jobs of these submissions, each once, and no others."""
    incomplete = (submission.name for submission in submissions if not submission.complete)
    commands = (*system.poll(submissions), *(command for name in incomplete for command in system.find(name)))
    answer = system.parse_poll(await shell.run_all(commands), submissions)
    if isinstance(answer, Unanswered):
        return answer
    names = {submission.name for submission in submissions}
    # Two commands may show the same job; a second one of its name would be taken for a stray.
    return tuple({seen.id: seen for seen in answer if seen.name in names}.values())


def end_server(directory: PoolDirectory) -> None:
    """Send SIGTERM to a pool's server if it is alive on this host: it ends its jobs and then itself."""
    connection = directory.connection()
    if connection and connection["host"] == os.uname().nodename and directory.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(connection["pid"], signal.SIGTERM)
