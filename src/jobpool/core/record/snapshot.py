"""What the outside sees of the core: plain, frozen data for status, lists and the line shown while a script waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jobpool.core.events import JobKey
from jobpool.core.jobs.machine import Closing, Draining, Ended, Job, Pending, Serving, Silent, Starting, Submitting
from jobpool.model.job import EndingKind, JobId

__all__ = ["CallCounts", "FunctionView", "JobView", "RequestView", "Snapshot", "describe", "ending_in_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job, for people."""

    key: JobKey
    request: str
    id: JobId | None
    state: str
    """``submitting``, ``pending``, ``starting``, ``serving``, ``draining``, ``silent``, ``suspended``, ``closing`` or
    ``ended``."""
    reason: str
    """Why it is in this state, as far as somebody said; the batch system's words unchanged."""
    node: str | None
    age: float
    """Seconds in this state."""
    workers: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """Calls by what they do. Waiting includes those that are at an agent and did not start; failed ones raised, or were
    given up."""

    waiting: int
    running: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionView:
    """The calls of one function for one request, and what they used. None: no call came back yet."""

    name: str
    request: str
    waiting: int
    running: int
    done: int
    failed: int
    seconds: float | None
    """Of a call, on average."""
    cpus: float | None
    """That a call kept busy, on average."""
    memory: float | None
    """Bytes that 99 % of the calls did not exceed."""
    largest_memory: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """What is asked for one kind of worker, and what its calls used of it."""

    key: str
    workers: int
    """Connected ones that calls may have."""
    busy: int
    cores: int
    memory: int | None
    """Bytes that were asked for each worker."""
    cpus: float | None
    used_memory: float | None
    """Bytes that 99 % of the calls did not exceed."""
    largest_memory: float | None
    core_hours: float
    """Of all its jobs, from their start on."""
    pause: float
    """Seconds in which no jobs are asked for. 0: there is no pause."""
    pause_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The pool at one time."""

    time: float
    jobs: tuple[JobView, ...]
    calls: CallCounts
    functions: tuple[FunctionView, ...]
    requests: tuple[RequestView, ...]
    rate: float | None
    """Calls that ended in a second, in the last three minutes."""
    left: float | None
    """Seconds until all calls have ended, with the workers that are there. None: nobody can tell."""
    notices: tuple[str, ...]
    """The last sentences for users, oldest first."""
    held: int | None
    """``scale(n)``: so many workers at most. None: as many as there is work for."""
    phase: str
    """``open``, ``finishing`` (no new calls), ``closing`` (jobs are being cancelled), ``finished`` or ``broken``."""

    def as_data(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        data = asdict(self)
        data["jobs"] = [{**job, "key": list(job["key"])} for job in data["jobs"]]
        for name in ("notices", "functions", "requests"):
            data[name] = list(data[name])
        return data


def ending_in_words(kind: str, words: str, *, ours: bool) -> str:
    """Say how a job ended. ``ours``: it was no longer needed; that its pool cancelled it is then no trouble."""
    if ours and kind == EndingKind.CANCELLED.value:
        return "ended by its pool"
    # The local system's words begin with it.
    return words if words.startswith(kind) else f"{kind}: {words}" if words else kind


def describe(job: Job, *, now: float, workers: int, busy: int) -> JobView:
    """Say how a job is."""
    word, reason, since = _state(job)
    return JobView(
        key=job.key,
        request=job.request,
        id=job.id,
        state=word,
        reason=reason,
        node=job.node,
        age=now - since,
        workers=workers,
        busy=busy,
    )


def _state(job: Job) -> tuple[str, str, float]:
    if job.suspended is not None and not job.over:
        return "suspended", "the batch system has stopped it; it keeps its calls until it is resumed", job.suspended
    match job.state:
        case Submitting(since=since) | Starting(since=since) | Serving(since=since):
            return type(job.state).__name__.lower(), "", since
        case Pending(since=since, reason=reason):
            return "pending", reason, since
        case Draining(since=since, why=why):
            return "draining", why, since
        case Silent(since=since, last_word=word):
            return "silent", word, since
        case Closing(since=since, ending=ending):
            return "closing", ending.message, since
        case Ended(at=since, ending=ending, ours=ours):
            return "ended", ending_in_words(ending.kind.value, ending.message, ours=ours), since
