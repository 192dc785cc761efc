"""The figures of a snapshot: calls by function, what is used of what was asked, how long it will take."""

from __future__ import annotations

from jobpool.core.histograms import FunctionStatistics
from jobpool.core.record.record import whole_bytes
from jobpool.core.steps.state import PoolState
from jobpool.model.status import FunctionStatus, RequestStatus

__all__ = ["functions", "requests", "time_left"]

SHORT = 5.0
"""Seconds. Of shorter calls, many ended in the last minutes, and their rate tells all; of longer ones, what is left is
better known from the time that each takes."""


def functions(pool: PoolState) -> tuple[FunctionStatus, ...]:
    """Say how the calls of each function are."""
    running = pool.calls.running_by()
    return tuple(_function(tally, running[tally]) for tally in pool.calls.tallies)


def _function(tally: FunctionStatistics, running: int) -> FunctionStatus:
    return FunctionStatus(
        name=tally.name,
        request=tally.request,
        waiting=max(0, tally.open - running),
        running=running,
        done=tally.done,
        failed=tally.failed,
        seconds=tally.wall.mean,
        cpus=tally.cpus,
        memory=whole_bytes(tally.memory.quantile(0.99)),
        largest_memory=whole_bytes(tally.memory.largest if tally.memory.count else None),
    )


def requests(pool: PoolState, now: float) -> tuple[RequestStatus, ...]:
    """Say what is asked for each kind of worker, and used of it."""
    return tuple(_request(pool, key, now) for key in pool.staff)


def _request(pool: PoolState, key: str, now: float) -> RequestStatus:
    request, (workers, busy, _) = pool.asked(key), pool.calls.load(key)
    used = FunctionStatistics("", key)
    for tally in pool.calls.tallies:
        if tally.request == key:
            used.merge(tally)
    return RequestStatus(
        key=key,
        workers=workers,
        busy=busy,
        cores=request.cores,
        memory=None if request.memory is None else int(request.memory),
        cpus=used.cpus,
        used_memory=whole_bytes(used.memory.quantile(0.99)),
        largest_memory=whole_bytes(used.memory.largest if used.memory.count else None),
        core_hours=pool.record.spent(key, now)["held"] * request.job_cores / 3600,
        pause=pool.staff[key].paused(now),
        pause_reason=pool.staff[key].why,
    )


def time_left(pool: PoolState, now: float) -> float | None:
    """Return the seconds until all calls have ended, with the workers that are there. None: nobody can tell."""
    unresolved = [tally for tally in pool.calls.tallies if tally.open]
    if not unresolved or any(tally.wall.mean is None for tally in unresolved):
        return None
    work: dict[str, float] = {}
    for tally in unresolved:
        work[tally.request] = work.get(tally.request, 0.0) + tally.open * (tally.wall.mean or 0.0)
    workers = {request: pool.calls.load(request)[0] for request in work}
    if not all(workers.values()):
        return None
    calls, rate = sum(tally.open for tally in unresolved), pool.record.recent.rate(now)
    if rate and sum(work.values()) / calls < SHORT:
        return calls / rate
    return max(work[request] / workers[request] for request in work)
