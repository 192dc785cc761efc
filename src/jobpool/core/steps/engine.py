"""The core: events in, actions out. ``Core`` handles each event, and the modules of this package decide.

::

    Event ─► handle ─┬─► batch_answers   the batch system's answers      (core.jobs: submissions, and each job's states)
                     ├─► scale_jobs      how many jobs to request        (core.scaling: the arithmetic)
                     ├─► shutdown        the end of the pool
                     └─► this module     calls and agents                (core.calls: queues, bundles; core.recovery)
    then, for every event: cancel jobs ─► submit jobs ─► send bundles ─► end the pool? ─► poll ─► Actions

The order of the last line matters: a job that may still run is cancelled before its calls are sent to another job.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.actions import Action
from jobpool.core.events import Event
from jobpool.core.jobs.machine import (
    Accepted,
    Dropped,
    JobEntry,
    Joined,
    Left,
    Retired,
    Stopped,
    Submitting,
    WentOn,
    advance,
)
from jobpool.core.record.snapshot import describe
from jobpool.core.record.timeline import AGAIN, CHECKPOINT
from jobpool.core.recovery.decide import Loss
from jobpool.core.scaling.walltime import LATE
from jobpool.core.settings import CoreSettings
from jobpool.core.steps import batch_answers, scale_jobs, shutdown, snapshot_views
from jobpool.core.steps.auto_size import size_up
from jobpool.core.steps.state import PoolState
from jobpool.model.errors import ConfigError, JobPoolError, PoolBroken
from jobpool.model.job import Ending, EndingKind
from jobpool.model.run_record import RunFigures
from jobpool.model.status import CallCounts, JobStatus, Phase, Snapshot
from jobpool.model.units import Duration

__all__ = ["Core"]


class Core:
    """Decides for one pool. It has no clock and no effects: it returns actions."""

    def __init__(self, *, settings: CoreSettings, now: float) -> None:
        self._pool = PoolState(settings, now)

    def handle(self, event: Event) -> list[Action]:
        """Handle one event. Return the actions to carry out, in order."""
        pool = self._pool
        pool.now = max(pool.now, event.time)
        pool.out = []
        self._dispatch(event)
        pool.flush_cancels()
        if pool.closing is None:
            scale_jobs.request_jobs(pool)
            pool.out += pool.scheduler.bundles(pool.now)
            pool.out += map(act.TakeBack, pool.scheduler.stuck(pool.now))
        if pool.finishing:
            shutdown.continue_shutdown(pool)
        batch_answers.poll(pool)
        return pool.out

    def next_tick(self) -> float | None:
        """Return when the core needs a Tick in addition to the one that comes every second, or None."""
        pool = self._pool
        due = [time for time in (pool.wake, pool.scheduler.next_look) if time is not None]
        if not pool.polling.under_way and pool.job_table.submissions:
            due.append(pool.polling.due)
        if pool.closing is not None and not pool.finished:
            due.append(pool.closing + pool.settings.shutdown_patience)
        # What is due already waits for an event, such as an answer, and not for a time.
        return min((time for time in due if time > pool.now), default=None)

    def suspended(self, key: ev.JobKey) -> bool:
        """Return whether a job is known to be suspended: then its agent cannot send messages."""
        job = self._pool.job_table.jobs.get(key)
        return job is not None and job.suspended is not None

    def snapshot(self, now: float | None = None) -> Snapshot:
        """Return the state of the pool at this time; None: at the time of the last event."""
        pool = self._pool
        now = pool.now if now is None else max(now, pool.now)
        jobs = [*pool.job_table.ended.values(), *pool.job_table.jobs.values()]
        views = [self._view(job, now) for job in jobs]
        running = pool.calls.running
        calls = CallCounts(waiting=len(pool.calls) - running, running=running, done=pool.done, failed=pool.failed)
        return Snapshot(
            time=now,
            jobs=tuple(views),
            calls=calls,
            functions=snapshot_views.functions(pool),
            requests=snapshot_views.requests(pool, now),
            rate=pool.record.recent.rate(now),
            left=snapshot_views.time_left(pool, now),
            held=pool.demand(pool.auto.active_key).held,
            phase=self._phase(),
        )

    def record(self, now: float) -> RunFigures:
        """Return what happened so far, for the report. Times are seconds since the beginning."""
        pool = self._pool
        return pool.record.figures(
            {key: pool.asked(key) for key in pool.request_states},
            list(pool.calls.statistics),
            pool.agents.running_now(),
            max(now, pool.now),
            done=pool.done,
            failed=pool.failed,
            unresolved=len(pool.calls),
            notices=pool.notices,
        )

    def _view(self, job: JobEntry, now: float) -> JobStatus:
        pool = self._pool
        workers, busy = pool.agents.busy(job.key)
        return describe(job, now=now, workers=workers, busy=busy)

    def _phase(self) -> Phase:
        pool = self._pool
        if pool.finished:
            return "finished"
        if pool.closing is not None:
            return "closing"
        if pool.broken:
            return "broken"
        return "finishing" if pool.finishing else "open"

    def _dispatch(self, event: Event) -> None:
        pool = self._pool
        match event:
            case ev.CallsStarted():
                _calls_started(pool, event)
            case ev.CallsDone():
                _calls_done(pool, event)
            case ev.CallsArrived():
                _calls_arrived(pool, event)
            case ev.CallsReturned():
                _calls_returned(pool, event)
            case ev.CallCheckpointed():
                _call_checkpointed(pool, event)
            case ev.CallsCut(job=key, call=id, at=at):
                pool.reports.cut(key, id, at)
            case ev.CallsCancelled(ids=ids):
                pool.cancel_waiting(ids)
            case ev.WorkerDied():
                _worker_died(pool, event)
            case ev.SlotsTaken():
                _slots_taken(pool, event)
            case ev.AgentJoined():
                _agent_joined(pool, event)
            case ev.AgentLeaving(job=key, why=why, planned=planned):
                pool.observe_key(key, Retired(pool.now, why, ours=planned))
            case ev.AgentSuspended(job=key):
                pool.observe_key(key, Stopped(pool.now))
            case ev.AgentWentOn(job=key, deadline=deadline):
                pool.observe_key(key, WentOn(pool.now, deadline))
            case ev.AgentLeft(job=key, last_word=word, pid=pid):
                pool.observe_key(key, Left(pool.now, word, pid))
            case ev.AgentTrouble():
                _agent_trouble(pool, event)
            case ev.JobsSubmitted():
                batch_answers.jobs_submitted(pool, event)
            case ev.SubmitRefused():
                batch_answers.submit_refused(pool, event)
            case ev.SubmitDoubtful():
                batch_answers.submit_doubtful(pool, event)
            case ev.Polled():
                batch_answers.polled(pool, event)
            case ev.PollFailed(words=words):
                batch_answers.poll_failed(pool, words)
            case ev.Accounted():
                batch_answers.accounted(pool, event)
            case ev.RequestAdded(key=key, request=request, max_workers=max_workers):
                pool.add_request(key, request, max_workers)
            case ev.ScaleAsked(workers=workers):
                scale_jobs.scale(pool, workers)
            case ev.DaskDemand(tasks=tasks):
                pool.tasks = tasks
            case ev.ShutdownAsked():
                shutdown.shut_down(pool, event)
            case ev.Tick():
                scale_jobs.tick(pool)
            case _:
                assert_never(event)


# ------------------------------------------------------------------------------------------------------- calls


def _calls_arrived(pool: PoolState, event: ev.CallsArrived) -> None:
    verdicts: dict[str, JobPoolError | None] = {}
    refused: dict[str, list[int]] = {}
    for call in event.calls:
        key = call.request
        if not pool.calls.is_new(call.id):
            continue
        if key not in verdicts:
            verdicts[key] = _why_not(pool, key)
        if verdicts[key] is None:
            pool.calls.add(call)
        else:
            refused.setdefault(key, []).extend(call.ids)
    for key, ids in refused.items():
        if (error := verdicts[key]) is not None:
            pool.fail(ids, error)


def _why_not(pool: PoolState, request: str) -> JobPoolError | None:
    request_state = pool.request_states.get(request)
    if request_state is None:
        return ConfigError(f"there is no request {request!r} in this pool")
    if pool.closing is not None:
        return request_state.broken or PoolBroken("the pool was shut down")
    return request_state.broken


def _calls_started(pool: PoolState, event: ev.CallsStarted) -> None:
    if news := pool.reports.start(event.job, event.ids, pool.now):
        pool.out.append(act.TellStarted(event.job, news))
        pool.prove(event.job)


def _calls_done(pool: PoolState, event: ev.CallsDone) -> None:
    first, copies = pool.reports.finish(event.job, event.outcomes, pool.now)
    if first:
        failures = sum(total.failures for total in pool.reports.finished)
        pool.done += sum(total.calls for total in pool.reports.finished) - failures
        pool.failed += failures
        pool.record.calls(event.job, pool.reports.finished, pool.now)
        pool.out.append(act.Resolve(event.job, first))
        pool.prove(event.job, fruitful=True)
        if (job := pool.job_table.jobs.get(event.job)) is not None:
            pool.nodes.served(job.node)
        size_up(pool)
    pool.retract(copies)


def _calls_returned(pool: PoolState, event: ev.CallsReturned) -> None:
    for id in event.ids:
        pool.note_cut(event.job, id, AGAIN, "its job gave it back")
    pool.tell_again(pool.reports.give_back(event.job, event.ids, pool.now))


def _call_checkpointed(pool: PoolState, event: ev.CallCheckpointed) -> None:
    pool.note_cut(event.job, event.call, CHECKPOINT, "")
    if pool.reports.go_on(event.job, event.call, event.function, event.payload, pool.now):
        pool.tell_again((event.call,))
        pool.prove(event.job, fruitful=True)


def _worker_died(pool: PoolState, event: ev.WorkerDied) -> None:
    if (job := pool.job_table.jobs.get(event.job)) is not None and event.death.kills > job.kills:
        pool.job_table.put(replace(job, kills=event.death.kills))
    if event.call is not None and (found := pool.reports.history_of(event.job, event.call)) is not None:
        history, items, terms = found
        pool.prove(event.job)
        death, job = event.death, pool.job_table.jobs[event.job]
        loss = Loss(cause=death, started=True, items=items, timeout=terms.timeout)
        pool.recover(job, [(event.call, loss, history, terms)])
        if not (death.out_of_memory or death.timed_out or death.innocent):
            pool.blame_node(job, event.call, "a worker process died")


# ------------------------------------------------------------------------------------------------------ agents


def _agent_joined(pool: PoolState, event: ev.AgentJoined) -> None:
    hello = event.hello
    job = pool.job_table.jobs.get(hello.job)
    if job is None or job.over or pool.closing is not None or pool.request_states[job.request].broken:
        why = "the pool is ending" if pool.closing is not None else "this job was given up"
        pool.out.append(act.StopAgent(hello.job, why, drain=False))
        pool.observe_key(hello.job, Accepted(pool.now, hello.id))
        return
    if words := _too_late(pool, job, hello):
        pool.out.append(act.StopAgent(job.key, words, drain=False))
        pool.observe(job, Accepted(pool.now, hello.id))
        ending = Ending(kind=EndingKind.FAILED, message=words, node=hello.node, source="agent")
        pool.observe_key(job.key, Dropped(pool.now, ending, ours=False))
        return
    after = advance(job, Joined(pool.now, hello), pool.settings)
    if after is job:
        return
    if job.key in pool.agents:
        _agent_replaced(pool, job)
    pool.request_states[job.request].joined(job, pool.now)
    pool.store(job, after)
    pool.agents.join(
        job.key, pool.queue_key(job.request), workers=hello.workers, time=pool.now, deadline=hello.deadline
    )
    scale_jobs.relieve(pool, job.request)


def _too_late(pool: PoolState, job: JobEntry, hello: ev.Hello) -> str:
    """Return why the rest of a job's walltime is too short to be of use; empty if it is long enough."""
    walltime = pool.request_states[job.request].request.walltime
    if walltime is None or hello.deadline is None or hello.deadline - pool.now >= LATE * walltime:
        return ""
    left = Duration(max(0.0, hello.deadline - pool.now))
    return (
        f"{left} of its walltime of {walltime} were left when its agent connected; check whether setup= is slow, or a "
        "clock is wrong"
    )


def _agent_replaced(pool: PoolState, job: JobEntry) -> None:
    """Decide on the calls of the agent's predecessor: the job was requeued, or the agent lost its connection for a
    while.

    In the second case the agent may still run the calls: it has to drop them before they can be sent elsewhere.
    """
    ending = Ending(
        kind=EndingKind.PREEMPTED, message=job.message or "its agent was replaced", node=job.node, source="agent"
    )
    if ids := pool.decide_calls(job, ending):
        pool.out.append(act.Retract(job.key, ids))


def _agent_trouble(pool: PoolState, event: ev.AgentTrouble) -> None:
    ending = Ending(kind=EndingKind.FAILED, message=event.words, source="agent")
    if event.fatal is not None:
        pool.break_all(event.fatal, event.job)
    elif (job := pool.job_table.jobs.get(event.job)) is not None:
        if isinstance(job.state, Submitting):  # faster than the answer of the submit command
            pool.observe(job, Accepted(pool.now, None))
        pool.observe_key(event.job, Dropped(pool.now, ending, ours=False))


def _slots_taken(pool: PoolState, event: ev.SlotsTaken) -> None:
    pool.agents.set_dask_tasks(event.job, event.count, pool.now)
    if event.count:
        pool.prove(event.job)
