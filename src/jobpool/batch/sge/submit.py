"""What the answer of qsub means."""

from __future__ import annotations

import re

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["parse_submit"]

_DOUBTFUL = ("unable to send message to qmaster", "error reading answer list", "commlib error", "got no connection")
"""The message may have reached the master. With a frozen one qsub says the first of these after two minutes; the job
did not exist afterwards in the one trial of it."""

_LATER = 25
"""Exit code of qsub for a limit on jobs in the queue (max_u_jobs, max_jobs): asking again later may succeed."""

_REFUSALS = re.compile(r"^(unable to run job:|unable to read script file|qsub: )", re.MULTILINE | re.IGNORECASE)
"""How qsub begins to say no: nothing is in the queue then."""

_TAKEN = "has been submitted"
"""Beside a warning it says so, with exit code 1, no id on stdout, and "Unable to run job" before it (seen)."""


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer of ``qsub -terse``: ``12``, or ``13.1-20:1`` for an array."""
    # Both: a site's own program around qsub may say on stdout what qsub says on stderr.
    said = "\n".join(text for text in (done.stderr.strip(), done.stdout.strip()) if text)[-4000:]
    words = said or f"qsub ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0:
        return Doubtful(words)
    if done.returncode == 0:
        pattern = rf"(\d+)\.1-{count}:1" if count > 1 else r"(\d+)"
        found = [match[1] for line in done.stdout.splitlines() if (match := re.fullmatch(pattern, line.strip()))]
        return Submitted(_ids(found[0], count)) if len(found) == 1 else Doubtful(words, unclear=not found)
    if _TAKEN in said or any(phrase in said.lower() for phrase in _DOUBTFUL):
        return Doubtful(words)
    if _REFUSALS.search(said):
        return Refused(words, temporary=done.returncode == _LATER)
    return Doubtful(words, unclear=True)


def _ids(number: str, count: int) -> tuple[JobId, ...]:
    return (JobId(number),) if count == 1 else tuple(JobId(f"{number}.{task}") for task in range(1, count + 1))
