"""What SLURM writes into a job's log about its end, and its states do not say."""

from __future__ import annotations

import re
from dataclasses import replace

from jobpool.model.job import Ending, EndingKind
from jobpool.model.units import Memory

__all__ = ["read_log"]

# slurmstepd at the end of a step ("oom-kill event(s) in step 7.batch" before 20.11): whoever was killed, and whenever.
_KILLED = re.compile(r"Detected (\d+) oom[-_]kill events?(?:\(s\))? in .*")
# The polled limit (JobAcctGatherParams=OverMemoryKill), whose job is FAILED or CANCELLED.
_EXCEEDED = re.compile(r"exceeded (?:job )?memory limit(?: \((\d+) > (\d+)\))?, being killed", re.IGNORECASE)

_RUN = re.compile(r"^.* jobpool\.agent job=.* begins$", re.MULTILINE)
"""The agent's first line. A job that was requeued writes to the log of its run before."""

_SIGKILL = 9


def read_log(ending: Ending, text: str) -> Ending:
    """Return the ending as the end of the job's log shows it: killed for memory, whatever SLURM calls it.

    A kill for memory is no proof that the job ended by it: an agent outlives its workers. So where SLURM has another
    cause (walltime, preemption, a node, scancel) that one holds, and so does an exit code of the agent's own.
    """
    run = text[list(_RUN.finditer(text))[-1].end() :] if _RUN.search(text) else text
    exceeded = _EXCEEDED.search(run)
    if exceeded and ending.kind in (EndingKind.FAILED, EndingKind.COMPLETED, EndingKind.CANCELLED):
        if exceeded[2]:
            ending = replace(ending, used=Memory(int(exceeded[1])), limit=str(Memory(int(exceeded[2]))))
        return _out_of_memory(ending, exceeded[0])
    if killed := _KILLED.search(run):
        if ending.kind is EndingKind.OUT_OF_MEMORY:
            return replace(ending, kills=int(killed[1]))
        if _was_killed(ending):
            return _out_of_memory(replace(ending, kills=int(killed[1])), killed[0])
    return ending


def _was_killed(ending: Ending) -> bool:
    if ending.kind is EndingKind.FAILED:
        return ending.signal == _SIGKILL or ending.exit_code == 128 + _SIGKILL
    return ending.kind is EndingKind.COMPLETED


def _out_of_memory(ending: Ending, words: str) -> Ending:
    return replace(ending, kind=EndingKind.OUT_OF_MEMORY, message=f"{ending.message}; its log: {words.strip()}")
