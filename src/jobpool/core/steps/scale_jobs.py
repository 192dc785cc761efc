"""Asking for jobs when there is work, and letting go of them when there is none. The arithmetic is in ``policy``."""

from __future__ import annotations

from dataclasses import replace

from jobpool.core import actions as act
from jobpool.core.events import JobKey
from jobpool.core.jobs.machine import Dropped, Faded, Pending, Retired, Serving, Silent, Starting, Waited
from jobpool.core.scaling.policy import Settling
from jobpool.core.steps.auto_size import size_up
from jobpool.core.steps.state import NOT_NEEDED, PoolState
from jobpool.model.request import Request

__all__ = ["relieve", "request_jobs", "scale", "shed", "tick"]

SPENT = 5.0
"""Seconds that an idle job is kept whose time left is too short for all calls that wait: shorter ones may come, but
meanwhile it has what the job in its place needs."""


def scale(pool: PoolState, workers: int | None) -> None:
    """Hold so many workers from now on; None: as many as there is work for."""
    pool.held = workers
    pool.set_ceiling()
    shed(pool, pool.auto.active_key)


def request_jobs(pool: PoolState) -> None:
    """Ask for the jobs that are missing, when it is time."""
    pool.wake = None
    for key, request_state in pool.request_states.items():
        if request_state.broken:
            pool.fail_waiting(key, request_state.broken)  # calls that an agent gave back since
            continue
        demand = pool.demand(key)
        wanted = request_state.wanted(demand, pool.settings)
        missing = wanted - pool.job_table.supply(key) - pool.job_table.stuck(key)
        if missing <= 0:
            request_state.settling = Settling()
            continue
        due = request_state.due(wanted, full=demand.full, now=pool.now, settings=pool.settings)
        if due > pool.now:
            pool.wake = due if pool.wake is None else min(pool.wake, due)
            continue
        # The others are made when these are answered: a refusal then stops them.
        room = pool.settings.submits_at_once - pool.job_table.unanswered(key)
        for count in request_state.submissions(missing, pool.settings)[: max(0, room)]:
            submission = pool.job_table.submit(key, count, pool.now)
            pool.out.append(act.SubmitJobs(submission.name, _elsewhere(pool, request_state.request), count))


def _elsewhere(pool: PoolState, request: Request) -> Request:
    """Return the request, away from bad nodes."""
    avoided = pool.nodes.avoided(pool.now)
    return replace(request, exclude=tuple(dict.fromkeys((*request.exclude, *avoided)))) if avoided else request


def tick(pool: PoolState) -> None:
    """See to what only time tells: agents that do not come, or do not come back, and jobs without work."""
    pool.sample_workers()
    for job in list(pool.job_table.jobs.values()):
        if isinstance(job.state, Silent | Starting):
            pool.observe(job, Waited(pool.now))
    if pool.closing is None:
        size_up(pool)
        for key in pool.request_states:
            shed(pool, key)
            _fade(pool, key)
            relieve(pool, key)
        pool.agents.revive()


def _fade(pool: PoolState, key: str) -> None:
    """Count the jobs no more whose time is nearly over, so that others are asked for as long as these still serve."""
    for agent in pool.agents.fading(pool.queue_key(key), pool.now, pool.request_states[key].lead):
        pool.observe_key(agent, Faded(pool.now))


def relieve(pool: PoolState, key: str) -> None:
    """Let go of jobs that another one has come for, and of those that are of no use while they wait for one."""
    wanted = pool.request_states[key].wanted(pool.demand(key, all=True), pool.settings)
    for agent in pool.agents.replaced(pool.queue_key(key), wanted) if wanted else ():
        _retire(pool, agent, "its walltime is nearly over, and another job is there")
    for agent in pool.agents.short_of_time(pool.queue_key(key), pool.now - SPENT):
        _retire(pool, agent, "its walltime left is too short for the calls that wait")


def shed(pool: PoolState, key: str) -> None:
    """Let go of jobs that there has been no work for: first those that wait, then the idle ones."""
    request_state, demand = pool.request_states[key], pool.demand(key)
    surplus = _present(pool, key) - request_state.wanted(demand, pool.settings)
    if surplus <= 0:
        request_state.surplus_since = None
        return
    if request_state.surplus_since is None:
        request_state.surplus_since = pool.now
    patience = pool.settings.idle_timeout if demand.held is None else 0.0
    if pool.now - request_state.surplus_since < patience:
        return
    pending = [job for job in pool.job_table.of(key) if isinstance(job.state, Pending) and job.hold is None]
    for job in pending[-surplus:]:  # the last ones asked for wait longest
        pool.observe(job, Dropped(pool.now, NOT_NEEDED))
    surplus -= len(pending[-surplus:])
    queue_key = pool.queue_key(key)
    idle = (
        pool.agents.least_busy(queue_key)
        if demand.held is not None
        else pool.agents.idle(queue_key, pool.now - patience)
    )
    for agent in [agent for agent in idle if pool.job_table.jobs[agent].request == key][:surplus]:
        _retire(pool, agent, "not needed" if demand.held is not None else "idle")


def _present(pool: PoolState, key: str) -> int:
    """Count the jobs of a request that serve or will; and of sizes that others took the place of, all that serve."""
    if pool.auto.serves_own(key) and key != pool.auto.active_key:
        return sum(isinstance(job.state, Serving) for job in pool.job_table.of(key))
    return pool.job_table.supply(key)


def _retire(pool: PoolState, key: JobKey, why: str) -> None:
    pool.observe_key(key, Retired(pool.now, why))
    pool.out.append(act.StopAgent(key, why, drain=True))
