"""What the answer of oarsub means."""

from __future__ import annotations

import re

from jobpool.batch.base import Doubtful, Refused, SubmitAnswer, Submitted
from jobpool.model.command import Completed
from jobpool.model.job import JobId

__all__ = ["parse_submit"]

_SERVER_IS_GONE = 9
"""Exit code when the database has the jobs and the server was not told. It says "Job is killed", and they wait (seen):
the server starts them when it is back."""

_DOUBTFUL = ("cannot connect to executor", "db connection error", "server closed the connection", "lost connection")

_SAYS_NO = re.compile(
    r"^\s*(#|\[ADMISSION RULE\]|\[ERROR\]|Usage: .*oarsub|Unknown option|Option .* (requires|is ambiguous)|Value \")",
    re.MULTILINE,
)
"""How oarsub itself begins a line. What is said otherwise comes from some program around it, or from Perl."""

_TEMPORARY = re.compile(
    r"too many jobs|(maximum|max\.?) (number of )?(\w+ )?jobs|limit of (\w+ )?jobs|jobs? (limit|quota)|try again later",
    re.IGNORECASE,
)
"""Admission rules are the site's own text. One that counts jobs may let the same request pass later."""


def parse_submit(done: Completed, *, count: int) -> SubmitAnswer:
    """Read the answer: a line ``OAR_JOB_ID=4`` for each job, among the notes of admission rules.

    An id alone is no yes: it is printed before the server is told, and for reservations that are refused.
    """
    said = "\n".join(text for text in (done.stderr.strip(), done.stdout.strip()) if text)
    words = said[-4000:] or f"oarsub ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0 or done.returncode == _SERVER_IS_GONE:
        return Doubtful(words)
    if done.returncode == 0:
        ids = tuple(JobId(id) for id in re.findall(r"^OAR_JOB_ID=(\d+)\s*$", done.stdout, re.MULTILINE))
        return Submitted(ids) if len(ids) == count else Doubtful(words, unclear=not ids)
    if any(phrase in said.lower() for phrase in _DOUBTFUL):
        return Doubtful(words)
    temporary = _TEMPORARY.search(said) is not None
    if temporary or _SAYS_NO.search(said):
        return Refused(_without_usage(said)[-4000:], temporary)
    return Doubtful(words, unclear=True)


def _without_usage(words: str) -> str:
    """Leave out the notes of rules that let the request pass, and a list of all options."""
    lines = [line for line in words.splitlines() if not line.startswith("[ADMISSION RULE] Modify resource")]
    if lines and lines[0].startswith("Usage: "):
        return f"{lines[0]} (oarsub prints this for options that it cannot use)"
    return "\n".join(lines) or words
