"""The state of a pool as frozen data, for the status, lists, and the line that is shown while a script waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jobpool.core.events import JobKey
from jobpool.core.jobs.machine import Closing, Draining, Ended, Job, Pending, Serving, Silent, Starting, Submitting
from jobpool.model.job import EndingKind, JobId

__all__ = ["CallCounts", "FunctionView", "JobView", "RequestView", "Snapshot", "describe", "ending_in_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as users see it."""

    key: JobKey
    request: str
    id: JobId | None
    state: str
    """``submitting``, ``pending``, ``starting``, ``serving``, ``draining``, ``silent``, ``suspended``, ``closing`` or
    ``ended``."""
    reason: str
    """Why it is in this state, as far as known; the batch system's own text is unchanged."""
    node: str | None
    age: float
    """Seconds in this state."""
    workers: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """The number of calls by state. ``waiting`` includes calls that are at an agent and have not started; ``failed``
    calls raised, or were given up."""

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
    """Mean duration of a call."""
    cpus: float | None
    """CPUs that a call kept busy, on average."""
    memory: float | None
    """Bytes that 99 % of the calls did not exceed."""
    largest_memory: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request, and what its calls used."""

    key: str
    workers: int
    """Connected workers that calls may use."""
    busy: int
    cores: int
    memory: int | None
    """Bytes that are requested for each worker."""
    cpus: float | None
    used_memory: float | None
    """Bytes that 99 % of the calls did not exceed."""
    largest_memory: float | None
    core_hours: float
    """Core hours of all its jobs since their start."""
    pause: float
    """Seconds during which no jobs are requested. 0: there is no pause."""
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
    """Calls per second that ended in the last three minutes."""
    left: float | None
    """Seconds until all calls have ended, with the current workers. None: not known."""
    notices: tuple[str, ...]
    """The last messages for users, oldest first."""
    held: int | None
    """The ``n`` of ``scale(n)``. None: as many workers as there are calls."""
    phase: str
    """``open``, ``finishing`` (no new calls), ``closing`` (jobs are being cancelled), ``finished`` or ``broken``."""

    def as_data(self) -> dict[str, Any]:
        """Return the snapshot as dicts, lists and plain values."""
        data = asdict(self)
        data["jobs"] = [{**job, "key": list(job["key"])} for job in data["jobs"]]
        for name in ("notices", "functions", "requests"):
            data[name] = list(data[name])
        return data


def ending_in_words(kind: str, words: str, *, ours: bool) -> str:
    """Return how a job ended. ``ours``: the pool cancelled it because it was no longer needed, which is no error."""
    if ours and kind == EndingKind.CANCELLED.value:
        return "ended by its pool"
    # The message of the local system begins with the kind.
    return words if words.startswith(kind) else f"{kind}: {words}" if words else kind


def describe(job: Job, *, now: float, workers: int, busy: int) -> JobView:
    """Return the view of a job."""
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
        return (
            "suspended",
            "the batch system has suspended the job; the job keeps its calls until it is resumed",
            job.suspended,
        )
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
