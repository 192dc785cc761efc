"""The end of a pool: first the calls end, then the jobs, and jobs that remain are named."""

from __future__ import annotations

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.jobs.machine import Dropped, Ended, JobEntry
from jobpool.core.steps.state import NOT_NEEDED, PoolState
from jobpool.model.errors import PoolBroken
from jobpool.model.job import JobId

__all__ = ["continue_shutdown", "shut_down"]

LATELY = 600.0
"""Seconds. A job that reappears runs again within about two minutes, learns that it was given up, and ends."""


def shut_down(pool: PoolState, event: ev.ShutdownAsked) -> None:
    """Begin the shutdown. May be called again, to cancel waiting calls or to kill running ones."""
    pool.finishing = True
    pool.set_ceiling()
    if event.cancel_waiting:
        pool.cancel_waiting(pool.calls.to_cancel())
    if event.kill:
        ids = pool.calls.ids()
        pool.cancel_calls(ids)
        pool.fail(ids, PoolBroken("the pool was stopped before this call ended"))


def continue_shutdown(pool: PoolState) -> None:
    """When no call is left, cancel all jobs in one command, and wait until they have ended."""
    if pool.closing is None and not len(pool.calls):
        _begin_closing(pool)
    if pool.closing is None or pool.finished or pool.job_table.under_way:
        return
    if not pool.job_table.jobs or pool.now - pool.closing >= pool.settings.shutdown_patience:
        pool.finished = True
        # A job without an id is named by its submission: nothing else is known of it.
        left = (job.id or JobId(job.key.submission) for job in pool.job_table.jobs.values())
        pool.out.append(act.Finished(tuple(dict.fromkeys(left))))
    elif pool.now >= pool.cancelled_all + pool.settings.cancel_again:
        _cancel_all(pool)


def _begin_closing(pool: PoolState) -> None:
    pool.closing = pool.now
    pool.wake = None
    pool.polling.ending = True
    pool.polling.hurry(pool.now)
    for job in list(pool.job_table.jobs.values()):
        pool.observe(job, Dropped(pool.now, NOT_NEEDED))
    _cancel_all(pool)


def _cancel_all(pool: PoolState) -> None:
    """Cancel all jobs that may be in the queue, in one command; by name only if an id is not known."""
    pool.cancelled_all = pool.now
    jobs = pool.job_table.jobs.values()
    names = dict.fromkeys((*(job.key.submission for job in jobs if job.id is None), *pool.job_table.ghosts))
    ids = tuple(job.id for job in (*jobs, *_lately_ended(pool)) if job.id is not None)
    pool.cancels.clear()
    if names or ids:
        pool.out.append(act.CancelJobs(tuple(names), ids))


def _lately_ended(pool: PoolState) -> list[JobEntry]:
    """Return jobs that may reappear: a controller that was killed continues from the state that it had saved."""
    ended = pool.job_table.ended.values()
    return [job for job in ended if isinstance(job.state, Ended) and pool.now - job.state.at < LATELY]
