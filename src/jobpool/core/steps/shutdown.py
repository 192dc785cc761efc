"""The end of a pool: the calls first, then the jobs, and nothing is left without a name."""

from __future__ import annotations

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.jobs.machine import Dropped, Ended, Job
from jobpool.core.steps.state import NOT_NEEDED, PoolState
from jobpool.model.errors import PoolBroken
from jobpool.model.job import JobId

__all__ = ["shut_down", "wind_up"]

LATELY = 600.0
"""Seconds. A job that came back runs again after two minutes or so, finds that it was given up, and ends."""


def shut_down(pool: PoolState, event: ev.ShutdownAsked) -> None:
    """Begin to end. May come again, with less patience."""
    pool.finishing = True
    pool.set_ceiling()
    if event.cancel_waiting:
        pool.cancel_waiting(pool.calls.to_cancel())
    if event.kill:
        ids = pool.calls.ids()
        pool.cancel_calls(ids)
        pool.fail(ids, PoolBroken("the pool was stopped before this call ended"))


def wind_up(pool: PoolState) -> None:
    """End when no call is left: cancel all jobs in one command, and wait until they are gone."""
    if pool.closing is None and not len(pool.calls):
        _begin_closing(pool)
    if pool.closing is None or pool.finished or pool.fleet.under_way:
        return
    if not pool.fleet.jobs or pool.now - pool.closing >= pool.settings.shutdown_patience:
        pool.finished = True
        # A job without an id is named by its submission: all that there is to look for.
        left = (job.id or JobId(job.key.submission) for job in pool.fleet.jobs.values())
        pool.out.append(act.Finished(tuple(dict.fromkeys(left))))
    elif pool.now >= pool.cancelled_all + pool.settings.cancel_again:
        _cancel_all(pool)


def _begin_closing(pool: PoolState) -> None:
    pool.closing = pool.now
    pool.wake = None
    pool.inquiry.ending = True
    pool.inquiry.hurry(pool.now)
    for job in list(pool.fleet.jobs.values()):
        pool.observe(job, Dropped(pool.now, NOT_NEEDED))
    _cancel_all(pool)


def _cancel_all(pool: PoolState) -> None:
    """Cancel whatever may be in the queue, in one command; by name only where an id is missing."""
    pool.cancelled_all = pool.now
    jobs = pool.fleet.jobs.values()
    names = dict.fromkeys((*(job.key.submission for job in jobs if job.id is None), *pool.fleet.ghosts))
    ids = tuple(job.id for job in (*jobs, *_lately_ended(pool)) if job.id is not None)
    pool.cancels.clear()
    if names or ids:
        pool.out.append(act.CancelJobs(tuple(names), ids))


def _lately_ended(pool: PoolState) -> list[Job]:
    """Return jobs that may have come back: a controller that was killed goes on from what it had written before."""
    ended = pool.fleet.ended.values()
    return [job for job in ended if isinstance(job.state, Ended) and pool.now - job.state.at < LATELY]
