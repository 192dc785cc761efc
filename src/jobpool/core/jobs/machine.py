"""A job as a state machine: states hold the data that they need, observations move them, nothing else does.

::

    Submitting ─► Pending(reason) ─► Starting ─► Serving(deadline) ─► Draining(why)
                     ▲  requeued         │ no agent   │ agent left        │ agent left
                     └───────────────────┼──────── Silent ◄──────────────┘
                                         ▼            ▼
                                      Closing (cancelled) ─► Ended(ending)

A job that is absent from a poll, or in a state nobody knows, is an observation and not an ending. An ending takes an
ended state in the queue, the word of the accounting or of the job's own exit file, or a number of polls in a row
without the job. While its agent is connected a job is alive whatever a poll says: the agent is the better witness.

A job that the batch system has suspended stays in its state, and keeps its calls however long its agent says nothing.
"""

from __future__ import annotations

import dataclasses
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from jobpool.core.events import JobKey
from jobpool.core.jobs.states import (
    Accepted,
    Closing,
    Draining,
    Dropped,
    Ended,
    Faded,
    Joined,
    Left,
    Missed,
    Observation,
    Pending,
    Retired,
    Serving,
    Sighted,
    Silent,
    Starting,
    State,
    Stopped,
    Submitting,
    Told,
    Vouched,
    Waited,
    WentOn,
)
from jobpool.core.settings import CoreSettings
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.units import Duration

__all__ = [
    "Accepted",
    "Closing",
    "Draining",
    "Dropped",
    "Ended",
    "Faded",
    "JobEntry",
    "Joined",
    "Left",
    "Missed",
    "Observation",
    "Pending",
    "Retired",
    "Serving",
    "Sighted",
    "Silent",
    "Starting",
    "State",
    "Stopped",
    "Submitting",
    "Told",
    "Vouched",
    "Waited",
    "WentOn",
    "advance",
]


class JobEntry(Struct, frozen=True, kw_only=True):
    """One job of the pool, as far as it is known."""

    key: JobKey
    request: str
    state: State
    id: JobId | None = None
    node: str | None = None
    message: str = ""
    """The batch system's last words on it."""
    absent: int = 0
    """Polls in a row that did not show it."""
    absent_since: float = 0.0
    """When the first of them came, or the accounting knew it as living after that."""
    passed_over: int = 0
    """Polls in a row that showed other jobs of the pool and not this one."""
    evidence: Ending | None = None
    """An ending that the queue told while the agent was still connected."""
    kills: int = 0
    """How often the kernel killed in it for memory, and its agent lived to tell."""
    asked: float = 0.0
    """When it was submitted."""
    proven: bool = False
    """A call started in it, or its agent stayed: the setup works."""
    fruitful: bool = False
    """A call came back from it."""
    suspended: float | None = None
    """Since when the batch system, or its agent, has said that it is suspended."""
    stirred: float = float("-inf")
    """When its agent said last that it is suspended, or goes on: answers to earlier questions tell of the past."""
    substitute: bool = False
    """It was asked for in the place of a job that is held. Nothing is in its own place, should it be held too."""

    @property
    def connected(self) -> bool:
        """Whether an agent of it is connected and wanted."""
        return isinstance(self.state, Serving | Draining)

    @property
    def over(self) -> bool:
        """Whether it is given up or ended: it will get no calls any more."""
        return isinstance(self.state, Closing | Ended)

    @property
    def holds_calls(self) -> bool:
        """Whether calls handed to it are still its own. In every other state they are decided elsewhere."""
        return isinstance(self.state, Serving | Draining | Silent)

    @property
    def hold(self) -> Hold | None:
        """Why it is held in the queue, if it is."""
        return self.state.hold if isinstance(self.state, Pending) else None

    @property
    def supplies(self) -> bool:
        """Whether it will serve, or is expected to: no other job is needed in its place."""
        match self.state:
            case Pending(hold=hold):
                return hold is None
            case Submitting() | Starting():
                return True
            case Serving(fading=fading):
                return not fading
            case Draining(ours=ours) | Silent(ours=ours):
                return not ours
            case Closing() | Ended():
                return False
            case _:
                assert_never(self.state)


