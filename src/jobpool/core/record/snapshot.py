"""Describes a job of the core in a status (:mod:`jobpool.model.status`)."""

from __future__ import annotations

from jobpool.core.jobs.machine import Closing, Draining, Ended, JobEntry, Pending, Serving, Silent, Starting, Submitting
from jobpool.model.job import EndingKind
from jobpool.model.status import JobStatus, JobWord

__all__ = ["describe", "ending_in_words"]


def ending_in_words(kind: str, words: str, *, ours: bool) -> str:
    """Return how a job ended. ``ours``: the pool cancelled it because it was no longer needed, which is no error."""
    if ours and kind == EndingKind.CANCELLED.value:
        return "ended by its pool"
    # The message of the local system begins with the kind.
    return words if words.startswith(kind) else f"{kind}: {words}" if words else kind


def describe(job: JobEntry, *, now: float, workers: int, busy: int) -> JobStatus:
    """Return the status of a job."""
    word, reason, since = _state(job)
    return JobStatus(
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


def _state(job: JobEntry) -> tuple[JobWord, str, float]:
    if job.suspended is not None and not job.over:
        return (
            "suspended",
            "the batch system has suspended the job; the job keeps its calls until it is resumed",
            job.suspended,
        )
    match job.state:
        case Submitting(since=since):
            return "submitting", "", since
        case Starting(since=since):
            return "starting", "", since
        case Serving(since=since):
            return "serving", "", since
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
