"""The core: events in, actions out. All decisions of a pool meet here; each is made in a room of its own.

::

    Event ─► handle ─┬─► Fleet      jobs and submissions      (jobs: one job's states)
                     ├─► Calls      who waits, who is where   (pace: bundles; recovery: after a loss)
                     └─► Staffing   how many jobs to ask for  (policy: the arithmetic)
    then, for every event: cancel what is given up ─► submit ─► hand out bundles ─► end? ─► poll ─► Actions

The order of the last line matters: a job that may still live is cancelled before its calls go to another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from jobpool.core import events as ev
from jobpool.core.events import Action, Event, JobKey
from jobpool.core.fleet import Doubt, Fleet, Submission
from jobpool.core.inquiry import Inquiry
from jobpool.core.jobs import (
    Accepted,
    Closing,
    Dropped,
    Ended,
    Job,
    Joined,
    Left,
    Observation,
    Pending,
    Retired,
    Serving,
    Silent,
    Starting,
    Submitting,
    Waited,
    advance,
)
from jobpool.core.policy import Demand, Settling
from jobpool.core.recovery import Again, GiveUp, History, Loss, Place, decide
from jobpool.core.settings import CoreSettings
from jobpool.core.staffing import Staffing, jobs_failed, request_refused
from jobpool.core.tasks import Calls
from jobpool.core.view import CallCounts, JobView, Snapshot, describe
from jobpool.errors import ConfigError, JobPoolError, PoolBroken
from jobpool.model import Ending, EndingKind, JobId, Request

__all__ = ["Core"]

_OWN = ""
"""Key of the pool's own request."""

_WHOLE = 0.9
"""A call that ran for this part of its job's serving time had the walltime to itself."""

_NOT_NEEDED = Ending(kind=EndingKind.CANCELLED, words="not needed any more", source="agent")

_REQUEUED = "the batch system put the job back into the queue"