def advance(job: JobEntry, observation: Observation, settings: CoreSettings) -> JobEntry:
    """Return the job after this observation; the same object when it changes nothing."""
    match observation:
        case Accepted():
            return _accepted(job, observation)
        case Sighted():
            return _sighted(job, observation, settings)
        case Missed():
            return _missed(job, observation, settings)
        case Told():
            return _told(job, observation)
        case Vouched():
            return _vouched(job, observation)
        case Joined():
            return _joined(job, observation)
        case Stopped(time=time):
            return replace(job, suspended=time, stirred=time) if job.holds_calls else job
        case WentOn():
            return _went_on(job, observation)
        case Left():
            return _left(job, observation, settings)
        case Retired():
            return _retired(job, observation)
        case Faded():
            return replace(job, state=replace(job.state, fading=True)) if isinstance(job.state, Serving) else job
        case Dropped():
            return _dropped(job, observation)
        case Waited():
            return _waited(job, observation, settings)
        case _:
            assert_never(observation)


def _accepted(job: JobEntry, observation: Accepted) -> JobEntry:
    if isinstance(job.state, Submitting):
        return replace(job, id=observation.id, state=Pending(observation.time))
    return job if job.id is not None else replace(job, id=observation.id)  # its agent was faster than the answer


def _sighted(job: JobEntry, observation: Sighted, settings: CoreSettings) -> JobEntry:
    seen = observation.seen
    if seen.state is JobState.ENDED:
        return _sighted_ended(job, observation)
    if observation.late or isinstance(job.state, Ended):
        return job
    job = _note_suspension(_note(job, seen), observation)
    match seen.state:
        case JobState.PENDING:
            return _sighted_pending(job, observation, settings)
        case JobState.RUNNING | JobState.COMPLETING | JobState.SUSPENDED:
            return _sighted_running(job, observation, settings)
        case JobState.UNKNOWN:
            return _cancel_again(job, job.state, observation.time, settings) if isinstance(job.state, Closing) else job
        case _:
            assert_never(seen.state)


def _note(job: JobEntry, seen: Seen) -> JobEntry:
    noted = (seen.id, seen.node or job.node, seen.message, 0, None)
    if noted == (job.id, job.node, job.message, job.absent, job.evidence):
        return job
    return replace(job, id=seen.id, node=seen.node or job.node, message=seen.message, absent=0, evidence=None)


def _note_suspension(job: JobEntry, observation: Sighted) -> JobEntry:
    if observation.seen.state is JobState.UNKNOWN:
        return job
    since = None
    if observation.seen.state is JobState.SUSPENDED and not job.over:
        since = observation.time if job.suspended is None else job.suspended
    return job if since == job.suspended else replace(job, suspended=since)


def _sighted_ended(job: JobEntry, observation: Sighted) -> JobEntry:
    seen = observation.seen
    ending = seen.ending or Ending(kind=EndingKind.LOST, message=seen.message, node=seen.node, source="queue")
    match job.state:
        case Serving() | Draining():
            # A node whose daemon died counts as failed while its jobs run on and answer (seen on SLURM).
            return job if observation.late else replace(_note(job, seen), evidence=ending)
        case Submitting() | Pending() | Starting() | Silent() | Closing():
            return _end(_note(job, seen), observation.time, ending)
        case Ended():
            return job
        case _:
            assert_never(job.state)


def _sighted_pending(job: JobEntry, observation: Sighted, settings: CoreSettings) -> JobEntry:
    reason, hold = observation.seen.reason, observation.seen.hold
    match job.state:
        case Submitting() | Pending() | Starting() | Silent() if hold is not None and hold.hopeless:
            seen = observation.seen
            ending = Ending(kind=EndingKind.LAUNCH_FAILED, message=seen.message, node=job.node, source="queue")
            return replace(job, state=Closing(observation.time, ending, ours=False))
        case Pending(since=since, reason=known, hold=held):
            return job if (reason, hold) == (known, held) else replace(job, state=Pending(since, reason, hold))
        case Submitting(since=since):
            return replace(job, state=Pending(since, reason, hold))
        case Starting() | Silent():  # requeued
            return replace(job, state=Pending(observation.time, reason, hold), node=None)
        case Serving() | Draining() | Ended():
            return job
        case Closing():
            return _cancel_again(job, job.state, observation.time, settings)
        case _:
            assert_never(job.state)


