"""Why a job of LSF's has ended: the keyword of its exit reason, or its exit code."""

from __future__ import annotations

import re

from jobpool.batch.lsf.script import NO_DIRECTORY, NO_LOG
from jobpool.model.job import Ending, EndingKind
from jobpool.model.units import Memory

__all__ = ["KILLED_BY", "ending", "keyword_of", "size"]

_KINDS = {
    **dict.fromkeys(("RUNLIMIT", "CPULIMIT", "DEADLINE"), EndingKind.TIMED_OUT),
    **dict.fromkeys(("MEMLIMIT", "SWAP"), EndingKind.OUT_OF_MEMORY),
    **dict.fromkeys(
        ("OWNER", "FORCE_OWNER", "ADMIN", "FORCE_ADMIN", "BUCKET_KILL", "ORPHAN_SYSTEM", "CHKPNT"),
        EndingKind.CANCELLED,
    ),
    **dict.fromkeys(
        ("PREEMPT", "LOAD", "WINDOW", "REQUEUE_OWNER", "REQUEUE_ADMIN", "RC_RECLAIM"), EndingKind.PREEMPTED
    ),
    **dict.fromkeys(("ZOMBI", "REMOVE_HUNG_JOB"), EndingKind.NODE_FAILED),
    "CWD_NOTEXIST": EndingKind.LAUNCH_FAILED,
}
"""By the keyword, without its TERM_. Others (a signal of somebody's, TERM_UNKNOWN) leave it to the exit code."""

KILLED_BY = r"Signal <KILL> requested by [^;\n]*"
"""What the history says before the end of a job that somebody has killed, with or without a keyword behind it."""

_LAUNCH = {NO_DIRECTORY: "its working directory is not there", NO_LOG: "its log cannot be opened"}

_LAST_SIGNAL = 64
"""Linux has no signal above."""

_SIZES = {"": 2**10, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def keyword_of(reason: str) -> str:
    """Return ``RUNLIMIT`` of ``TERM_RUNLIMIT: job killed after ...``. Empty: there is none."""
    match = re.search(r"\bTERM_([A-Z_]+)", reason)
    return match[1] if match else ""


def ending(
    *,
    reason: str,
    code: str,
    started: bool,
    node: str | None = None,
    walltime: str = "",
    memory: str = "",
    used: str = "",
    source: str,
) -> Ending:
    """Say why a job that is EXIT has ended.

    ``reason`` is LSF's, ``code`` its exit code as text: above 128 a signal, and a program may exit so, too. Of a job
    that was killed while it was pending there is neither.
    """
    number = int(code) if re.fullmatch(r"[0-9]{1,9}", code) else None
    signal = number - 128 if number is not None and 128 < number <= 128 + _LAST_SIGNAL else None
    kind = _KINDS.get(keyword_of(reason))
    if kind is None and re.match(KILLED_BY, reason):
        kind = EndingKind.CANCELLED
    if kind is None:
        kind = EndingKind.FAILED if started or number is not None else EndingKind.CANCELLED
        if number in _LAUNCH and not reason:
            kind, reason = EndingKind.LAUNCH_FAILED, _LAUNCH[number]
    limit = {EndingKind.TIMED_OUT: _minutes(walltime), EndingKind.OUT_OF_MEMORY: memory}.get(kind, "")
    return Ending(
        kind=kind,
        message=" ".join(word for word in ("EXIT", reason, "" if number is None else f"exit code {number}") if word),
        exit_code=number if signal is None and kind is EndingKind.FAILED else None,
        signal=signal if kind is not EndingKind.LAUNCH_FAILED else None,
        node=node,
        limit=limit or None,
        used=size(used) if kind is EndingKind.OUT_OF_MEMORY else None,
        source=source,
    )


def size(text: str) -> Memory | None:
    """Read ``5.2 Gbytes``, ``2 Mbytes``, ``512M``; a number alone counts KB. None for anything else."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]?)(?:bytes?|B)?", text.strip(), re.IGNORECASE)
    return None if match is None else Memory(float(match[1]) * _SIZES[match[2].upper()])


def _minutes(text: str) -> str:
    return f"{text} min" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else text
