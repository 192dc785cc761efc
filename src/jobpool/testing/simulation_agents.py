"""The agents of a simulated cluster: what they do with their calls, and what may go wrong with them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable

from jobpool.core import events as ev
from jobpool.core.events import Event, JobKey
from jobpool.model.call import Call, Death, Outcome, Usage
from jobpool.model.job import Ending, EndingKind, JobState
from jobpool.model.units import Memory
from jobpool.testing.simulation_parts import FakeClock, Faults, SimulatedAgent, SimulatedJob

__all__ = ["EventAt", "Workplace"]

SILENT = 300.0
"""Seconds without a word of an agent after which the server hangs up on it."""

LOOK = 30.0
"""Seconds between two looks for that."""

EventAt = Callable[[float], Event]
"""An event that gets its time when it is delivered."""


class Workplace(ABC):
    """The part of a simulation that happens in jobs."""

    def __init__(self, *, seed: int) -> None:
        self.clock = FakeClock()
        self.faults = Faults()
        self.latency = 0.002
        self.jobs: dict[JobKey, SimulatedJob] = {}
        self.runs: Counter[int] = Counter()
        self.most_running = 0
        self.hung_up = 0
        """How many agents the server has hung up on, since they said nothing for so long."""
        self.overlaps: list[int] = []
        """Calls that ran at two places at once."""
        self._random = random.Random(seed)
        self._seconds: dict[int, float] = {}
        self.checkpointing: set[str] = set()
        """Functions whose calls leave checkpoints."""
        self.uses: dict[str, tuple[float, Memory]] = {}
        """CPUs and memory of a function's calls, by its key; else one CPU, and no memory."""
        self.interrupted: list[int] = []
        """Calls that ran when their job ended."""

    @property
    def agents(self) -> list[SimulatedAgent]:
        """Agents that live."""
        return [job.agent for job in self.jobs.values() if job.agent is not None]

    @abstractmethod
    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after some seconds."""

    @abstractmethod
    def feed(self, event: Event) -> None:
        """Give an event to the core and carry out what it wants."""

    @abstractmethod
    def end(self, job: SimulatedJob, kind: EndingKind, words: str, *, run: int | None = None) -> None:
        """End a job, and with it its agent."""

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

    def _end_agent(self, job: SimulatedJob, last_word: str) -> None:
        agent, job.agent = job.agent, None
        if agent is not None:
            self.interrupted += [call.id for call in agent.running.values()]
            self._stop_workers(agent)
            self._tell_from(agent, lambda time: ev.AgentLeft(time, job.key, last_word, agent.pid))
            agent.connected = False

    def _to_agent(self, key: JobKey, message: Callable[[SimulatedAgent], None]) -> None:
        job = self.jobs.get(key)
        if job is not None and (agent := job.agent) is not None and agent.connected:
            self._later_in(agent, self.latency, lambda: message(agent) if job.agent is agent else None)

    def _later_in(self, agent: SimulatedAgent, seconds: float, what: Callable[[], None]) -> None:
        """Do something when so many seconds have passed for an agent: none do while it stands still."""
        before = agent.stood_still

        def act() -> None:
            owed = agent.stood_still - before
            if agent.stopped_at is not None:
                agent.put_off.append((self.clock.now - agent.stopped_at + owed, what))
            elif owed > 0:
                self._later_in(agent, owed, what)
            else:
                what()

        self.later(seconds, act)

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
        agent.since[worker] = self.clock.now
        self.runs[id] += 1
        self.most_running = max(self.most_running, sum(len(agent.running) for agent in self.agents))
        self._tell_from(agent, lambda time: ev.CallsStarted(time, agent.job.key, (id,)))
        self._later_in(agent, self._seconds[id], lambda: self._finish(agent, worker, call))

    def _finish(self, agent: SimulatedAgent, worker: int, call: Call) -> None:
        if agent.running.get(worker) is not call or agent.job.agent is not agent:
            return
        del agent.running[worker]
        seconds = self._seconds[call.id]
        cpus, memory = self.uses.get(call.function, (1.0, Memory(0)))
        limit = agent.job.request.memory
        if limit is not None and memory > limit:
            death = Death(signal=9, out_of_memory=True, limit=int(limit), peak_memory=int(memory))
            agent.running[worker] = call
            self._die(agent, worker, death)
            return
        usage = Usage(wall=seconds, cpu=seconds * cpus, peak_memory=memory, threads=1)
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

    def take_leave(self, agent: SimulatedAgent) -> None:
        """Let an agent end for its walltime, as it does by its own clock."""
        if agent.job.agent is agent and not agent.draining:
            self._tell_from(agent, lambda time: ev.AgentLeaving(time, agent.job.key, "walltime", planned=True))
            self._leave_checkpoints(agent.job)
            self._stop(agent, drain=True)

    def _leave_checkpoints(self, job: SimulatedJob) -> None:
        agent = job.agent
        if agent is None or self.faults.no_checkpoints or agent.stopped_at is not None:
            return
        for worker, call in list(agent.running.items()):
            if call.function in self.checkpointing:
                if (behind := agent.cut.pop(worker, None)) is not None:
                    self._tell_cut(agent, call.id)
                    agent.current.setdefault(worker, deque()).appendleft(behind)
                del agent.running[worker]
                self._seconds[call.id] -= self.clock.now - agent.since[worker]
                self._tell_checkpoint(agent, call)

    def _tell_checkpoint(self, agent: SimulatedAgent, call: Call) -> None:
        self._tell_from(
            agent, lambda time: ev.CallCheckpointed(time, agent.job.key, call.id, call.function, b"from there")
        )

    def _stop(self, agent: SimulatedAgent, *, drain: bool) -> None:
        self._take_back(agent)
        agent.draining = True
        if not drain:
            self._stop_workers(agent)
        self._work(agent)

    def _leave(self, agent: SimulatedAgent) -> None:
        if agent.job.ending is None:
            agent.job.state = JobState.ENDED
            agent.job.ending = Ending(kind=EndingKind.COMPLETED, message="COMPLETED", source="queue")
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
        if agent.running:
            self._die(agent, next(iter(agent.running)), death)

    def _die(self, agent: SimulatedAgent, worker: int, death: Death) -> None:
        call = agent.running.pop(worker)
        agent.cut.pop(worker, None)  # they are decided with it
        rest = agent.current.pop(worker, deque())
        self._tell_from(agent, lambda time: ev.WorkerDied(time, agent.job.key, call.id, death))
        self._give_back(agent, rest)
        self._work(agent)

    def crash_agent(self, agent: SimulatedAgent) -> None:
        """Let the agent die: its script ends with an error."""
        self.end(agent.job, EndingKind.FAILED, "FAILED NonZeroExitCode 1:0")

    def stand_still(self, agent: SimulatedAgent) -> None:
        """Stop an agent's processes. The server hangs up on one that says nothing, unless its job is suspended."""
        stopped_at = agent.stopped_at = agent.heard_of = self.clock.now

        def look() -> None:
            if agent.stopped_at != stopped_at or not agent.connected or agent.job.agent is not agent:
                return
            if self.is_suspended(agent.job.key):
                agent.heard_of = self.clock.now
            elif self.clock.now - agent.heard_of > SILENT:
                self.feed(ev.AgentLeft(self.clock.now, agent.job.key, "", agent.pid))
                agent.connected = False
                self.hung_up += 1
                return
            self.later(LOOK, look)

        self.later(LOOK, look)

    def go_on(self, agent: SimulatedAgent) -> None:
        """Let an agent go on. Whose connection has ended notices that, and ends its job."""
        if agent.stopped_at is None:
            return
        agent.stood_still += self.clock.now - agent.stopped_at
        agent.stopped_at, put_off, agent.put_off = None, agent.put_off, []
        for left, what in put_off:
            self._later_in(agent, left, what)
        job, run = agent.job, agent.job.run
        if agent.connected:
            self._tell_from(agent, lambda time: ev.AgentWentOn(time, job.key, job.ends))
        else:
            self.later(1.0, lambda: self.end(job, EndingKind.FAILED, "FAILED NonZeroExitCode 77:0", run=run))

    @abstractmethod
    def is_suspended(self, key: JobKey) -> bool:
        """Whether the core believes that a job is suspended."""

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