def _sighted_running(job: JobEntry, observation: Sighted, settings: CoreSettings) -> JobEntry:
    match job.state:
        case Submitting() | Pending():
            return replace(job, state=Starting(observation.time))
        case Starting():
            stopped = observation.seen.state is JobState.SUSPENDED  # its agent cannot connect meanwhile
            return replace(job, state=Starting(observation.time)) if stopped else job
        case Serving() | Draining() | Silent() | Ended():
            return job
        case Closing():
            return _cancel_again(job, job.state, observation.time, settings)
        case _:
            assert_never(job.state)


def _cancel_again(job: JobEntry, state: Closing, time: float, settings: CoreSettings) -> JobEntry:
    return job if time - state.since < settings.cancel_again else replace(job, state=replace(state, since=time))


def _missed(job: JobEntry, observation: Missed, settings: CoreSettings) -> JobEntry:
    match job.state:
        case Submitting() | Serving() | Draining() | Ended():
            return job if job.suspended is None else replace(job, suspended=None)  # nobody says so any more
        case Closing(ending=ending):  # cancelled and gone: two sources
            return _end(job, observation.time, ending)
        case Pending() | Starting() | Silent():
            since, before = (job.absent_since, job.passed_over) if job.absent else (observation.time, 0)
            passed_over = before + 1 if observation.beside else 0
            job = replace(job, absent=job.absent + 1, absent_since=since, passed_over=passed_over)
            if job.absent < settings.absences or observation.time - since < _grace(job, observation.time, settings):
                return job
            return _end(job, observation.time, _vanished(job, observation.time))
        case _:
            assert_never(job.state)


def _grace(job: JobEntry, time: float, settings: CoreSettings) -> float:
    """Return how long a job may be absent before it counts as gone."""
    if isinstance(job.state, Silent) and job.suspended is None:
        return 0.0  # its agent has left, and is a witness; one that was suspended has not left by itself
    old = isinstance(job.state, Pending | Starting) and time - job.state.since >= settings.absence_grace
    if old and job.passed_over >= settings.absences:
        return settings.absence_grace_beside  # a listing that shows others, and is younger than the job
    return settings.absence_grace  # there is no witness, and the listing may be older than the job


def _told(job: JobEntry, observation: Told) -> JobEntry:
    match job.state:
        case Pending() | Starting() if job.absent:  # an earlier run of a requeued job is in the accounting too
            return _end(job, observation.time, observation.ending)
        case Silent() | Closing():
            return _end(job, observation.time, observation.ending)
        case Submitting() | Pending() | Starting() | Serving() | Draining() | Ended():
            return job
        case _:
            assert_never(job.state)


def _vouched(job: JobEntry, observation: Vouched) -> JobEntry:
    match job.state:
        case Pending() if job.absent and observation.state is not JobState.PENDING:
            return replace(job, state=Starting(observation.time), absent_since=observation.time, passed_over=0)
        case Pending() | Starting() if job.absent:
            return replace(job, absent_since=observation.time, passed_over=0)
        case Silent() if job.absent and job.suspended is not None:
            return replace(job, absent_since=observation.time, passed_over=0)
        case Submitting() | Pending() | Starting() | Serving() | Draining() | Silent() | Closing() | Ended():
            return job
        case _:
            assert_never(job.state)


def _joined(job: JobEntry, observation: Joined) -> JobEntry:
    hello = observation.hello
    match job.state:
        case Closing() | Ended():
            return job
        case Serving(pid=pid) | Draining(pid=pid) if pid == hello.pid and job.node == hello.node:
            return job  # told twice
        case Submitting() | Pending() | Starting() | Serving() | Draining() | Silent():
            state = Serving(observation.time, hello.pid, hello.deadline)
            job = replace(job, id=hello.id, node=hello.node, state=state, absent=0, evidence=None, kills=0)
            return job if job.suspended is None else replace(job, suspended=None)
        case _:
            assert_never(job.state)


