"""``"auto"``: what the first calls used becomes the request. The arithmetic is in ``core.scaling.auto_size``."""

from __future__ import annotations

from jobpool.core.histograms import FunctionStatistics
from jobpool.core.jobs.machine import Dropped, Faded, Silent
from jobpool.core.scaling import auto_size
from jobpool.core.scaling.auto_size import OWN
from jobpool.core.steps.state import NOT_NEEDED, PoolState

__all__ = ["fall_back", "size_up"]


def size_up(pool: PoolState) -> None:
    """When it is time, look at what the calls used, and request jobs of that size from now on."""
    search, calls = pool.auto, pool.done + pool.failed
    if not search.due(calls, pool.now):
        return
    used = _used(pool)
    if not (used.wall.count or search.outgrown):
        return
    asked, found = pool.request_states[search.active_key].request, None
    if used.wall.count:
        found = auto_size.sized(
            used,
            now=pool.request_states[OWN].request,
            tried=asked,
            names=search.names,
            limits=pool.settings.limits,
        )
    if search.trying and found is not None:
        asked, found = found, None
    wanted = search.raised(asked, found, used.wall.largest)
    if search.trying or wanted != asked:
        _leave(pool)
        pool.notice(auto_size.words(used, wanted, search.names, outgrown=len(search.outgrown)))
    if search.trying:
        pool.request_states[OWN].request = wanted
    elif wanted != asked:
        pool.add_request(search.next_key(), wanted, pool.request_states[OWN].max_workers)
    search.looked(calls)


def fall_back(pool: PoolState, words: str) -> bool:
    """Request jobs of the trial size again, since the batch system refuses the size that was found.

    Return False if the trial size is the one that was refused.
    """
    tried = pool.settings.trial
    if tried is None or pool.auto.trying or pool.request_states[pool.auto.active_key].request == tried:
        return False
    pool.add_request(pool.auto.next_key(), tried, pool.request_states[OWN].max_workers)
    pool.auto.names = ()
    request_state = pool.request_states[pool.auto.active_key]
    request_state.backoff = request_state.backoff.longer(pool.now, pool.settings)
    why = (
        f"the batch system refuses jobs of the size that the first calls need; larger jobs are requested then: {words}"
    )
    pool.notice(request_state.pausing(why, pool.now), warning=True)
    return True


def _used(pool: PoolState) -> FunctionStatistics:
    """Return what all of the pool's own calls used together."""
    used = FunctionStatistics("", OWN)
    for statistics in pool.calls.statistics:
        if statistics.request == OWN:
            used.merge(statistics)
    return used


def _leave(pool: PoolState) -> None:
    """Let connected jobs run calls until new jobs come, and give up jobs that have not begun."""
    for job in pool.job_table.of(pool.auto.active_key):
        if not isinstance(job.state, Silent):  # its calls may still run, until the batch system reports its end
            pool.observe(job, Faded(pool.now) if job.connected else Dropped(pool.now, NOT_NEEDED))
