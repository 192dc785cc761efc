"""What the answer of qsub means."""

from __future__ import annotations

import re
from dataclasses import replace

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted
from jobpool.batch.pbs import ids
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["parse_submit", "words_of"]

_TEMPORARY = re.compile(
    r"would exceed .* limit|maximum number of jobs .* already in|too many jobs|resource temporarily unavailable"
    r"|system error, may be retried|request not allowed: (job is moving|server is shutting down)",
    re.IGNORECASE,
)
"""Limits on jobs in the queue at once (the array counts with all its elements), and a server that is busy."""

_LOST = (
    "connection refused",
    "connection reset",
    "connection timed out",
    "no route to host",
    "network is unreachable",
    "broken pipe",
    "end of file",
    "protocol (asn.1/dis) error",
    "communication failure",
    "cannot connect to server",
    "couldn't connect to cluster",
)
"""The server could not be reached, or was lost before it answered."""


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer of qsub: the id, ``12.node1``, and of an array ``13[].node1``."""
    # Both streams: a site's own program around qsub may say on stdout what qsub says on stderr.
    words = words_of(replace(done, stderr="\n".join(text for text in (done.stderr, done.stdout) if text.strip())))
    if done.returncode is None or done.returncode < 0:
        # qsub waits for a frozen server as long as that takes. Killed, it may have submitted all the same (seen).
        return Doubtful(words)
    if done.returncode == 0:
        lines = [line.strip() for line in done.stdout.splitlines()]
        found = [id for line in lines if (id := ids.parse(line)) is not None and id.server and id.index is None]
        if len(found) != 1:
            return Doubtful(words, unclear=not found)
        if found[0].is_array != (count > 1):
            return Doubtful(words)
        return Submitted(_ids(found[0], count))
    said = words.lower()
    if "unknown host" in said:  # of a server; an administrator's slip, or a name service that is away
        return Doubtful(words, unclear=True)
    if any(phrase in said for phrase in _LOST):
        return Doubtful(words)
    temporary = _TEMPORARY.search(said) is not None
    return Refused(words, temporary) if "qsub:" in said else Doubtful(words, unclear=not temporary)


def words_of(done: Completed) -> str:
    """Return what a command said, without how it is used, which PBS's commands print behind a wrong option."""
    said = re.split(r"^usage:", done.words, maxsplit=1, flags=re.MULTILINE)[0].strip()
    return said[-4000:] or f"{done.command.argv[0]} ended with {done.returncode} and said nothing"


def _ids(id: ids.PbsId, count: int) -> tuple[JobId, ...]:
    return (JobId(id.whole),) if count == 1 else tuple(ids.element(id, index) for index in range(count))
