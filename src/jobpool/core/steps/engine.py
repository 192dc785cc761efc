"""The core: events in, actions out. All decisions of a pool meet here; each is made in a room of its own.

::

    Event ─► handle ─┬─► asking   the batch system's answers        (fleet: jobs and submissions; jobs: one job)
                     ├─► hiring   how many jobs to ask for          (staffing, policy: the arithmetic)
                     ├─► ending   shutdown
                     └─► here     calls and agents                  (tasks: who waits, who is where; pace; recovery)
    then, for every event: cancel what is given up ─► submit ─► hand out bundles ─► end? ─► poll ─► Actions

The order of the last line matters: a job that may still live is cancelled before its calls go to another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from jobpool.core import events as ev
from jobpool.core.events import Action, Event
from jobpool.core.jobs.machine import (
    Accepted,
    Dropped,
    Job,
    Joined,
    Left,
    Retired,
    Stopped,
    Submitting,
    WentOn,
    advance,
)
from jobpool.core.record.snapshot import CallCounts, JobView, Snapshot, describe
from jobpool.core.record.timeline import AGAIN, CHECKPOINT
from jobpool.core.recovery.decide import Loss
from jobpool.core.scaling.walltime import LATE
from jobpool.core.settings import CoreSettings
from jobpool.core.steps import batch_answers, figures, scale_jobs, shutdown
from jobpool.core.steps.auto_size import size_up
from jobpool.core.steps.state import PoolState
from jobpool.model.errors import ConfigError, JobPoolError, PoolBroken
from jobpool.model.job import Ending, EndingKind
from jobpool.model.units import Duration

__all__ = ["Core"]


class Core:
    """Decides for one pool. Has no clock, and does nothing but answer."""

    def __init__(self, *, settings: CoreSettings, now: float) -> None:
        self._pool = PoolState(settings, now)

    def handle(self, event: Event) -> list[Action]:
        """Take one event; return what is to be done, in order."""
        pool = self._pool
        pool.now = max(pool.now, event.time)
        pool.out = []
        self._dispatch(event)
        pool.flush_cancels()
        if pool.closing is None:
            scale_jobs.staff_up(pool)
            pool.out += pool.calls.bundles(pool.now)
            pool.out += map(ev.TakeBack, pool.calls.stuck(pool.now))
        if pool.finishing:
            shutdown.wind_up(pool)
        batch_answers.poll(pool)
        return pool.out

    def next_tick(self) -> float | None:
        """Return when a Tick is wanted, besides the one that comes every second. None: that one is enough."""
        pool = self._pool
        due = [time for time in (pool.wake, pool.calls.next_look) if time is not None]
        if not pool.inquiry.under_way and pool.fleet.submissions:
            due.append(pool.inquiry.due)
        if pool.closing is not None and not pool.finished:
            due.append(pool.closing + pool.settings.shutdown_patience)
        # What is due already waits for an event (an answer under way), not for time.
        return min((time for time in due if time > pool.now), default=None)

    def suspended(self, key: ev.JobKey) -> bool:
        """Whether a job is suspended, as far as is known: its agent cannot say anything."""
        job = self._pool.fleet.jobs.get(key)
        return job is not None and job.suspended is not None

    def snapshot(self, now: float | None = None) -> Snapshot:
        """Return how the pool is at this time; None: at that of the last event."""
        pool = self._pool
        now = pool.now if now is None else max(now, pool.now)
        jobs = [*pool.fleet.ended.values(), *pool.fleet.jobs.values()]
        views = [self._view(job, now) for job in jobs]
        running = pool.calls.running
        calls = CallCounts(waiting=len(pool.calls) - running, running=running, done=pool.done, failed=pool.failed)
        return Snapshot(
            time=now,
            jobs=tuple(views),
            calls=calls,
            functions=figures.functions(pool),
            requests=figures.requests(pool, now),
            rate=pool.record.recent.rate(now),
            left=figures.time_left(pool, now),
            notices=tuple(pool.notices),
            held=pool.demand(pool.auto.hiring).held,
            phase=self._phase(),
        )

    def record(self, now: float) -> dict[str, Any]:
        """Return what happened so far, as plain values, for the report. Times are seconds since the beginning."""
        pool = self._pool
        requests = {key: pool.asked(key) for key in pool.staff}
        tallies, running = list(pool.calls.tallies), pool.calls.running_now()
        data = pool.record.as_data(requests, tallies, running, max(now, pool.now))
        return {
            **data,
            "done": pool.done,
            "failed_calls": pool.failed,
            "unresolved": len(pool.calls),
            "notices": list(pool.notices),
        }

    def _view(self, job: Job, now: float) -> JobView:
        pool = self._pool
        workers, busy = pool.calls.busy(job.key)
        return describe(job, now=now, workers=workers, busy=busy)

    def _phase(self) -> str:
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
                pool.calls.cut(key, id, at)
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
    staff = pool.staff.get(request)
    if staff is None:
        return ConfigError(f"there is no request {request!r} in this pool")
    if pool.closing is not None:
        return staff.broken or PoolBroken("the pool was shut down")
    return staff.broken


def _calls_started(pool: PoolState, event: ev.CallsStarted) -> None:
    if news := pool.calls.start(event.job, event.ids, pool.now):
        pool.out.append(ev.TellStarted(event.job, news))
        pool.prove(event.job)


def _calls_done(pool: PoolState, event: ev.CallsDone) -> None:
    first, copies = pool.calls.finish(event.job, event.outcomes, pool.now)
    if first:
        failures = sum(total.failures for total in pool.calls.finished)
        pool.done += sum(total.calls for total in pool.calls.finished) - failures
        pool.failed += failures
        pool.record.calls(event.job, pool.calls.finished, pool.now)
        pool.out.append(ev.Resolve(event.job, first))
        pool.prove(event.job, fruitful=True)
        if (job := pool.fleet.jobs.get(event.job)) is not None:
            pool.nodes.served(job.node)
        size_up(pool)
    pool.retract(copies)


def _calls_returned(pool: PoolState, event: ev.CallsReturned) -> None:
    for id in event.ids:
        pool.note_cut(event.job, id, AGAIN, "its job gave it back")
    pool.tell_again(pool.calls.give_back(event.job, event.ids, pool.now))


def _call_checkpointed(pool: PoolState, event: ev.CallCheckpointed) -> None:
    pool.note_cut(event.job, event.call, CHECKPOINT, "")
    if pool.calls.go_on(event.job, event.call, event.function, event.payload, pool.now):
        pool.tell_again((event.call,))
        pool.prove(event.job, fruitful=True)


def _worker_died(pool: PoolState, event: ev.WorkerDied) -> None:
    if (job := pool.fleet.jobs.get(event.job)) is not None and event.death.kills > job.kills:
        pool.fleet.put(replace(job, kills=event.death.kills))
    if event.call is not None and (found := pool.calls.dead(event.job, event.call)) is not None:
        history, items, terms = found
        pool.prove(event.job)
        death, job = event.death, pool.fleet.jobs[event.job]
        loss = Loss(cause=death, started=True, items=items, timeout=terms.timeout)
        pool.recover(job, [(event.call, loss, history, terms)])
        if not (death.out_of_memory or death.timed_out or death.innocent):
            pool.blame_node(job, event.call, "a worker process died")


# ------------------------------------------------------------------------------------------------------ agents


def _agent_joined(pool: PoolState, event: ev.AgentJoined) -> None:
    hello = event.hello
    job = pool.fleet.jobs.get(hello.job)
    if job is None or job.over or pool.closing is not None or pool.staff[job.request].broken:
        why = "the pool is ending" if pool.closing is not None else "this job was given up"
        pool.out.append(ev.StopAgent(hello.job, why, drain=False))
        pool.observe_key(hello.job, Accepted(pool.now, hello.id))
        return
    if words := _too_late(pool, job, hello):
        pool.out.append(ev.StopAgent(job.key, words, drain=False))
        pool.observe(job, Accepted(pool.now, hello.id))
        ending = Ending(kind=EndingKind.FAILED, words=words, node=hello.node, source="agent")
        pool.observe_key(job.key, Dropped(pool.now, ending, ours=False))
        return
    after = advance(job, Joined(pool.now, hello), pool.settings)
    if after is job:
        return
    if pool.calls.holds(job.key):
        _agent_replaced(pool, job)
    pool.staff[job.request].joined(job, pool.now)
    pool.store(job, after)
    pool.calls.join(job.key, pool.line(job.request), workers=hello.workers, time=pool.now, deadline=hello.deadline)
    scale_jobs.relieve(pool, job.request)


def _too_late(pool: PoolState, job: Job, hello: ev.Hello) -> str:
    """Say why a job is of no use that has too little of its walltime left; empty when it has enough."""
    walltime = pool.staff[job.request].request.walltime
    if walltime is None or hello.deadline is None or hello.deadline - pool.now >= LATE * walltime:
        return ""
    left = Duration(max(0.0, hello.deadline - pool.now))
    return f"{left} of its walltime of {walltime} were left when its agent connected; is setup= slow, or a clock wrong?"


def _agent_replaced(pool: PoolState, job: Job) -> None:
    """Decide on the calls of the agent that was here before: a requeued job's, or the same one's, cut off a while.

    The latter may still run them; it is told to drop them before they can go elsewhere.
    """
    ending = Ending(
        kind=EndingKind.PREEMPTED, words=job.words or "its agent was replaced", node=job.node, source="agent"
    )
    if ids := pool.decide_calls(job, ending):
        pool.out.append(ev.Retract(job.key, ids))


def _agent_trouble(pool: PoolState, event: ev.AgentTrouble) -> None:
    ending = Ending(kind=EndingKind.FAILED, words=event.words, source="agent")
    if event.fatal is not None:
        pool.break_all(event.fatal, event.job)
    elif (job := pool.fleet.jobs.get(event.job)) is not None:
        if isinstance(job.state, Submitting):  # faster than the answer of the submit command
            pool.observe(job, Accepted(pool.now, None))
        pool.observe_key(event.job, Dropped(pool.now, ending, ours=False))


def _slots_taken(pool: PoolState, event: ev.SlotsTaken) -> None:
    pool.calls.take(event.job, event.count, pool.now)
    if event.count:
        pool.prove(event.job)