def _went_on(job: JobEntry, observation: WentOn) -> JobEntry:
    job = replace(job, suspended=None, stirred=observation.time)
    if isinstance(job.state, Serving | Draining):
        return replace(job, state=replace(job.state, deadline=observation.deadline))
    return job


def _left(job: JobEntry, observation: Left, settings: CoreSettings) -> JobEntry:
    match job.state:
        case Serving(since=since, pid=pid, deadline=deadline) | Draining(since=since, pid=pid, deadline=deadline):
            if observation.pid not in (0, pid):
                return job  # the agent of an earlier run of this job
            ours = isinstance(job.state, Draining) and job.state.ours
            proven = job.proven or observation.time - since >= settings.proof
            job = replace(job, proven=proven, state=Silent(observation.time, observation.last_word, deadline, ours))
            return job if job.evidence is None else _end(job, observation.time, job.evidence)
        case Submitting() | Pending() | Starting() | Silent() | Closing() | Ended():
            return job
        case _:
            assert_never(job.state)


def _retired(job: JobEntry, observation: Retired) -> JobEntry:
    if isinstance(job.state, Serving):
        state = job.state
        draining = Draining(state.since, state.pid, state.deadline, observation.why, observation.ours)
        return replace(job, state=draining)
    return job


def _dropped(job: JobEntry, observation: Dropped) -> JobEntry:
    match job.state:
        case Submitting():
            # No id to cancel, and a cancel by name may overtake the submit: it is dropped when the answer is there.
            return job
        case Pending() | Starting() | Serving() | Draining() | Silent():
            return replace(job, state=Closing(observation.time, observation.ending, observation.ours))
        case Closing() | Ended():
            return job
        case _:
            assert_never(job.state)


def _waited(job: JobEntry, observation: Waited, settings: CoreSettings) -> JobEntry:
    now = observation.time
    match job.state:
        case Silent() | Starting() if job.suspended is not None:
            return job  # the batch system says why its agent is silent
        case Silent(since=since, ours=ours) if now - since >= settings.loss_grace:
            # The job may still live, cut off from us; it is cancelled before its calls go elsewhere.
            return replace(job, state=Closing(now, _vanished(job, now), ours))
        case Starting(since=since) if now - since >= settings.connect_timeout:
            waited = Duration(settings.connect_timeout)
            words = f"its script runs, but no agent connected within {waited}"
            ending = Ending(kind=EndingKind.CANCELLED, message=words, node=job.node, source="absence")
            return replace(job, state=Closing(now, ending, ours=False))
        case Submitting() | Pending() | Starting() | Serving() | Draining() | Silent() | Closing() | Ended():
            return job
        case _:
            assert_never(job.state)


def _end(job: JobEntry, time: float, ending: Ending) -> JobEntry:
    if ending.kind is EndingKind.OUT_OF_MEMORY and ending.kills is not None and ending.kills <= job.kills:
        # SLURM calls a job so after any kill in it. These its agent has outlived: it died of something else.
        ending = dataclasses.replace(ending, kind=EndingKind.FAILED)
    match job.state:
        case Silent(ours=ours) | Closing(ours=ours):
            return replace(job, state=Ended(time, ending, ours))
        case _:
            return replace(job, state=Ended(time, ending))


def _vanished(job: JobEntry, time: float) -> Ending:
    """Say what is known of a job that left no ending."""
    kind, said = EndingKind.LOST, [job.message] if job.message else []
    if isinstance(job.state, Silent):
        said.append(f"its agent's last word: {job.state.last_word}" if job.state.last_word else "its agent is gone")
        if job.state.deadline is not None and time >= job.state.deadline:
            kind = EndingKind.TIMED_OUT  # else a call that is too long would run a whole walltime again and again
            said.append("its walltime has passed")
    if job.absent:
        said.append("it is not in the queue any more")
    return Ending(kind=kind, message="; ".join(said), node=job.node, source="absence")