class Core:
    """Decides for one pool. Has no clock, and does nothing but answer."""

    def __init__(self, *, settings: CoreSettings, now: float) -> None:
        self._settings = settings
        self._now = now
        self._fleet = Fleet(settings)
        self._calls = Calls()
        self._staff: dict[str, Staffing] = {}
        self._held: int | None = None
        self._tasks = 0
        self._finishing = False
        self._closing: float | None = None
        self._finished = False
        self._broken = False
        self._inquiry = Inquiry(settings, now)
        self._accounting = True
        self._wake: float | None = None
        self._cancels: dict[JobId, None] = {}
        self._done = self._failed = 0
        self._notices: deque[str] = deque(maxlen=20)
        self._out: list[Action] = []
        self._add_request(_OWN, settings.request)

    # ------------------------------------------------------------------------------------------ the three doors

    def handle(self, event: Event) -> list[Action]:
        """Take one event; return what is to be done, in order."""
        self._now = max(self._now, event.time)
        self._out = []
        self._dispatch(event)
        self._flush_cancels()
        if self._closing is None:
            self._staff_up()
            self._out += self._calls.bundles()
        if self._finishing:
            self._wind_up()
        self._poll()
        return self._out

    def next_tick(self) -> float | None:
        """Return when a Tick is wanted, besides the one that comes every second. None: that one is enough."""
        due = [] if self._wake is None else [self._wake]
        if not self._inquiry.under_way and self._fleet.submissions:
            due.append(self._inquiry.due)
        if self._closing is not None and not self._finished:
            due.append(self._closing + self._settings.shutdown_patience)
        # What is due already waits for an event (an answer under way), not for time.
        return min((time for time in due if time > self._now), default=None)

    def snapshot(self) -> Snapshot:
        """Return how the pool is."""
        jobs = [*self._fleet.ended.values(), *self._fleet.jobs.values()]
        views = [self._view(job) for job in jobs]
        running = self._calls.running
        calls = CallCounts(waiting=len(self._calls) - running, running=running, done=self._done, failed=self._failed)
        return Snapshot(
            time=self._now, jobs=tuple(views), calls=calls, notices=tuple(self._notices), phase=self._phase()
        )

    def _view(self, job: Job) -> JobView:
        workers, busy = self._calls.busy(job.key)
        return describe(job, now=self._now, workers=workers, busy=busy)

    def _phase(self) -> str:
        if self._finished:
            return "finished"
        if self._closing is not None:
            return "closing"
        if self._broken:
            return "broken"
        return "finishing" if self._finishing else "open"

    def _dispatch(self, event: Event) -> None:
        match event:
            case ev.CallsStarted():
                self._calls_started(event)
            case ev.CallsDone():
                self._calls_done(event)
            case ev.CallsArrived():
                self._calls_arrived(event)
            case ev.CallsReturned(job=key, ids=ids):
                self._tell_again(self._calls.give_back(key, ids, self._now))
            case ev.CallsCancelled(ids=ids):
                self._cancel_calls(ids)
            case ev.WorkerDied():
                self._worker_died(event)
            case ev.SlotsTaken():
                self._slots_taken(event)
            case ev.AgentJoined():
                self._agent_joined(event)
            case ev.AgentLeft(job=key, last_word=word, pid=pid):
                self._observe_key(key, Left(self._now, word, pid))
            case ev.AgentTrouble():
                self._agent_trouble(event)
            case ev.JobsSubmitted():
                self._jobs_submitted(event)
            case ev.SubmitRefused():
                self._submit_refused(event)
            case ev.SubmitDoubtful():
                self._submit_doubtful(event)
            case ev.Polled():
                self._polled(event)
            case ev.PollFailed(words=words):
                self._poll_failed(words)
            case ev.Accounted():
                self._accounted(event)
            case ev.RequestAdded(key=key, request=request):
                self._add_request(key, request)
            case ev.ScaleAsked(workers=workers):
                self._scale(workers)
            case ev.DaskDemand(tasks=tasks):
                self._tasks = tasks
            case ev.ShutdownAsked():
                self._shut_down(event)
            case ev.Tick():
                self._tick()
            case _:
                assert_never(event)

    # ---------------------------------------------------------------------------------------------------- calls

    def _calls_arrived(self, event: ev.CallsArrived) -> None:
        refused: dict[int, JobPoolError] = {}
        for call in event.calls:
            if (error := self._why_not(call.request)) is None:
                self._calls.add(call)
            else:
                refused[call.id] = error
        for id, error in refused.items():
            self._fail([id], error)

    def _why_not(self, request: str) -> JobPoolError | None:
        staff = self._staff.get(request)
        if staff is None:
            return ConfigError(f"there is no request {request!r} in this pool")
        if self._closing is not None:
            return staff.broken or PoolBroken("the pool was shut down")
        return staff.broken

    def _calls_started(self, event: ev.CallsStarted) -> None:
        if news := self._calls.start(event.job, event.ids, self._now):
            self._out.append(ev.TellStarted(event.job, news))
            self._prove(event.job)

    def _calls_done(self, event: ev.CallsDone) -> None:
        first, copies = self._calls.finish(event.job, event.outcomes, self._now)
        if first:
            self._done += len(first)
            self._out.append(ev.Resolve(event.job, first))
            self._prove(event.job)
            if (job := self._fleet.jobs.get(event.job)) is not None:
                self._staff[job.request].resulted()
        self._retract(copies)

    def _cancel_calls(self, ids: Iterable[int]) -> None:
        self._retract(self._calls.cancel(ids))

    def _retract(self, at_agents: dict[JobKey, list[int]]) -> None:
        for key, ids in at_agents.items():
            if (job := self._fleet.jobs.get(key)) is not None and job.connected:
                self._out.append(ev.Retract(key, tuple(ids)))

    def _tell_again(self, ids: tuple[int, ...]) -> None:
        if ids:
            self._out.append(ev.TellAgain(ids))

    def _worker_died(self, event: ev.WorkerDied) -> None:
        history = self._calls.dead(event.job, event.call)
        if history is not None:
            self._prove(event.job)
            self._recover(self._fleet.jobs[event.job], [(event.call, Loss(cause=event.death, started=True), history)])

    def _decide_calls(self, job: Job, ending: Ending) -> tuple[int, ...]:
        """Decide on the calls that a lost job had. Returns their ids."""
        held = self._calls.lose(job.key, self._now)
        alone = sum(call.started for call in held) == 1
        losses = [
            (call.id, Loss(cause=ending, started=call.started, alone=alone, whole=call.share >= _WHOLE), call.history)
            for call in held
        ]
        self._recover(job, losses)
        return tuple(call.id for call in held)

    def _recover(self, job: Job, losses: list[tuple[int, Loss, History]]) -> None:
        staff = self._staff[job.request]
        place = Place(job.id, job.node, staff.request)
        again: list[tuple[int, History]] = []
        told: list[int] = []
        for id, loss, history in losses:
            verdict = GiveUp(staff.broken) if staff.broken else decide(loss, history, place, self._settings.retry)
            match verdict:
                case Again(history=history):
                    again.append((id, history))
                    if loss.started:
                        told.append(id)
                case GiveUp(error=error):
                    self._calls.cancel([id])
                    self._fail([id], error, job.key)
                case _:
                    assert_never(verdict)
        self._calls.again(again, self._now)
        self._tell_again(tuple(told))

    def _fail(self, ids: Iterable[int], error: JobPoolError, job: JobKey | None = None) -> None:
        if ids := tuple(ids):
            self._failed += len(ids)
            self._out.append(ev.Fail(ids, error, job))

    # --------------------------------------------------------------------------------------------------- agents

    def _agent_joined(self, event: ev.AgentJoined) -> None:
        hello = event.hello
        job = self._fleet.jobs.get(hello.job)
        if job is None or job.over or self._closing is not None or self._staff[job.request].broken:
            why = "the pool is ending" if self._closing is not None else "this job was given up"
            self._out.append(ev.StopAgent(hello.job, why, drain=False))
            self._observe_key(hello.job, Accepted(self._now, hello.id))
            return
        after = advance(job, Joined(self._now, hello), self._settings)
        if after is job:
            return
        if self._calls.holds(job.key):
            self._agent_replaced(job)
        self._store(job, after)
        self._calls.join(job.key, job.request, workers=hello.workers, time=self._now)

    def _agent_replaced(self, job: Job) -> None:
        """Decide on the calls of the agent that was here before: a requeued job's, or the same one's, cut off a while.

        The latter may still run them; it is told to drop them before they can go elsewhere.
        """
        ending = Ending(kind=EndingKind.PREEMPTED, words=job.words or _REQUEUED, node=job.node, source="agent")
        if ids := self._decide_calls(job, ending):
            self._out.append(ev.Retract(job.key, ids))

    def _agent_trouble(self, event: ev.AgentTrouble) -> None:
        ending = Ending(kind=EndingKind.FAILED, words=event.words, source="agent")
        if event.fatal is not None:
            self._break_all(event.fatal, event.job)
        elif (job := self._fleet.jobs.get(event.job)) is not None:
            if isinstance(job.state, Submitting):  # faster than the answer of the submit command
                self._observe(job, Accepted(self._now, None))
            self._observe_key(event.job, Dropped(self._now, ending, ours=False))

    def _slots_taken(self, event: ev.SlotsTaken) -> None:
        self._calls.take(event.job, event.count, self._now)
        if event.count:
            self._prove(event.job)

    def _prove(self, key: JobKey) -> None:
        job = self._fleet.jobs.get(key)
        if job is not None and not job.proven:
            self._fleet.put(replace(job, proven=True))
            self._staff[job.request].served()

    # ------------------------------------------------------------------------------------------------------ jobs

    def _observe_key(self, key: JobKey, observation: Observation) -> None:
        if (job := self._fleet.jobs.get(key)) is not None:
            self._observe(job, observation)

    def _observe(self, job: Job, observation: Observation) -> None:
        after = advance(job, observation, self._settings)
        if after is not job:
            self._store(job, after)

    def _store(self, before: Job, after: Job) -> None:
        """Keep a job's change, and do what follows from it."""
        self._fleet.put(after)
        if type(before.state) is not type(after.state):
            self._inquiry.hurry(self._now)
        if not isinstance(after.state, Serving):
            self._calls.close(after.key)
        if isinstance(after.state, Silent) and before.connected:
            self._inquiry.hurry(self._now, at_once=True)
        if isinstance(after.state, Closing):
            self._cancel_job(before, after, after.state)
        if not after.holds_calls and self._calls.holds(after.key):
            self._decide_calls(after, _ending(after))
        if after.over and not before.over:
            self._mourn(after)
        if isinstance(after.state, Pending | Starting) and (
            self._closing is not None or self._staff[after.request].broken
        ):
            self._observe(after, Dropped(self._now, _NOT_NEEDED))

    def _cancel_job(self, before: Job, after: Job, state: Closing) -> None:
        if before.connected:
            self._out.append(ev.StopAgent(after.key, state.ending.words, drain=False))
        again = isinstance(before.state, Closing) and before.state.since == state.since
        if after.id is not None and (not again or before.id is None):
            self._cancels[after.id] = None

    def _flush_cancels(self) -> None:
        if self._cancels:
            self._out.append(ev.CancelJobs(ids=tuple(self._cancels)))
            self._cancels.clear()

    def _mourn(self, job: Job) -> None:
        """Draw the lesson from a job's end."""
        state, staff = job.state, self._staff[job.request]
        if job.proven:
            staff.served()
        if (
            not isinstance(state, Closing | Ended)
            or state.ours
            or self._closing is not None
            or staff.broken
            or job.id is None
        ):
            return
        failing = staff.lost(job, state.ending, self._now, self._settings)
        if not failing:
            return
        if any(other.connected for other in self._fleet.of(job.request)):
            self._notice(
                f"{staff.failures} jobs in a row came to nothing ({state.ending.words}); others serve", warning=True
            )
        else:
            self._give_up(job.request, jobs_failed(job, state.ending, staff.failures), job.key)

    # ----------------------------------------------------------------------------------------------- giving up

    def _give_up(self, request: str, error: JobPoolError, job: JobKey | None = None) -> None:
        """Ask for no more jobs for this request, and fail the calls that wait for one."""
        staff = self._staff[request]
        staff.broken = error
        self._fail(self._calls.clear(request), error, job)
        for other in self._fleet.of(request):
            if not other.connected:
                self._observe(other, Dropped(self._now, _NOT_NEEDED))
        if all(other.broken for other in self._staff.values()):
            self._break(error)

    def _break_all(self, error: JobPoolError, job: JobKey) -> None:
        for staff in self._staff.values():
            staff.broken = staff.broken or error
        ids = self._calls.ids()
        self._calls.cancel(ids)
        self._fail(ids, error, job)
        for other in list(self._fleet.jobs.values()):
            self._observe(other, Dropped(self._now, _NOT_NEEDED))
        self._break(error)

    def _break(self, error: JobPoolError) -> None:
        if not self._broken:
            self._broken = True
            self._out.append(ev.BreakPool(error))

    def _notice(self, text: str, *, warning: bool = False) -> None:
        if text not in self._notices:
            self._notices.append(text)
            self._out.append(ev.Notice(text, warning))

    # --------------------------------------------------------------------------------------- the batch system

    def _jobs_submitted(self, event: ev.JobsSubmitted) -> None:
        submission = self._fleet.submissions.get(event.submission)
        if submission is None:  # looked up in vain before, or told twice
            keys = {JobKey(event.submission, element): id for element, id in enumerate(event.ids)}
            self._cancels.update({id: None for key, id in keys.items() if key not in self._fleet.ended})
            return
        submission.answered, submission.doubt = True, None
        self._staff[submission.request].backoff = self._staff[submission.request].backoff.accepted(submission.count)
        for element, id in enumerate(event.ids):
            self._observe_key(JobKey(event.submission, element), Accepted(self._now, id))
        self._fleet.forget(submission)  # those beyond the ids: the batch system took fewer
        self._inquiry.hurry(self._now)

    def _submit_refused(self, event: ev.SubmitRefused) -> None:
        submission = self._fleet.submissions.get(event.submission)
        if submission is None or submission.answered:
            return
        self._fleet.forget(submission)
        staff = self._staff[submission.request]
        if event.temporary:
            staff.backoff = staff.backoff.refused(submission.count, self._now, self._settings)
            self._notice(f"the batch system takes no more jobs now; asking again later: {event.words}", warning=True)
        elif self._fleet.supply(submission.request):
            staff.backoff = staff.backoff.longer(self._now + self._settings.backoff_last, self._settings)
            self._notice(f"the batch system refused more jobs; going on with fewer: {event.words}", warning=True)
        elif not staff.broken:
            self._give_up(submission.request, request_refused(event.words))

    def _submit_doubtful(self, event: ev.SubmitDoubtful) -> None:
        submission = self._fleet.submissions.get(event.submission)
        if submission is None or submission.answered:
            return
        submission.answered, submission.doubt = True, Doubt(event.words)
        if self._fleet.seen(submission):
            self._found(submission)
        self._inquiry.hurry(self._now, at_once=True)

    def _found(self, submission: Submission) -> None:
        """Take the submission for accepted: one job of it was seen, so all exist."""
        submission.doubt = None
        for job in self._fleet.of_submission(submission):
            self._observe(job, Accepted(self._now, None))

    def _not_found(self, submission: Submission, words: str) -> None:
        self._fleet.forget(submission)
        self._fleet.ghosts[submission.name] = None
        staff = self._staff[submission.request]
        staff.backoff = staff.backoff.longer(self._now, self._settings)
        self._notice(f"a submit command failed and left no job; asking again: {words}", warning=True)

    def _poll(self) -> None:
        ready = not self._finished and not self._inquiry.under_way and self._now >= self._inquiry.due
        if ready and self._fleet.submissions and (names := self._fleet.names()):
            self._inquiry.ask(self._now)
            self._out.append(ev.Poll(names))

    def _polled(self, event: ev.Polled) -> None:
        asked = self._inquiry.answered()
        for key, observation in list(self._fleet.read_poll(event, asked)):
            self._observe_key(key, observation)
        for submission, doubt in list(self._fleet.look_up(event, asked)):
            if doubt is None:
                self._found(submission)
            elif doubt.misses >= self._settings.lookups:
                self._not_found(submission, doubt.words)
        self._cancels.update(dict.fromkeys(self._fleet.strays(event)))
        self._inquiry.rest(self._now, pressing=self._fleet.pressing)
        if self._accounting and (names := self._fleet.unexplained()):
            self._out.append(ev.Account(names))

    def _poll_failed(self, words: str) -> None:
        if self._inquiry.failed(self._now):
            self._notice(f"the batch system does not answer; the calls go on: {words}", warning=True)

    def _accounted(self, event: ev.Accounted) -> None:
        self._accounting = self._accounting and event.endings is not None
        for key, observation in list(self._fleet.read_account(event)):
            self._observe_key(key, observation)

    # ------------------------------------------------------------------------------------------------- staffing

    def _add_request(self, key: str, request: Request) -> None:
        if key not in self._staff:
            self._staff[key] = Staffing(request)
            self._calls.open_line(key, self._settings.max_workers)

    def _demand(self, key: str) -> Demand:
        own = key == _OWN
        return Demand(
            calls=self._calls.demand(key),
            tasks=self._tasks if own else 0,
            min_workers=self._settings.min_workers if own and not self._finishing else 0,
            max_workers=self._settings.max_workers,
            held=self._held if own and not self._finishing else None,
        )

    def _scale(self, workers: int | None) -> None:
        self._held = workers
        self._calls.set_ceiling(_OWN, self._demand(_OWN).ceiling)
        self._shed(_OWN)

    def _staff_up(self) -> None:
        """Ask for the jobs that are missing, when it is time."""
        self._wake = None
        for key, staff in self._staff.items():
            if staff.broken:
                continue
            demand = self._demand(key)
            wanted = staff.wanted(demand, self._settings)
            missing = wanted - self._fleet.supply(key)
            if missing <= 0:
                staff.settling = Settling()
                continue
            due = staff.due(wanted, full=demand.full, now=self._now, settings=self._settings)
            if due > self._now:
                self._wake = due if self._wake is None else min(self._wake, due)
                continue
            for count in staff.submissions(missing, self._settings):
                submission = self._fleet.submit(key, count, self._now)
                self._out.append(ev.SubmitJobs(submission.name, key, count))

    def _tick(self) -> None:
        for job in list(self._fleet.jobs.values()):
            if isinstance(job.state, Silent | Starting):
                self._observe(job, Waited(self._now))
        if self._closing is None:
            for key in self._staff:
                self._shed(key)

    def _shed(self, key: str) -> None:
        """Let go of jobs that there has been no work for: first those that wait, then the idle ones."""
        staff, demand = self._staff[key], self._demand(key)
        surplus = self._fleet.supply(key) - staff.wanted(demand, self._settings)
        if surplus <= 0:
            staff.surplus_since = None
            return
        if staff.surplus_since is None:
            staff.surplus_since = self._now
        patience = self._settings.idle_timeout if demand.held is None else 0.0
        if self._now - staff.surplus_since < patience:
            return
        pending = [job for job in self._fleet.of(key) if isinstance(job.state, Pending)]
        for job in pending[-surplus:]:  # the last ones asked for wait longest
            self._observe(job, Dropped(self._now, _NOT_NEEDED))
        surplus -= len(pending[-surplus:])
        idle = self._calls.least_busy(key) if demand.held is not None else self._calls.idle(key, self._now - patience)
        for agent in idle[:surplus]:
            self._retire(agent, "not needed" if demand.held is not None else "idle")

    def _retire(self, key: JobKey, why: str) -> None:
        self._observe_key(key, Retired(self._now, why))
        self._out.append(ev.StopAgent(key, why, drain=True))

    # ------------------------------------------------------------------------------------------------- shutdown

    def _shut_down(self, event: ev.ShutdownAsked) -> None:
        self._finishing = True
        self._calls.set_ceiling(_OWN, self._demand(_OWN).ceiling)
        if event.cancel_waiting:
            self._cancel_calls(self._calls.not_started())
        if event.kill:
            ids = self._calls.ids()
            self._cancel_calls(ids)
            self._fail(ids, PoolBroken("the pool was stopped before this call ended"))

    def _wind_up(self) -> None:
        """End when no call is left: cancel all jobs in one command, and wait until they are gone."""
        if self._closing is None:
            if len(self._calls):
                return
            self._begin_closing()
        if self._finished or self._fleet.under_way:
            return
        if not self._fleet.jobs or self._now - self._closing_since >= self._settings.shutdown_patience:
            self._finished = True
            # A job without an id is named by its submission: all that there is to look for.
            left = (job.id or JobId(job.key.submission) for job in self._fleet.jobs.values())
            self._out.append(ev.Finished(tuple(dict.fromkeys(left))))
        elif self._now >= self._cancelled_all + self._settings.cancel_again:
            self._cancel_all()

    def _begin_closing(self) -> None:
        self._closing = self._now
        self._wake = None
        self._inquiry.ending = True
        self._inquiry.hurry(self._now)
        for job in list(self._fleet.jobs.values()):
            self._observe(job, Dropped(self._now, _NOT_NEEDED))
        self._cancel_all()

    def _cancel_all(self) -> None:
        """Cancel whatever may be in the queue, in one command; by name only where an id is missing."""
        self._cancelled_all = self._now
        jobs = self._fleet.jobs.values()
        names = dict.fromkeys((*(job.key.submission for job in jobs if job.id is None), *self._fleet.ghosts))
        ids = tuple(job.id for job in jobs if job.id is not None)
        self._cancels.clear()
        if names or ids:
            self._out.append(ev.CancelJobs(tuple(names), ids))


def _ending(job: Job) -> Ending:
    """Return why a job that has no agent any more lost it."""
    if isinstance(job.state, Closing | Ended):
        return job.state.ending
    return Ending(kind=EndingKind.PREEMPTED, words=f"{_REQUEUED}: {job.words}", node=job.node, source="queue")
