"""What the answer of bsub means."""

from __future__ import annotations

import re

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["DOWN", "parse_submit"]

_ACCEPTED = re.compile(r"^Job <(\d{1,18})> is submitted to (?:default )?queue <[^>]*>\.?\s*$", re.MULTILINE)
"""A site's own programs (esub) may print anything before and behind."""

_REFUSED = re.compile(r"\bJob not submitted\b|^Usage: bsub ", re.IGNORECASE | re.MULTILINE)
"""Of an option that it does not have bsub says how it is used."""

DOWN = re.compile(
    r"LIM is down|LSF is down|Cannot connect to LSF|still trying|LIM configuration is not ready|try later"
    r"|Batch service not registered|Batch daemon cannot fork|not responding|query limit exceeded"
    r"|processing your request|Please wait",
    re.IGNORECASE,
)
"""No daemon took the request: nothing came of it."""

_TEMPORARY = re.compile(
    r"Pending job (slots )?threshold reached|has reached its job limit|non-LSF host rejected"
    r"|No job Id can be used now|Cannot allocate memory|Resource temporarily unavailable",
    re.IGNORECASE,
)
"""Limits on jobs in the queue at once, and what was seen to pass: asking again later may succeed."""

_DOUBTFUL = re.compile(
    r"Communication time ?out|Timeout on connect|Connection refused|Connection reset|Broken pipe"
    r"|Batch protocol error|XDR encode/decode error|daemon internal error|Server is not connected|Failed in receiving",
    re.IGNORECASE,
)
"""The request may have reached mbatchd, whatever bsub says behind it."""


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer: ``Job <1234> is submitted to queue <normal>.``, for an array, too."""
    said = "\n".join(text for text in (done.stderr.strip(), done.stdout.strip()) if text)[-4000:]
    words = said or f"bsub ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0:
        return Doubtful(words)
    # Both streams: with BSUB_STDERR, which a site's program may set, it speaks on stderr.
    ids = dict.fromkeys(_ACCEPTED.findall(f"{done.stdout}\n{done.stderr}"))
    if ids:
        return Submitted(_ids(next(iter(ids)), count)) if done.ok and len(ids) == 1 else Doubtful(words)
    if _DOUBTFUL.search(said):
        return Doubtful(words)
    temporary = (_TEMPORARY.search(said) or DOWN.search(said)) is not None
    if _REFUSED.search(said) and not done.ok:
        return Refused(words, temporary)
    return Doubtful(words, unclear=not temporary)


def _ids(base: str, count: int) -> tuple[JobId, ...]:
    return (JobId(base),) if count == 1 else tuple(JobId(f"{base}[{number}]") for number in range(1, count + 1))
