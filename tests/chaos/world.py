"""A simulated cluster worse than most: its queue shows the past, its cancels get lost, its hosts vanish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import JobKey
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Call
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.testing.fake.dialects import SLURM, Dialect
from jobpool.testing.simulation import SimulatedAgent, SimulatedJob, Simulation
from jobpool.testing.simulation_agents import EventAt

__all__ = ["World"]

_TOLD = {EndingKind.CANCELLED, EndingKind.PREEMPTED, EndingKind.TIMED_OUT}
"""Endings of which a job is told before, in most dialects."""

_WRITTEN = {
    EndingKind.COMPLETED: EndingKind.COMPLETED,
    EndingKind.FAILED: EndingKind.FAILED,
    EndingKind.CANCELLED: EndingKind.CANCELLED,
    EndingKind.PREEMPTED: EndingKind.CANCELLED,
    EndingKind.TIMED_OUT: EndingKind.TIMED_OUT,
}
"""What an exit file says of them; of others there is none."""

HOLD = 0.100
"""Seconds that an agent keeps results to tell several at once, as the real one does."""

SHORT = 0.020
"""Seconds below which a call is never told as started, as with the real agent."""


class World(Simulation):
    """A simulation with more faults, whose agents report as the real ones do; it knows which calls took effect."""

    def __init__(self, settings: CoreSettings, *, seed: int, dialect: Dialect = SLURM) -> None:
        super().__init__(settings, seed=seed)
        self.dialect = dialect
        self._commands: Counter[str] = Counter()
        """How many commands of each kind were given."""
        self._told: set[JobId] = set()
        """Ids that the server knows: one that it does not know, it cannot cancel where that goes by id alone."""
        self.effects: Counter[int] = Counter()
        """How often each call ran to its end."""
        self.unseen = 0.0
        """Probability that a poll does not show a job."""
        self.past = False
        """Polls show what the one before the last fault showed."""
        self.late = 0.0
        """Seconds after which the jobs of a doubtful submit appear."""
        self.lost_cancels = 0.0
        """Probability that a cancel command does nothing."""
        self.most: Counter[Request] = Counter()
        """How many calls ran at once at most in the jobs of each request."""
        self.terms: dict[int, CallOptions] = {}
        self._before: dict[tuple[str, int], Seen] = {}
        self._held: dict[SimulatedAgent, list[ev.Outcome]] = {}
        self._same_call: set[tuple[int, int]] = set()
        """Agent's pid, row: it followed the row before it in one call, so both may be told as one outcome."""

    def heal(self) -> None:
        """Let the batch system be as it should be."""
        self.unseen = self.lost_cancels = 0.0
        self.past, self.late, self.command_seconds = False, 0.0, 0.05
        for job in self.jobs.values():
            job.puzzling = False
            self.release(job)
            self.resume(job)
            if job.agent is not None:
                self.go_on(job.agent)

    def _submit(self, ids: list[int], seconds: float, calls: list[Call]) -> None:
        self.terms.update(dict.fromkeys(ids, calls[0].terms or PLAIN))
        super()._submit(ids, seconds, calls)

    # ---------------------------------------------------------------------------------------- the batch system

    def feed(self, event: ev.Event) -> None:
        match event:
            case ev.JobsSubmitted(ids=ids):
                self._told.update(ids)
            case ev.Polled(seen=seen):
                self._told.update(each.id for each in seen)
            case ev.AgentJoined(hello=hello):
                self._told.add(hello.id)
            case _:
                pass
        super().feed(event)

    def _new_id(self, key: JobKey) -> JobId:
        number = None if key.element == 0 and not self.dialect.array_of_one else self.dialect.first + key.element
        return self.dialect.id_of(int(key.submission.rsplit("-")[-1]), number, 1000 + len(self.jobs))

    def _hangs(self, command: str) -> bool:
        """Say whether this one of the commands of its kind does its work and never answers."""
        self._commands[command] += 1
        return self.dialect.hangs is not None and self._commands[command] % self.dialect.hangs == 0

    def _submit_jobs(self, action: act.SubmitJobs) -> None:
        answers = self.faults.answers
        before = tuple(answers)
        super()._submit_jobs(action)
        answered_in_doubt = len(answers) < len(before) and isinstance(before[0], ev.SubmitDoubtful)
        if self.late and answered_in_doubt and not self.faults.doubtful_exist:
            for element in range(action.count):
                key = JobKey(action.submission, element)
                self.later(self.late, lambda key=key: self._enqueue(key, action.request))  # type: ignore[misc, arg-type]

    def _shown(self, names: tuple[str, ...]) -> tuple[Seen, ...]:
        seen = super()._shown(names)
        if not self.dialect.shows_ended:
            seen = tuple(each for each in seen if each.ending is None)
        if self.past:
            return tuple(old for each in seen if (old := self._before.get((each.name, each.index))) is not None)
        self._before.update({(each.name, each.index): each for each in seen})
        return tuple(each for each in seen if self._random.random() >= self.unseen)

    def _cancel_jobs(self, action: act.CancelJobs) -> None:
        if self._random.random() >= self.lost_cancels:
            if not self.dialect.finds_names:
                named = [job.id for job in self.queue if job.key.submission in action.names and job.id in self._told]
                action = replace(action, names=(), ids=(*action.ids, *named))
            super()._cancel_jobs(action)

    def _accounted(self, jobs: Iterable[SimulatedJob]) -> dict[JobId, Ending | JobState] | None:
        if self.dialect.accounting:
            return super()._accounted(jobs)
        if not self.faults.accounting:
            return {}  # the files do not come
        return {job.id: told for job in jobs if (told := self._exit_file(job)) is not None}

    def _exit_file(self, job: SimulatedJob) -> Ending | None:
        """Return the ending as the job's own script has written it down, if it had the time."""
        if job.ending is None or job.node is None or job.ending.kind not in _WRITTEN:
            return None
        if job.ending.kind in _TOLD and self.dialect.notice is None:
            return None
        kind = _WRITTEN[job.ending.kind]
        return Ending(kind=kind, message=f"its exit file: {kind.value}", node=job.node, source="exit file")

    # ---------------------------------------------------------------------------------------------- the agents

    def _start(self, agent: SimulatedAgent, worker: int, call: Call) -> None:
        super()._start(agent, worker, call)
        request = agent.job.request
        running = sum(len(other.running) for other in self.agents if other.job.request == request)
        self.most[request] = max(self.most[request], running)

    def _finish(self, agent: SimulatedAgent, worker: int, call: Call) -> None:
        if agent.running.get(worker) is call and agent.job.agent is agent:
            self.effects[call.id] += 1
            if (behind := agent.cut.get(worker)) is not None:
                self._same_call.add((agent.pid, behind.id))
        super()._finish(agent, worker, call)

    def _tell_from(self, agent: SimulatedAgent, event: EventAt) -> None:
        match event(0.0):
            case ev.CallsStarted(ids=(id,)) if self._seconds[id] < SHORT:
                return
            case ev.CallsDone(outcomes=outcomes):
                if agent not in self._held:
                    self._held[agent] = []
                    self._later_in(agent, HOLD, lambda: self._tell_results(agent))
                self._held[agent] += outcomes
            case _:
                self._tell_results(agent)
                super()._tell_from(agent, event)

    def _tell_results(self, agent: SimulatedAgent) -> None:
        told: list[ev.Outcome] = []
        for outcome in self._held.pop(agent, ()):
            last = told[-1] if told else None
            follows = last is not None and last.call + last.rows == outcome.call
            if last is not None and follows and (agent.pid, outcome.call) in self._same_call:
                told[-1] = replace(last, rows=last.rows + outcome.rows)
            else:
                told.append(outcome)
        if told:
            outcomes = tuple(told)
            super()._tell_from(agent, lambda time: ev.CallsDone(time, agent.job.key, outcomes))

    def _end_agent(self, job: SimulatedJob, last_word: str) -> None:
        at_once = last_word == "SIGTERM" and self.dialect.notice is None
        if job.agent is not None and last_word != "idle" and (self._random.random() < 0.5 or at_once):
            self._held.pop(job.agent, None)  # by SIGKILL: what it held is lost
        super()._end_agent(job, "" if at_once else last_word)

    # ----------------------------------------------------------------------------------------------- more faults

    def vanish(self, agent: SimulatedAgent, kind: EndingKind | None, *, noticed_after: float) -> None:
        """Lose an agent's host without a word: the connection ends later than its job. No kind: that is requeued."""
        job, pid = agent.job, agent.pid
        self._held.pop(agent, None)
        agent.connected = False
        if kind is None:
            self.requeue(job)
        else:
            self.end(job, kind, kind.name)
        noticed_after = max(noticed_after, agent.last_sent - self.clock.now)  # what it said before is on its way
        self.later(noticed_after, lambda: self.feed(ev.AgentLeft(self.clock.now, job.key, "", pid)))

    def cut_off_for(self, agent: SimulatedAgent, seconds: float) -> None:
        """Cut an agent's connection, and let it come back with what it has."""
        self._held.pop(agent, None)
        self.cut_off(agent, ends_after=None)

        def come_back() -> None:
            if agent.job.agent is agent and not agent.connected:
                agent.connected = True
                self._say_hello(agent)

        self.later(seconds, come_back)
