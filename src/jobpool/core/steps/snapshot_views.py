"""The parts of a snapshot: calls by function, what calls used of their request, and the time left."""

from __future__ import annotations

from jobpool.core.histograms import FunctionStatistics
from jobpool.core.record.record import whole_bytes
from jobpool.core.steps.state import PoolState
from jobpool.model.status import FunctionStatus, RequestStatus

__all__ = ["functions", "requests", "time_left"]

SHORT = 5.0
"""Seconds. Many shorter calls ended in the last minutes, so that their rate gives the time left. For longer calls, the
duration of each gives a better estimate."""


def functions(pool: PoolState) -> tuple[FunctionStatus, ...]:
    """Return the calls of each function."""
    running = pool.agents.running_by()
    return tuple(_function(statistics, running[statistics]) for statistics in pool.calls.statistics)


def _function(statistics: FunctionStatistics, running: int) -> FunctionStatus:
    return FunctionStatus(
        name=statistics.name,
        request=statistics.request,
        waiting=max(0, statistics.open - running),
        running=running,
        done=statistics.done,
        failed=statistics.failed,
        seconds=statistics.wall.mean,
        cpus=statistics.cpus,
        memory=whole_bytes(statistics.memory.quantile(0.99)),
        largest_memory=whole_bytes(statistics.memory.largest if statistics.memory.count else None),
    )


def requests(pool: PoolState, now: float) -> tuple[RequestStatus, ...]:
    """Return each request, and what its calls used."""
    return tuple(_request(pool, key, now) for key in pool.request_states)


def _request(pool: PoolState, key: str, now: float) -> RequestStatus:
    request, (workers, busy, _) = pool.asked(key), pool.calls.load(key)
    used = FunctionStatistics("", key)
    for statistics in pool.calls.statistics:
        if statistics.request == key:
            used.merge(statistics)
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
        pause=pool.request_states[key].paused(now),
        pause_reason=pool.request_states[key].why,
    )


def time_left(pool: PoolState, now: float) -> float | None:
    """Return the seconds until all calls have ended, with the current workers. None: not known."""
    unresolved = [statistics for statistics in pool.calls.statistics if statistics.open]
    if not unresolved or any(statistics.wall.mean is None for statistics in unresolved):
        return None
    work: dict[str, float] = {}
    for statistics in unresolved:
        work[statistics.request] = work.get(statistics.request, 0.0) + statistics.open * (statistics.wall.mean or 0.0)
    workers = {request: pool.calls.load(request)[0] for request in work}
    if not all(workers.values()):
        return None
    calls, rate = sum(statistics.open for statistics in unresolved), pool.record.recent.rate(now)
    if rate and sum(work.values()) / calls < SHORT:
        return calls / rate
    return max(work[request] / workers[request] for request in work)
