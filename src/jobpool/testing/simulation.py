"""A cluster in fake time: a batch system and agents that feed a Core and carry out its actions, with faults on demand.

::

    sim = Simulation(CoreSettings(pool="t", max_workers=4))
    ids = sim.submit(10, seconds=2.0)
    sim.run(60)
    assert sim.results.keys() == set(ids)

Nothing here sleeps: an hour of cluster takes milliseconds. What the core may never do (resolve a call twice, start a
cancelled one, reuse a name) raises :class:`BrokenPromise` at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import assert_never

from msgspec import structs

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.actions import Action
from jobpool.core.events import Event, Hello, JobKey
from jobpool.core.scaling.walltime import Span
from jobpool.core.settings import CoreSettings
from jobpool.core.steps.engine import Core
from jobpool.model.call import Call, Outcome
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.errors import JobPoolError
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.testing.simulation_agents import EventAt, Workplace
from jobpool.testing.simulation_parts import FakeClock, Faults, SimulatedAgent, SimulatedJob, seen_of

__all__ = ["BrokenPromise", "FakeClock", "Faults", "SimulatedAgent", "SimulatedJob", "Simulation"]


NODES = ("n0", "n1", "n2", "n3")


class BrokenPromise(AssertionError):
    """The core did what it must never do."""


class Simulation(Workplace):
    """A core, and a world around it."""

    def __init__(self, settings: CoreSettings, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.settings = settings
        self.core = Core(settings=settings, now=self.clock.now)
        self.start_delay = 1.0
        self.join_delay = 0.5
        self.command_seconds = 0.05
        self.tick_seconds = 1.0
        """Between two ticks, beside those that the core asks for."""
        self.submits: list[act.SubmitJobs] = []
        self.actions: list[Action] = []
        self.results: dict[int, Outcome] = {}
        self.errors: dict[int, JobPoolError] = {}
        self.cancelled: set[int] = set()
        self.told_running: set[int] = set()
        self.notices: list[str] = []
        self.broken: JobPoolError | None = None
        self.finished: act.Finished | None = None
        self._rows: dict[int, list[int]] = {}
        """Row -> all calls that were submitted with it."""
        self._open: dict[int, None] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._polling = self._accounting = False
        self._listing: tuple[Seen, ...] = ()
        """What the queue showed at the time ``_listed``."""
        self._listed = self.clock.now
        self._last_tick = self.clock.now

    # --------------------------------------------------------------------------------------- what a client does

    def submit(
        self,
        count: int = 1,
        *,
        seconds: float = 1.0,
        request: str = "",
        function: str = "f",
        terms: CallOptions = PLAIN,
    ) -> list[int]:
        """Submit calls that take so long. Returns their ids."""
        ids = [next(self._numbers) for _ in range(count)]
        self._submit(ids, seconds, [Call(id, function, b"", request, terms=terms) for id in ids])
        return ids

    def submit_rows(self, count: int, *, seconds: float = 1.0, request: str = "", function: str = "f") -> list[int]:
        """Submit calls as a map does, all in one payload."""
        ids = [next(self._numbers) for _ in range(count)]
        self._rows.update((id, ids) for id in ids)
        self._submit(ids, seconds, [Call(ids[0], function, b"", request, 0, count)])
        return ids

    def _submit(self, ids: list[int], seconds: float, calls: list[Call]) -> None:
        self._seconds.update(dict.fromkeys(ids, seconds))
        self._open.update(dict.fromkeys(ids))
        self.feed(ev.CallsArrived(self.clock.now, tuple(calls)))

    def cancel(self, ids: Iterable[int]) -> None:
        """Cancel calls as a Future would: those that have an end, or run as far as the client knows, are left out."""
        self.feed(ev.CallsCancelled(self.clock.now, self._cancel_futures(ids)))

    def _cancel_futures(self, ids: Iterable[int]) -> tuple[int, ...]:
        wanted = dict.fromkeys(other for id in ids for other in self._rows.get(id, [id]))
        done = tuple(id for id in wanted if id in self._open and (id not in self.told_running or id in self._rows))
        self.cancelled.update(done)
        for id in done:
            del self._open[id]
        return done

    def add_request(self, key: str, request: Request) -> None:
        """Make another kind of worker known."""
        self.feed(ev.RequestAdded(self.clock.now, key, request))

    def shut_down(self, *, cancel_waiting: bool = False, kill: bool = False) -> None:
        """Shut the pool down as an executor does."""
        if cancel_waiting:
            self._cancel_futures(self.open_calls)
        self.feed(ev.ShutdownAsked(self.clock.now, cancel_waiting, kill))

    def ended(self, id: int) -> bool:
        """Whether the call's future is resolved."""
        return id not in self._open

    @property
    def open_calls(self) -> list[int]:
        """Calls without an end."""
        return list(self._open)

    @property
    def queue(self) -> list[SimulatedJob]:
        """Jobs that did not end."""
        return [job for job in self.jobs.values() if job.ending is None]

    # ------------------------------------------------------------------------------------------------ the time

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, at most so long. Returns whether ``until`` came true (at once if it is true already)."""
        end = self.clock.now + seconds
        while not until():
            tick = min(self._last_tick + self.tick_seconds, self.core.next_tick() or float("inf"))
            due = self._events[0][0] if self._events else float("inf")
            if min(tick, due) > end:
                self.clock.now = max(self.clock.now, end)
                return until()
            if due <= tick:
                self.clock.now = max(self.clock.now, due)
                heapq.heappop(self._events)[2]()
            else:
                self.clock.now = self._last_tick = max(self.clock.now, tick)
                self.feed(ev.Tick(self.clock.now))
        return True

    def settle(self, seconds: float = 3600.0) -> bool:
        """Run until no call is open. Returns whether that came about in this time."""
        return self.run(seconds, until=lambda: not self._open)

    def feed(self, event: Event) -> None:
        """Give an event to the core and carry out what it wants."""
        for action in self.core.handle(event):
            self.actions.append(action)
            self._carry_out(action)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after some seconds."""
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._order), what))

    def _tell(self, event: EventAt, seconds: float) -> None:
        delay = seconds + self._random.random() * self.faults.jitter
        self.later(delay, lambda: self.feed(event(self.clock.now)))
        if self._random.random() < self.faults.twice:
            self.later(delay + self._random.random() * 3, lambda: self.feed(event(self.clock.now)))

    # --------------------------------------------------------------------------------------------- the actions

    def _carry_out(self, action: Action) -> None:
        match action:
            case act.SubmitJobs():
                self._submit_jobs(action)
            case act.Poll(names=names):
                self._poll(names)
            case act.AskAccounting(names=names):
                self._account(names)
            case act.CancelJobs():
                self.later(self.command_seconds, lambda: self._cancel_jobs(action))
            case act.SendBundle(job=key, calls=calls):
                if ended := [id for call in calls for id in call.ids if id not in self._open]:
                    raise BrokenPromise(f"calls {ended} were handed out although they were cancelled or had an end")
                self._to_agent(key, lambda agent: self._take_bundle(agent, calls))
            case act.Retract(job=key, ids=ids):
                self._to_agent(key, lambda agent: self._retract(agent, ids))
            case act.TakeBack(job=key):
                self._to_agent(key, self._take_back)
            case act.StopAgent(job=key, drain=drain):
                self._to_agent(key, lambda agent: self._stop(agent, drain=drain))
            case act.TellStarted(ids=ids):
                self.told_running.update(ids)
            case act.TellAgain(ids=ids):
                self.told_running.difference_update(ids)
            case act.Resolve(outcomes=outcomes):
                for outcome in outcomes:
                    for id in range(outcome.call, outcome.call + (outcome.rows or 1)):
                        self._end_call(id)
                        self.results[id] = outcome
            case act.Fail(ids=ids, error=error):
                for id in ids:
                    self._end_call(id)
                    self.errors[id] = error
            case act.BreakPool(error=error):
                self.broken = error
            case act.Notice(text=text):
                self.notices.append(text)
            case act.Finished():
                if self.finished is not None:
                    raise BrokenPromise("Finished came twice")
                self.finished = action
            case _:
                assert_never(action)

    def _end_call(self, id: int) -> None:
        if id in self.results or id in self.errors:
            raise BrokenPromise(f"call {id} got a second end")
        self._open.pop(id, None)
        self.told_running.discard(id)

    def _submit_jobs(self, action: act.SubmitJobs) -> None:
        if any(earlier.submission == action.submission for earlier in self.submits):
            raise BrokenPromise(f"{action.submission} was submitted twice")
        self.submits.append(action)
        name, count = action.submission, action.count
        answer = self._answer(count)
        if answer is None or (isinstance(answer, ev.SubmitDoubtful) and self.faults.doubtful_exist):
            ids = tuple(self._enqueue(JobKey(name, element), action.request) for element in range(count))
        if answer is None and self._hangs("submit"):
            answer = ev.SubmitDoubtful(0.0, "", "no answer in 60 s")
        if answer is None:
            self._tell(lambda time: ev.JobsSubmitted(time, name, ids), self.command_seconds)
        else:
            given = answer
            self._tell(lambda time: structs.replace(given, time=time, submission=name), self.command_seconds)

    def _hangs(self, command: str) -> bool:
        """Say whether a command does its work and never answers."""
        return False

    def _answer(self, count: int) -> ev.SubmitRefused | ev.SubmitDoubtful | None:
        faults = self.faults
        if faults.refuse_all:
            return ev.SubmitRefused(0.0, "", faults.refuse_all, temporary=False)
        if faults.most_jobs is not None and len(self.queue) + count > faults.most_jobs:
            return ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
        return faults.answers.popleft() if faults.answers else None

    def _enqueue(self, key: JobKey, request: Request) -> JobId:
        job = self.jobs[key] = SimulatedJob(key, self._new_id(key), request)
        if self.faults.held:
            self.hold(job, self.faults.held, hopeless=self.faults.hopeless)
        self._plan_start(job)
        return job.id

    def _new_id(self, key: JobKey) -> JobId:
        return JobId(f"{key.submission.rsplit('-')[-1]}_{key.element}")

    def _poll(self, names: tuple[str, ...]) -> None:
        if self._polling:
            raise BrokenPromise("a second poll before the answer of the first")
        self._polling = True
        deaf, seen = self._hangs("poll") or self.faults.deaf, self._shown(names)

        def answer(time: float) -> Event:
            self._polling = False
            return ev.PollFailed(time, "Socket timed out") if deaf else ev.Polled(time, names, seen)

        self._tell(answer, 10.0 if deaf else self.command_seconds)

    def _shown(self, names: tuple[str, ...]) -> tuple[Seen, ...]:
        """Return what the queue shows of these submissions."""
        if not self.faults.listing_age:
            shown = [seen_of(job) for job in self.jobs.values() if job.key.submission in names]
        else:
            if self.clock.now - self._listed >= self.faults.listing_age:
                self._listing, self._listed = tuple(map(seen_of, self.jobs.values())), self.clock.now
            shown = [seen for seen in self._listing if seen.name in names]
        hidden = {False: self.faults.blind, True: self.faults.forgetful}
        return tuple(seen for seen in shown if not hidden[seen.ending is not None])

    def _account(self, names: tuple[str, ...]) -> None:
        if self._accounting:
            raise BrokenPromise("the accounting is asked again before it has answered")
        self._accounting = True
        told = self._accounted([job for job in self.jobs.values() if job.key.submission in names])

        def answer(time: float) -> Event:
            self._accounting = False
            return ev.Accounted(time, names, told)

        self._tell(answer, 20 * self.command_seconds)  # its database is slower than the controller

    def _accounted(self, jobs: Iterable[SimulatedJob]) -> dict[JobId, Ending | JobState] | None:
        """Return what the accounting tells of these jobs. None: there is none."""
        if not self.faults.accounting:
            return None
        return {job.id: job.state if job.ending is None else replace(job.ending, source="accounting") for job in jobs}

    def _cancel_jobs(self, action: act.CancelJobs) -> None:
        for job in self.queue:
            if not self.faults.deaf and (job.id in action.ids or job.key.submission in action.names):
                self.end(job, EndingKind.CANCELLED, "CANCELLED by 1001")

    # ------------------------------------------------------------------------------------------------ the jobs

    def _plan_start(self, job: SimulatedJob) -> None:
        run = job.run

        def start() -> None:
            if job.run != run or job.state is not JobState.PENDING or job.hold is not None:
                return
            nodes = [node for node in NODES if node not in job.request.exclude]
            job.state, job.reason, job.node = JobState.RUNNING, "", nodes[job.key.element % len(nodes)]
            if job.request.walltime is not None:
                job.ends = self.clock.now + job.request.walltime
            if self.faults.script_fails or job.node == self.faults.bad_node:
                self.later(0.2, lambda: self.end(job, EndingKind.FAILED, "FAILED NonZeroExitCode 1:0", run=run))
            elif not self.faults.never_connect:
                self.later(self.join_delay, join)
            self._plan_timeout(job)

        def join() -> None:
            if job.run == run and job.state is JobState.RUNNING:
                self._join(job)
            elif job.run == run and job.state is JobState.SUSPENDED:
                self.later(self.join_delay, join)

        self.later(self.start_delay * (0.5 + self._random.random()), start)

    def _plan_timeout(self, job: SimulatedJob) -> None:
        run, ends = job.run, job.ends

        def time_is_up() -> None:
            if job.ends == ends and job.state is not JobState.SUSPENDED:
                self.end(job, EndingKind.TIMED_OUT, "TIMEOUT TimeLimit 0:0", run=run)

        if ends is not None:
            self.later(ends - self.clock.now, time_is_up)

    def suspend(self, job: SimulatedJob, *, announced: bool = True) -> None:
        """Suspend a job that runs. ``announced``: its agent has the time to say so."""
        if job.state is JobState.RUNNING:
            job.state, job.stopped_at = JobState.SUSPENDED, self.clock.now
            if (agent := job.agent) is not None and agent.stopped_at is None:
                if announced:
                    self._tell_from(agent, lambda time: ev.AgentSuspended(time, job.key))
                self.stand_still(agent)

    def resume(self, job: SimulatedJob) -> None:
        """Let a job go on that was suspended; its walltime is as much longer."""
        if job.state is JobState.SUSPENDED:
            job.state = JobState.RUNNING
            if job.ends is not None:
                job.ends += self.clock.now - job.stopped_at
                self._plan_timeout(job)
            if job.agent is not None:
                self.go_on(job.agent)

    def is_suspended(self, key: JobKey) -> bool:
        """Whether the core believes that a job is suspended."""
        return self.core.suspended(key)

    def _join(self, job: SimulatedJob) -> None:
        agent = job.agent = SimulatedAgent(job, next(self._numbers), job.request.workers_per_job)
        if job.ends is not None:
            closes = Span.until(job.ends, joined=self.clock.now).closes
            self._later_in(agent, closes - self.clock.now, lambda: self.take_leave(agent))
        self._say_hello(agent)

    def _say_hello(self, agent: SimulatedAgent) -> None:
        job = agent.job
        hello = Hello(
            job=job.key,
            id=job.id,
            node=job.node or "",
            workers=agent.workers,
            pid=agent.pid,
            deadline=job.ends,
        )
        self._tell_from(agent, lambda time: ev.AgentJoined(time, hello))

    def end(
        self, job: SimulatedJob, kind: EndingKind, words: str, *, run: int | None = None, exit_code: int | None = None
    ) -> None:
        """End a job, and with it its agent."""
        if job.ending is None and run in (None, job.run):
            job.state = JobState.ENDED
            job.ending = Ending(kind=kind, message=words, node=job.node, exit_code=exit_code, source="queue")
            self._leave_checkpoints(job)
            self._end_agent(job, "SIGTERM")

    def hold(self, job: SimulatedJob, reason: str = "JobHeldUser", *, hopeless: bool = False) -> None:
        """Hold a job that is pending."""
        if job.state is JobState.PENDING:
            job.reason, job.hold = reason, Hold("'scontrol release' lets it go on", hopeless)

    def release(self, job: SimulatedJob) -> None:
        """Let a job start that was held."""
        if job.state is JobState.PENDING and job.hold is not None:
            job.reason, job.hold = "Priority", None
            job.run += 1
            self._plan_start(job)

    def requeue(self, job: SimulatedJob) -> None:
        """Put a job back into the queue, as preemption does."""
        if job.ending is None:
            self._leave_checkpoints(job)
            self._end_agent(job, "")
            job.run += 1
            job.state, job.reason, job.node = JobState.PENDING, "BeginTime", None
            self._plan_start(job)
