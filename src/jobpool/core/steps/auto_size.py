"""What the pool's first calls used becomes what is asked for. The arithmetic is in ``auto``."""

from __future__ import annotations

from jobpool.core.histograms import FunctionStatistics
from jobpool.core.jobs.machine import Dropped, Faded, Silent
from jobpool.core.scaling import auto_size
from jobpool.core.scaling.auto_size import OWN
from jobpool.core.steps.state import NOT_NEEDED, PoolState

__all__ = ["fall_back", "size_up"]


def size_up(pool: PoolState) -> None:
    """Look at what the calls used, when it is time, and ask for jobs like that from now on."""
    search, calls = pool.auto, pool.done + pool.failed
    if not search.due(calls, pool.now):
        return
    used = _used(pool)
    if not (used.wall.count or search.outgrown):
        return
    asked, found = pool.staff[search.hiring].request, None
    if used.wall.count:
        found = auto_size.sized(
            used,
            now=pool.staff[OWN].request,
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
        pool.staff[OWN].request = wanted
    elif wanted != asked:
        pool.add_request(search.next_key(), wanted, pool.staff[OWN].max_workers)
    search.looked(calls)


def fall_back(pool: PoolState, words: str) -> bool:
    """Ask for what was tried with, since what was found is refused. Returns whether that is something else."""
    tried = pool.settings.trial
    if tried is None or pool.auto.trying or pool.staff[pool.auto.hiring].request == tried:
        return False
    pool.add_request(pool.auto.next_key(), tried, pool.staff[OWN].max_workers)
    pool.auto.names = ()
    staff = pool.staff[pool.auto.hiring]
    staff.backoff = staff.backoff.longer(pool.now, pool.settings)
    why = f"jobs of the size that was found are refused; then generous ones are asked for: {words}"
    pool.notice(staff.pausing(why, pool.now), warning=True)
    return True


def _used(pool: PoolState) -> FunctionStatistics:
    """Return what all of the pool's own calls used."""
    used = FunctionStatistics("", OWN)
    for tally in pool.calls.statistics:
        if tally.request == OWN:
            used.merge(tally)
    return used


def _leave(pool: PoolState) -> None:
    """Let the jobs that there are serve until others come, and give up those that have not begun."""
    for job in pool.fleet.of(pool.auto.hiring):
        if not isinstance(job.state, Silent):  # its calls may run on, until the batch system says what became of it
            pool.observe(job, Faded(pool.now) if job.connected else Dropped(pool.now, NOT_NEEDED))
