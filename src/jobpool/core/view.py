"""What the outside sees of the core: plain, frozen data for status, lists and the line shown while a script waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jobpool.core.events import JobKey
from jobpool.core.jobs import Closing, Draining, Ended, Job, Pending, Serving, Silent, Starting, Submitting
from jobpool.model import JobId

__all__ = ["CallCounts", "JobView", "Snapshot", "describe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job, for people."""

    key: JobKey
    request: str
    id: JobId | None
    state: str
    """``submitting``, ``pending``, ``starting``, ``serving``, ``draining``, ``silent``, ``closing`` or ``ended``."""
    reason: str
    """Why it is in this state, as far as somebody said; the batch system's words unchanged."""
    node: str | None
    age: float
    """Seconds in this state."""
    workers: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """Calls by what they do. Waiting includes those that are at an agent and did not start."""

    waiting: int
    running: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The pool at one time."""

    time: float
    jobs: tuple[JobView, ...]
    calls: CallCounts
    notices: tuple[str, ...]
    """The last sentences for users, oldest first."""
    phase: str
    """``open``, ``finishing`` (no new calls), ``closing`` (jobs are being cancelled), ``finished`` or ``broken``."""

    def as_data(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        data = asdict(self)
        data["jobs"] = [{**job, "key": list(job["key"])} for job in data["jobs"]]
        data["notices"] = list(self.notices)
        return data


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
            return "closing", ending.words, since
        case Ended(at=since, ending=ending):
            kind, words = ending.kind.value, ending.words
            # The local system's words begin with it.
            return "ended", words if words.startswith(kind) else f"{kind}: {words}" if words else kind, since
