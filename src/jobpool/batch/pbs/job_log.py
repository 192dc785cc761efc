"""What the MoM, PBS's daemon on a node, writes into a job's log when it kills the job."""

from __future__ import annotations

import re
from dataclasses import replace

from jobpool.batch.pbs.endings import size
from jobpool.model.job import Ending, EndingKind

__all__ = ["read_log"]

_KILLED = re.compile(
    r"^=>> PBS: job killed: (\w+) (?:job total )?(\d+ ?[kKmMgG]?[bB]?) exceeded limit (\d+ ?[kKmMgG]?[bB]?).*$",
    re.MULTILINE,
)
"""``=>> PBS: job killed: walltime 20 exceeded limit 10`` (seen), ``mem 215780kb exceeded limit 51200kb``."""

_RUN = re.compile(r"^.* jobpool\.agent job=.* begins$", re.MULTILINE)
"""The agent's first line. A job that ran again has written to the log of its run before."""

_UNCLEAR = frozenset({EndingKind.FAILED, EndingKind.CANCELLED, EndingKind.COMPLETED, EndingKind.LOST})
"""Endings that may stand for a kill by a limit: the exit file knows the signal, and not who sent it."""


def read_log(ending: Ending, text: str) -> Ending:
    """Return the ending as the end of the job's log shows it."""
    run = text[list(_RUN.finditer(text))[-1].end() :] if _RUN.search(text) else text
    if ending.kind not in _UNCLEAR or (killed := _KILLED.search(run)) is None:
        return ending
    message = f"{ending.message}; its log: {killed[0].strip()}"
    if killed[1] == "walltime":
        return replace(ending, kind=EndingKind.TIMED_OUT, message=message, limit=f"{killed[3]} s")
    if killed[1] in ("mem", "vmem", "pmem", "pvmem"):
        used, limit = size(killed[2].replace(" ", "")), size(killed[3].replace(" ", ""))
        shown = killed[3] if limit is None else str(limit)
        return replace(ending, kind=EndingKind.OUT_OF_MEMORY, message=message, used=used, limit=shown)
    return replace(ending, message=message)
