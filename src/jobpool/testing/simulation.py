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
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import assert_never

from jobpool.core import events as ev
from jobpool.core.engine import Core
from jobpool.core.events import Action, Death, Event, Hello, JobKey, Outcome
from jobpool.core.settings import CoreSettings
from jobpool.errors import JobPoolError
from jobpool.model import PLAIN, Call, Ending, EndingKind, JobId, JobState, Request, Terms, Usage
from jobpool.testing.simulation_parts import FakeClock, Faults, SimulatedAgent, SimulatedJob, seen_of
from jobpool.units import Memory

__all__ = ["BrokenPromise", "FakeClock", "Faults", "SimulatedAgent", "SimulatedJob", "Simulation"]

EventAt = Callable[[float], Event]
"""An event that gets its time when it is delivered."""


class BrokenPromise(AssertionError):
    """The core did what it must never do."""


class Simulation:
    """A core, and a world around it."""

    def __init__(self, settings: CoreSettings, *, seed: int = 0) -> None:
        self.settings = settings
        self.clock = FakeClock()
        self.core = Core(settings=settings, now=self.clock.now)
        self.faults = Faults()
        self.start_delay = 1.0
        self.join_delay = 0.5
        self.latency = 0.002
        self.command_seconds = 0.05
        self.jobs: dict[JobKey, SimulatedJob] = {}
        self.submits: list[ev.SubmitJobs] = []
        self.actions: list[Action] = []
        self.results: dict[int, Outcome] = {}
        self.errors: dict[int, JobPoolError] = {}
        self.cancelled: set[int] = set()
        self.runs: Counter[int] = Counter()
        self.told_running: set[int] = set()
        self.notices: list[str] = []
        self.broken: JobPoolError | None = None
        self.finished: ev.Finished | None = None
        self.most_running = 0
        self.overlaps: list[int] = []
        """Calls that ran at two places at once."""
        self._random = random.Random(seed)
        self._seconds: dict[int, float] = {}
        self._rows: dict[int, list[int]] = {}
        """Row -> all calls that were submitted with it."""
        self._open: dict[int, None] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._polling = False
        self._last_tick = self.clock.now

    # --------------------------------------------------------------------------------------- what a client does

    def submit(
        self, count: int = 1, *, seconds: float = 1.0, request: str = "", function: str = "f", terms: Terms = PLAIN
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

    @property
    def agents(self) -> list[SimulatedAgent]:
        """Agents that live."""
        return [job.agent for job in self.jobs.values() if job.agent is not None]

    # ------------------------------------------------------------------------------------------------ the time

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, at most so long. Returns whether ``until`` came true (at once if it is true already)."""
        end = self.clock.now + seconds
        while not until():
            tick = min(self._last_tick + 1.0, self.core.next_tick() or float("inf"))
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

    def _tell_from(self, agent: SimulatedAgent, event: EventAt) -> None:
        """Tell something over an agent's connection, which keeps the order."""
        if agent.connected:
            arrives = max(agent.last_sent, self.clock.now + self.latency + self._random.random() * self.faults.jitter)
            agent.last_sent = arrives
            self.later(arrives - self.clock.now, lambda: self.feed(event(self.clock.now)))
            if not isinstance(event(0.0), ev.AgentJoined | ev.AgentLeft) and self._random.random() < self.faults.twice:
                self.later(
                    arrives - self.clock.now + self._random.random() * 3, lambda: self.feed(event(self.clock.now))
                )

    # --------------------------------------------------------------------------------------------- the actions

    def _carry_out(self, action: Action) -> None:
        match action:
            case ev.SubmitJobs():
                self._submit_jobs(action)
            case ev.Poll(names=names):
                self._poll(names)
            case ev.Account(names=names):
                self._account(names)
            case ev.CancelJobs():
                self.later(self.command_seconds, lambda: self._cancel_jobs(action))
            case ev.SendBundle(job=key, calls=calls):
                if ended := [id for call in calls for id in call.ids if id not in self._open]:
                    raise BrokenPromise(f"calls {ended} were handed out although they were cancelled or had an end")
                self._to_agent(key, lambda agent: self._take_bundle(agent, calls))
            case ev.Retract(job=key, ids=ids):
                self._to_agent(key, lambda agent: self._retract(agent, ids))
            case ev.TakeBack(job=key):
                self._to_agent(key, self._take_back)
            case ev.StopAgent(job=key, drain=drain):
                self._to_agent(key, lambda agent: self._stop(agent, drain=drain))
            case ev.TellStarted(ids=ids):
                self.told_running.update(ids)
            case ev.TellAgain(ids=ids):
                self.told_running.difference_update(ids)
            case ev.Resolve(outcomes=outcomes):
                for outcome in outcomes:
                    for id in range(outcome.call, outcome.call + (outcome.rows or 1)):
                        self._end_call(id)
                        self.results[id] = outcome
            case ev.Fail(ids=ids, error=error):
                for id in ids:
                    self._end_call(id)
                    self.errors[id] = error
            case ev.BreakPool(error=error):
                self.broken = error
            case ev.Notice(text=text):
                self.notices.append(text)
            case ev.Finished():
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

    def _submit_jobs(self, action: ev.SubmitJobs) -> None:
        if any(earlier.submission == action.submission for earlier in self.submits):
            raise BrokenPromise(f"{action.submission} was submitted twice")
        self.submits.append(action)
        name, count = action.submission, action.count
        answer = self._answer(count)
        if answer is None or (isinstance(answer, ev.SubmitDoubtful) and self.faults.doubtful_exist):
            ids = tuple(self._enqueue(JobKey(name, element), action.request) for element in range(count))
        if answer is None:
            self._tell(lambda time: ev.JobsSubmitted(time, name, ids), self.command_seconds)
        else:
            given = answer
            self._tell(lambda time: replace(given, time=time, submission=name), self.command_seconds)

    def _answer(self, count: int) -> ev.SubmitRefused | ev.SubmitDoubtful | None:
        faults = self.faults
        if faults.refuse_all:
            return ev.SubmitRefused(0.0, "", faults.refuse_all, temporary=False)
        if faults.most_jobs is not None and len(self.queue) + count > faults.most_jobs:
            return ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
        return faults.answers.popleft() if faults.answers else None

    def _enqueue(self, key: JobKey, request: Request) -> JobId:
        job = self.jobs[key] = SimulatedJob(key, JobId(f"{key.submission.rsplit('-')[-1]}_{key.element}"), request)
        self._plan_start(job)
        return job.id

    def _poll(self, names: tuple[str, ...]) -> None:
        if self._polling:
            raise BrokenPromise("a second poll before the answer of the first")
        self._polling = True
        deaf = self.faults.deaf
        seen = tuple(
            seen_of(job)
            for job in self.jobs.values()
            if job.key.submission in names and not (job.ending is not None and self.faults.forgetful)
        )

        def answer(time: float) -> Event:
            self._polling = False
            return ev.PollFailed(time, "Socket timed out") if deaf else ev.Polled(time, names, seen)

        self._tell(answer, 10.0 if deaf else self.command_seconds)

    def _account(self, names: tuple[str, ...]) -> None:
        endings = {
            job.id: replace(job.ending, source="accounting")
            for job in self.jobs.values()
            if job.key.submission in names and job.ending is not None
        }
        known = endings if self.faults.accounting else None
        self._tell(lambda time: ev.Accounted(time, names, known), 1.0)

    def _cancel_jobs(self, action: ev.CancelJobs) -> None:
        for job in self.queue:
            if not self.faults.deaf and (job.id in action.ids or job.key.submission in action.names):
                self.end(job, EndingKind.CANCELLED, "CANCELLED by 1001")

    # ------------------------------------------------------------------------------------------------ the jobs

    def _plan_start(self, job: SimulatedJob) -> None:
        run = job.run

        def start() -> None:
            if job.run != run or job.state is not JobState.PENDING:
                return
            job.state, job.reason, job.node = JobState.RUNNING, "", f"n{job.key.element % 4}"
            if self.faults.script_fails:
                self.later(0.2, lambda: self.end(job, EndingKind.FAILED, "FAILED NonZeroExitCode 1:0", run=run))
            elif not self.faults.never_connect:
                self.later(self.join_delay, join)
            if job.request.walltime is not None:
                words = "TIMEOUT TimeLimit 0:0"
                self.later(job.request.walltime, lambda: self.end(job, EndingKind.TIMED_OUT, words, run=run))

        def join() -> None:
            if job.run == run and job.state is JobState.RUNNING:
                self._join(job)

        self.later(self.start_delay * (0.5 + self._random.random()), start)

    def _join(self, job: SimulatedJob) -> None:
        agent = job.agent = SimulatedAgent(job, next(self._numbers), job.request.workers_per_job)
        walltime = job.request.walltime
        hello = Hello(
            job=job.key,
            id=job.id,
            node=job.node or "",
            workers=agent.workers,
            pid=agent.pid,
            deadline=None if walltime is None else self.clock.now + walltime,
        )
        self._tell_from(agent, lambda time: ev.AgentJoined(time, hello))

    def end(self, job: SimulatedJob, kind: EndingKind, words: str, *, run: int | None = None) -> None:
        """End a job, and with it its agent."""
        if job.ending is None and run in (None, job.run):
            job.state = JobState.ENDED
            job.ending = Ending(kind=kind, words=words, node=job.node, source="queue")
            self._end_agent(job, "SIGTERM")

    def requeue(self, job: SimulatedJob) -> None:
        """Put a job back into the queue, as preemption does."""
        if job.ending is None:
            self._end_agent(job, "")
            job.run += 1
            job.state, job.reason, job.node = JobState.PENDING, "BeginTime", None
            self._plan_start(job)

    def _end_agent(self, job: SimulatedJob, last_word: str) -> None:
        agent, job.agent = job.agent, None
        if agent is not None:
            self._stop_workers(agent)
            self._tell_from(agent, lambda time: ev.AgentLeft(time, job.key, last_word, agent.pid))
            agent.connected = False

    # ---------------------------------------------------------------------------------------------- the agents

    def _to_agent(self, key: JobKey, message: Callable[[SimulatedAgent], None]) -> None:
        job = self.jobs.get(key)
        if job is not None and (agent := job.agent) is not None and agent.connected:
            self.later(self.latency, lambda: message(agent) if job.agent is agent else None)

    def _take_bundle(self, agent: SimulatedAgent, calls: Iterable[Call]) -> None:
        if agent.draining:
            self._give_back(agent, calls)
            return
        agent.bundles.append(deque(calls))
        self._work(agent)

    def _work(self, agent: SimulatedAgent) -> None:
        """Give every idle worker its next call."""
        for worker in range(agent.workers):
            while worker not in agent.running:
                rest = agent.current.get(worker)
                if (behind := agent.cut.pop(worker, None)) is not None:
                    self._start(agent, worker, behind)
                    continue
                if not rest:
                    if not agent.bundles:
                        break
                    rest = agent.current[worker] = agent.bundles.popleft()
                if rest:
                    self._start(agent, worker, rest.popleft())
        if agent.draining and not agent.running:
            self._leave(agent)

    def _start(self, agent: SimulatedAgent, worker: int, call: Call) -> None:
        id = call.id
        if any(id == running.id for other in self.agents for running in other.running.values()):
            self.overlaps.append(id)
        if call.rows > 1:
            call, agent.cut[worker] = call.cut(1)
        agent.running[worker] = call
        self.runs[id] += 1
        self.most_running = max(self.most_running, sum(len(agent.running) for agent in self.agents))
        self._tell_from(agent, lambda time: ev.CallsStarted(time, agent.job.key, (id,)))
        self.later(self._seconds[id], lambda: self._finish(agent, worker, call))

    def _finish(self, agent: SimulatedAgent, worker: int, call: Call) -> None:
        if agent.running.get(worker) is not call or agent.job.agent is not agent:
            return
        del agent.running[worker]
        seconds = self._seconds[call.id]
        usage = Usage(wall=seconds, cpu=seconds, peak_memory=Memory(0), threads=1)
        outcome = Outcome(call.id, True, b"", usage, rows=call.rows)
        self._tell_from(agent, lambda time: ev.CallsDone(time, agent.job.key, (outcome,)))
        self._work(agent)

    def _retract(self, agent: SimulatedAgent, ids: tuple[int, ...]) -> None:
        gone = set(ids)
        for bundle in (*agent.bundles, *agent.current.values()):
            if back := [call for call in bundle if call.id in gone]:
                for call in back:
                    bundle.remove(call)
                self._give_back(agent, back)
        for worker, call in list(agent.running.items()):
            if call.id in gone:
                del agent.running[worker]
                agent.cut.pop(worker, None)
        self._work(agent)

    def _give_back(self, agent: SimulatedAgent, calls: Iterable[Call]) -> None:
        if ids := tuple(call.id for call in calls):
            self._tell_from(agent, lambda time: ev.CallsReturned(time, agent.job.key, ids))

    def _take_back(self, agent: SimulatedAgent) -> None:
        """Give back all that has not started, also the rows behind those that run."""
        for worker, rest in list(agent.cut.items()):
            self._tell_cut(agent, agent.running[worker].id)
            self._give_back(agent, [rest])
        self._give_back(agent, [call for bundle in (*agent.current.values(), *agent.bundles) for call in bundle])
        agent.cut.clear()
        agent.bundles.clear()
        agent.current.clear()

    def _tell_cut(self, agent: SimulatedAgent, id: int) -> None:
        self._tell_from(agent, lambda time: ev.CallsCut(time, agent.job.key, id, 1))

    def _stop(self, agent: SimulatedAgent, *, drain: bool) -> None:
        self._take_back(agent)
        agent.draining = True
        if not drain:
            self._stop_workers(agent)
        self._work(agent)

    def _leave(self, agent: SimulatedAgent) -> None:
        if agent.job.ending is None:
            agent.job.state = JobState.ENDED
            agent.job.ending = Ending(kind=EndingKind.COMPLETED, words="COMPLETED", source="queue")
            self._end_agent(agent.job, "idle")

    @staticmethod
    def _stop_workers(agent: SimulatedAgent) -> None:
        agent.running.clear()
        agent.cut.clear()
        agent.current.clear()
        agent.bundles.clear()

    # --------------------------------------------------------------------------------------- faults of an agent

    def kill_worker(self, agent: SimulatedAgent, death: Death) -> None:
        """Let the worker that runs the first call die; what else it had is returned."""
        if not agent.running:
            return
        worker, call = next(iter(agent.running.items()))
        del agent.running[worker]
        agent.cut.pop(worker, None)  # they are decided with it
        rest = agent.current.pop(worker, deque())
        self._tell_from(agent, lambda time: ev.WorkerDied(time, agent.job.key, call.id, death))
        self._give_back(agent, rest)
        self._work(agent)

    def crash_agent(self, agent: SimulatedAgent) -> None:
        """Let the agent die: its script ends with an error."""
        self.end(agent.job, EndingKind.FAILED, "FAILED NonZeroExitCode 1:0")

    def cut_off(self, agent: SimulatedAgent, *, ends_after: float | None = 5.0) -> None:
        """Cut the agent's connection. It notices after some seconds and ends its job; None: it never does."""
        key, pid = agent.job.key, agent.pid
        self._tell_from(agent, lambda time: ev.AgentLeft(time, key, "", pid))
        agent.connected = False
        if ends_after is not None:
            run = agent.job.run
            self.later(ends_after, lambda: self.end(agent.job, EndingKind.COMPLETED, "COMPLETED", run=run))

    def kill_agent_quietly(self, agent: SimulatedAgent) -> None:
        """Lose an agent's job so that the queue never shows an ending (a controller that lost its state)."""
        self.end(agent.job, EndingKind.LOST, "")
        del self.jobs[agent.job.key]
