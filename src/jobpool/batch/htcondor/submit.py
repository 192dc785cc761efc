"""What the answer of condor_submit means."""

from __future__ import annotations

import re

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["parse_submit"]

_TEMPORARY = ("would exceed MAX_JOBS_PER_OWNER", "would exceed MAX_JOBS_SUBMITTED")
"""Limits on jobs in the queue at once: asking again later may succeed."""

_DOUBTFUL = (
    "can't find address of local schedd",
    "failed to connect",
    "communication error",
    "read failure",
    "cedar:",
    "secman:",
    "timed out",
    "connection refused",
    "failed to commit job submission into the queue.",
)
"""The message may have reached the schedd. What it decided itself comes with a reason, looked for before these."""

_DENIED = ('received "denied"', "authorization", "permission denied")


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer of ``condor_submit -terse``: ``12.0 - 12.3``, the first and the last job."""
    said = "\n".join(text for text in (done.stderr.strip(), done.stdout.strip()) if text)[-4000:]
    words = said or f"condor_submit ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0:
        return Doubtful(words)
    if done.returncode == 0:
        found = re.findall(r"^(\d+)\.(\d+) - (\d+)\.(\d+)\s*$", done.stdout, re.MULTILINE)
        if len(found) == 1 and found[0][:2] == (found[0][2], "0") and int(found[0][3]) == count - 1:
            return Submitted(tuple(JobId(f"{found[0][0]}.{index}") for index in range(count)))
        return Doubtful(words, unclear=not found)
    lower = said.lower()
    if any(limit.lower() in lower for limit in _TEMPORARY):
        return Refused(words, temporary=True)
    if any(phrase in lower for phrase in _DENIED):
        return Refused(words)
    policy = re.search(r"failed to commit job submission into the queue\.\s*\n\s*error: \S", lower)
    if policy is None and any(phrase in lower for phrase in _DOUBTFUL):
        return Doubtful(words)
    return Refused(words) if "error:" in lower else Doubtful(words, unclear=True)
