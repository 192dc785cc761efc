"""The jobs of a fake cluster: a state machine that time, commands and a test's hand drive.

::

    Pending ──slot, start delay over──► Running ──exit of the script──────────► Ended
       ▲  │                                │ cancel, walltime, end()              ▲
       │  └──cancel────────────────────────┼──────────────────────────────────────┤
       └───────────requeue───────────── Completing ──its processes are gone───────┘

A running job may be Suspended meanwhile. What happens at which time is SLURM's (22.05), as seen on a real one, but for
what the :class:`~jobpool.testing.fake.dialects.Dialect` of an order says otherwise.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, assert_never

from jobpool.model.job import JobId
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import SLURM, Dialect

__all__ = [
    "LAUNCH_FAILED",
    "Completing",
    "Ended",
    "EndingWord",
    "FakeJob",
    "JobQueue",
    "Order",
    "Pending",
    "Phase",
    "Running",
    "Runs",
    "StateOnly",
    "Suspended",
]

EndingWord = Literal["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED", "NODE_FAIL"]
"""A state of SLURM's in which a job has ended."""

_REASONS: Mapping[EndingWord, str] = {
    "TIMEOUT": "TimeLimit",
    "OUT_OF_MEMORY": "OutOfMemory",
    "NODE_FAIL": "NodeDown",
}
_SAID: Mapping[EndingWord, str] = {
    "CANCELLED": "",
    "TIMEOUT": " DUE TO TIME LIMIT",
    "PREEMPTED": " DUE TO PREEMPTION",
    "NODE_FAIL": " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}
"""What slurmstepd adds to ``*** JOB 7 ON n1 CANCELLED AT ...`` in the job's log."""

_NO_MERCY = frozenset({"OUT_OF_MEMORY", "NODE_FAIL", "FAILED", "COMPLETED"})
"""Endings that give the processes no time: they get SIGKILL and nothing before."""

_STATUSES: Mapping[EndingWord, int] = {
    "FAILED": 1 << 8,
    "TIMEOUT": signal.SIGTERM,
    "PREEMPTED": signal.SIGTERM,
    "OUT_OF_MEMORY": 125,  # no signal of Linux: SLURM's own for "killed for memory"
}
"""What squeue shows as the exit code when nothing else is known."""

REQUEUE_DELAY = 5.0
"""Seconds that a requeued job waits at least: ``AuthInfo=cred_expire`` of the practice SLURM (default 120)."""

LAUNCH_FAILED = 4021
"""What squeue shows as the status of a job whose output file could not be opened; sacct makes 0:53 of it (seen)."""

FAILED_STARTS = "job held, too many failed attempts to run"
"""What a batch system that holds a job whose script cannot be started says of it (PBS's words)."""


@dataclass(frozen=True, slots=True)
class Pending:
    """In the queue. It may start from the time ``eligible`` on."""

    eligible: float
    reason: str = "None"
    ended_as: EndingWord | None = None
    """How its last run ended, until it is eligible again: sacct tells that meanwhile (seen)."""
    held: bool = False
    """It does not start before it is released. ``reason`` says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """Its script runs on a node."""

    node: str
    since: float


@dataclass(frozen=True, slots=True)
class Suspended:
    """Its processes are stopped. ``ran`` seconds of its walltime are used up."""

    node: str
    ran: float


@dataclass(frozen=True, slots=True)
class Ended:
    """At its end. ``status`` is that of wait(): the exit code times 256, or the signal."""

    word: EndingWord
    reason: str
    status: int
    node: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Completing:
    """Its processes are being ended; ``then`` comes when they are gone. They get SIGKILL at the time ``kill_at``."""

    node: str
    then: Ended | Pending
    kill_at: float


Phase = Pending | Running | Suspended | Completing | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one submit asked for: the same for all jobs of it."""

    dialect: Dialect = SLURM
    """Of the batch system that took it."""
    base: int
    name: str
    partition: str
    script: str
    output: str
    append: bool
    requeue: bool
    directory: Path
    umask: int
    """Of the process that ran the submit: SLURM hands it on to the script and to its log."""
    environment: Mapping[str, str] = field(repr=False)
    elements: tuple[int, ...] = ()
    """Indices of the array; empty for a job that is no array."""
    at_once: int | None = None
    """``%N`` of ``--array``: so many elements run at a time."""
    walltime: Duration | None = None
    memory: Memory
    held: str = ""
    """Reason for which it never starts; empty: it may."""


@dataclass(slots=True)
class FakeJob:
    """One job."""

    order: Order
    index: int | None
    raw: int
    """Its own number: SLURM_JOB_ID. An element of an array has another one than its array."""
    phase: Phase
    restarts: int = 0
    deaf: bool = False
    """Its processes were killed and nobody noticed: it runs on, as far as SLURM knows."""

    @property
    def id(self) -> JobId:
        """The id by which commands know it."""
        return self.order.dialect.id_of(self.order.base, self.index, self.raw)

    @property
    def name(self) -> str:
        """The name of its submission."""
        return self.order.name

    @property
    def word(self) -> str:
        """Its state in SLURM's word."""
        match self.phase:
            case Pending():
                return "PENDING"
            case Running():
                return "RUNNING"
            case Suspended():
                return "SUSPENDED"
            case Completing():
                return "COMPLETING"
            case Ended(word):
                return word
            case _:
                assert_never(self.phase)

    @property
    def node(self) -> str | None:
        """Where it runs or ran."""
        return None if isinstance(self.phase, Pending) else self.phase.node

    @property
    def deadline(self) -> float:
        """When its walltime ends."""
        if isinstance(self.phase, Running) and self.order.walltime is not None:
            return self.phase.since + self.order.walltime
        return math.inf


class Runs(Protocol):
    """What runs the jobs' scripts: real processes, or nothing."""

    def start(self, job: FakeJob, node: str) -> int | None:
        """Start the script. Return the status of a job that could not be started (its log cannot be opened)."""
        ...

    def exited(self, job: FakeJob) -> int | None:
        """Return the script's status when it has ended. What it left behind is killed."""
        ...

    def signal(self, job: FakeJob, number: int) -> None:
        """Send a signal to all processes of a job."""
        ...

    def gone(self, job: FakeJob) -> bool:
        """Say whether a job has no process any more."""
        ...

    def write(self, job: FakeJob, line: str) -> None:
        """Add a line to a job's log."""
        ...


class StateOnly:
    """Runs nothing: a job goes on until it is ended, or its walltime is over."""

    def start(self, job: FakeJob, node: str) -> int | None:
        """Start nothing."""
        return None

    def exited(self, job: FakeJob) -> int | None:
        """Say that it runs."""
        return None

    def signal(self, job: FakeJob, number: int) -> None:
        """Send nothing."""

    def gone(self, job: FakeJob) -> bool:
        """Say that there is no process."""
        return True

    def write(self, job: FakeJob, line: str) -> None:
        """Write nothing."""


class JobQueue:
    """All jobs, and what happens to them when time passes."""

    def __init__(self, runs: Runs, nodes: Iterable[str]) -> None:
        self.jobs: list[FakeJob] = []
        self.slots = 100
        self.start_delay = 0.0
        self.requeue_delay = REQUEUE_DELAY
        self.hold: str | None = None
        self._runs, self._nodes = runs, tuple(nodes)
        self._next = 1
        self._now = 0.0

    def next_id(self) -> int:
        """Return the number of the next submission."""
        return self._next

    def add(self, order: Order, now: float) -> None:
        """Put the jobs of a submission into the queue."""
        eligible = now + self.start_delay
        indices: tuple[int | None, ...] = order.elements or (None,)
        for place, index in enumerate(indices):
            # SLURM gives an element its own number when it starts; which one, nobody may rely on.
            phase = Pending(eligible, order.held or "None", held=bool(order.held))
            self.jobs.append(FakeJob(order, index, self._next + place, phase))
        self._next += len(indices)

    def find(self, id: str) -> FakeJob:
        """Return the job with this id. Raises ``KeyError``."""
        for job in self.jobs:
            if job.id == id:
                return job
        raise KeyError(f"there is no job {id} here: {', '.join(job.id for job in self.jobs) or 'none at all'}")

    def as_it_is(self, without: Container[str] = ()) -> JobQueue:
        """Return a copy for a listing, in which nothing moves; some jobs may be left out."""
        copy = JobQueue(StateOnly(), ())
        copy.jobs = [replace(job) for job in self.jobs if job.id not in without]
        return copy

    def step(self, now: float) -> None:
        """Let everything happen that is due until now, in its order."""
        while (due := self._due()) <= now:
            self._advance(max(due, self._now))
        self._advance(now)

    def end(self, job: FakeJob, word: EndingWord, *, status: int | None = None, requeue: bool = False) -> None:
        """Bring a job to its end, as SLURM does: TERM, then KILL, unless the ending gives no time."""
        match job.phase:
            case Pending():
                job.phase = Ended(word, job.phase.reason, status or 0, None, self._now)
            case Running(node) | Suspended(node):
                status = _STATUSES.get(word, 0) if status is None else status
                reason = _of_status(status)[1] if word == "FAILED" else _REASONS.get(word, "None")
                again = Pending(self._now + self.requeue_delay, "BeginTime", ended_as=word)
                then = again if requeue else Ended(word, reason, status, node, self._now)
                self._begin_ending(job, node, word, then)
            case Completing() | Ended():
                return
            case _:
                assert_never(job.phase)

    def suspend(self, job: FakeJob) -> None:
        """Stop the processes of a job that runs, without a word to them before (PBS, Grid Engine)."""
        if isinstance(job.phase, Running):
            self._runs.signal(job, signal.SIGSTOP)
            job.phase = Suspended(job.phase.node, self._now - job.phase.since)

    def resume(self, job: FakeJob) -> None:
        """Let a job go on that was suspended."""
        if isinstance(job.phase, Suspended):
            self._runs.signal(job, signal.SIGCONT)
            job.phase = Running(job.phase.node, self._now - job.phase.ran)

    def hold_job(self, job: FakeJob, reason: str) -> None:
        """Let a job that is pending not start before it is released."""
        if isinstance(job.phase, Pending):
            job.phase = replace(job.phase, reason=reason, held=True)

    def release_job(self, job: FakeJob) -> None:
        """Let a job start that was held."""
        if isinstance(job.phase, Pending):
            job.phase = Pending(self._now)

    def silence(self, job: FakeJob) -> None:
        """Kill a job's processes without SLURM noticing."""
        job.deaf = True
        self._runs.signal(job, signal.SIGKILL)

    def forget(self, job: FakeJob) -> None:
        """Drop a job without a trace; its processes are killed."""
        self._runs.signal(job, signal.SIGKILL)
        self.jobs.remove(job)

    def _begin_ending(self, job: FakeJob, node: str, word: EndingWord, then: Ended | Pending) -> None:
        dialect = job.order.dialect
        if dialect.tells_log:
            self._tell_log(job, node, word)
        notice = None if word in _NO_MERCY else dialect.notice
        self._runs.signal(job, signal.SIGKILL if notice is None else notice)
        job.phase = Completing(node, then, math.inf if notice is None else self._now + dialect.kill_wait)

    def _tell_log(self, job: FakeJob, node: str, word: EndingWord) -> None:
        if word in _SAID:
            at = time.strftime("%Y-%m-%dT%H:%M:%S")
            self._runs.write(job, f"slurmstepd: error: *** JOB {job.raw} ON {node} CANCELLED AT {at}{_SAID[word]} ***")
        if word == "OUT_OF_MEMORY":
            self._runs.write(job, f"slurmstepd: error: Detected 1 oom-kill event(s) in StepId={job.raw}.batch.")

    def _due(self) -> float:
        """Return the time of the next thing that time alone brings about."""
        return min((time for job in self.jobs for time in self._times(job) if time > self._now), default=math.inf)

    def _times(self, job: FakeJob) -> Iterator[float]:
        match job.phase:
            case Pending(eligible):
                yield eligible
            case Running():
                yield job.deadline
            case Completing(kill_at=kill_at):
                yield kill_at
            case Suspended() | Ended():
                return
            case _:
                assert_never(job.phase)

    def _advance(self, now: float) -> None:
        self._now = now
        for job in self.jobs:
            if isinstance(job.phase, Running):
                self._watch(job, job.phase)
            if isinstance(job.phase, Completing):
                self._finish(job, job.phase)
        self._start_pending()

    def _watch(self, job: FakeJob, phase: Running) -> None:
        status = None if job.deaf else self._runs.exited(job)
        if status is not None:
            word, reason = _of_status(status)
            job.phase = Ended(word, reason, status, phase.node, self._now)
        elif self._now >= job.deadline:
            self.end(job, "TIMEOUT")

    def _finish(self, job: FakeJob, phase: Completing) -> None:
        if self._runs.gone(job):
            job.deaf = False
            job.restarts += isinstance(phase.then, Pending)
            job.phase = phase.then
        elif self._now >= phase.kill_at:
            self._runs.signal(job, signal.SIGKILL)

    def _start_pending(self) -> None:
        free = self.slots - sum(isinstance(job.phase, Running | Completing) for job in self.jobs)
        first = True
        for job in self.jobs:
            if not isinstance(job.phase, Pending) or job.phase.held:
                continue
            if self.hold is not None:
                job.phase = Pending(job.phase.eligible, self.hold)
            elif self._now < job.phase.eligible:
                continue
            elif job.order.at_once is not None and self._running_of(job.order) >= job.order.at_once:
                job.phase = Pending(job.phase.eligible, "JobArrayTaskLimit")
            elif free > 0:
                free -= 1
                self._start(job)
            else:
                job.phase = Pending(job.phase.eligible, "Resources" if first else "Priority")
                first = False

    def _running_of(self, order: Order) -> int:
        return sum(job.order is order and isinstance(job.phase, Running | Completing) for job in self.jobs)

    def _start(self, job: FakeJob) -> None:
        node = self._nodes[job.raw % len(self._nodes)]
        status = self._runs.start(job, node)
        if status is None:
            job.phase = Running(node, self._now)
        elif job.order.dialect.holds_failed_starts:
            job.phase = Pending(self._now, FAILED_STARTS, held=True)
        else:
            job.phase = Ended("FAILED", _of_status(status)[1], status, node, self._now)


def _of_status(status: int) -> tuple[EndingWord, str]:
    if status == 0:
        return "COMPLETED", "None"
    # A script that dies of a signal looks to SLURM like one that could not be launched (seen).
    return "FAILED", "JobLaunchFailure" if status & 0x7F else "NonZeroExitCode"
