"""What the answer of sbatch means."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted, Unanswered
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["parse_estimate", "parse_submit"]

_DOUBTFUL = (
    "timed out",
    "unable to contact slurm controller",
    "zero bytes were transmitted or received",
    "unexpected message received",
    "message receive failure",
    "message send failure",
    "communication connection failure",
    "communication shutdown failure",
    "header lengths are longer than data received",
    "protocol authentication error",
    "connection refused",
    "connection reset",
    "connection timed out",
    "transport endpoint",
    "broken pipe",
    "standby mode",
    "no route to host",
)
"""The message may have reached the controller. With a frozen one sbatch says "Socket timed out", and the job runs
later (seen)."""

_TEMPORARY = re.compile(
    r"\b(QOS|Assoc)\w*SubmitJob\w*Limit|resource temporarily unavailable|temporarily unable to accept job",
    re.IGNORECASE,
)
"""Limits on jobs in the queue at once, and a controller that is full: asking again later may succeed."""


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer of ``sbatch --parsable``: the id, with ``;cluster`` behind it on a federation."""
    # Both: a site's own program around sbatch may say on stdout what sbatch says on stderr.
    said = "\n".join(text for text in (done.stderr.strip(), done.stdout.strip()) if text)[-4000:]
    words = said or f"sbatch ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0:
        return Doubtful(words)
    if done.returncode == 0:
        found = [match[1] for line in done.stdout.splitlines() if (match := re.fullmatch(r"(\d+)(;\S+)?\s*", line))]
        return Submitted(_ids(found[0], count)) if len(found) == 1 else Doubtful(words, unclear=not found)
    if any(phrase in said.lower() for phrase in _DOUBTFUL):
        return Doubtful(words)
    temporary = _TEMPORARY.search(said) is not None
    return Refused(words, temporary) if "sbatch:" in said.lower() else Doubtful(words, unclear=not temporary)


def parse_estimate(done: Completed) -> float | Unanswered:
    """Read ``sbatch: Job 5 to start at 2026-11-24T10:32:44 using ...``, in the local time of this host."""
    match = re.search(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", f"{done.stderr}\n{done.stdout}")
    if done.ok and match is not None:
        with suppress(ValueError, OverflowError):  # SLURM's year 2106 stands for never
            return datetime.fromisoformat(match[1]).timestamp()
    return Unanswered(done.words or f"sbatch ended with {done.returncode} and said nothing")


def _ids(base: str, count: int) -> tuple[JobId, ...]:
    return (JobId(base),) if count == 1 else tuple(JobId(f"{base}_{index}") for index in range(count))
