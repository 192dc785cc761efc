"""How jobs of HTCondor's end: completed, removed, or held for what they did.

=====================================  ===============================================================================
held for 46, 47                        its walltime. The job removes itself after a while, and the history then knows
                                       neither code; how long it ran, compared with what was allowed, tells
held for 34, or by a policy of memory  killed for memory; the history keeps the code of the hold (``VacateReasonCode``)
held for other reasons after a start   by its user, or by a policy of the site: cancelled
in the queue again after a start       the machine gave it up, or was lost. It does not start again
removed                                by whom, ``RemoveReason`` says
completed                              with an exit code or a signal. ``ExitStatus`` is always 0 (seen)
=====================================  ===============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobpool.batch.base import Tracked, Unanswered
from jobpool.batch.htcondor.ads import Ad, number, read_all, word
from jobpool.model.command import Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState
from jobpool.model.units import Duration, Memory

__all__ = ["ATTRIBUTES", "NEVER_STARTS", "hold_of", "id_of", "idle_ending", "node_of", "over_ending", "parse_account"]

ATTRIBUTES = (
    "ClusterId", "ProcId", "JobBatchName", "JobStatus", "HoldReason", "HoldReasonCode", "RemoteHost",
    "LastRemoteHost", "NumJobStarts", "LastRejMatchReason", "RemoveReason", "ExitCode", "ExitBySignal", "ExitSignal",
    "JobCurrentStartDate", "LastVacateTime", "VacateReason", "VacateReasonCode", "AllowedJobDuration",
    "RequestMemory", "ResidentSetSize",
)  # fmt: skip
"""What condor_q and condor_history are asked for. MemoryUsage is an expression in the history."""

_WALLTIMES = (46, 47)
_MEMORY = 34
_POLICIES = (3, 21, 26)
"""Codes of holds by a policy: of the job, of the machine, of the site."""
_BY_THE_USER = (1, 15)
NEVER_STARTS = (6, 7, 8, 9, 10, 11, 13, 14)
"""Codes of holds of jobs that could not be started: the program, a file or the directory was not there."""
_NODE_LOST = (1008,)
"""Codes of a run's end by which the machine was lost: nothing was heard of it for longer than the job's lease."""

_LAST_SIGNAL = 64


def id_of(ad: Ad) -> JobId:
    """Return the job's id, as commands take it."""
    return JobId(f"{ad.get('ClusterId')}.{ad.get('ProcId')}")


def node_of(ad: Ad) -> str | None:
    """Return the machine of the job's last run: that of ``slot1_1@node1``."""
    host = word(ad, "RemoteHost") or word(ad, "LastRemoteHost")
    return host.rpartition("@")[2] or None


def hold_of(ad: Ad) -> Hold | Ending:
    """Say what the hold of a held job means: whether it can still start, or how it ended."""
    code, reason, started = number(ad, "HoldReasonCode"), word(ad, "HoldReason"), _started(ad)
    if code in _WALLTIMES:
        return _ending(ad, EndingKind.TIMED_OUT, reason, "queue")
    if _is_for_memory(code, reason):
        return _ending(ad, EndingKind.OUT_OF_MEMORY, reason, "queue")
    if code in NEVER_STARTS:
        return Hold("it could not be started", hopeless=True)
    if started:
        return _ending(ad, EndingKind.CANCELLED, reason, "queue")
    if code in _BY_THE_USER:
        return Hold(f"'condor_release {id_of(ad)}' lets it go on")
    return Hold(f"a policy of the site holds it; ask for the reason, and for 'condor_release {id_of(ad)}'")


def idle_ending(ad: Ad) -> Ending | None:
    """Say how the run of an idle job ended. None: it has not run; what has will not start again."""
    if not _started(ad):
        return None
    code = number(ad, "VacateReasonCode")
    kind = EndingKind.NODE_FAILED if code in _NODE_LOST else EndingKind.PREEMPTED
    return _ending(ad, kind, word(ad, "VacateReason") or "the machine gave it up", "queue")


def over_ending(ad: Ad, source: str) -> Ending | None:
    """Say how a job that completed, or that was removed, ended. None: it is neither."""
    match ad.get("JobStatus"):
        case 4:
            return _completed(ad, source)
        case 3:
            return _removed(ad, source)
        case _:
            return None


def parse_account(
    done: Sequence[Completed], submissions: Sequence[Tracked]
) -> Mapping[JobId, Ending | JobState] | Unanswered:
    """Read the answer of condor_history."""
    ads = read_all(done)
    if isinstance(ads, Unanswered):
        return ads
    names = {each.name for each in submissions}
    found = {id_of(ad): over_ending(ad, "accounting") for ad in ads if ad.get("JobBatchName") in names}
    return {id: ending for id, ending in found.items() if ending is not None}


def _completed(ad: Ad, source: str) -> Ending:
    if ad.get("ExitBySignal") is True:
        signal = _whole(ad, "ExitSignal")
        return _ending(ad, EndingKind.FAILED, f"completed, by signal {signal}", source, signal=signal)
    code = _whole(ad, "ExitCode")
    message = f"completed, exit code {code}"
    if code is not None and 128 < code <= 128 + _LAST_SIGNAL:  # as a shell tells it
        return _ending(ad, EndingKind.FAILED, message, source, signal=code - 128)
    kind = EndingKind.COMPLETED if code == 0 else EndingKind.FAILED
    return _ending(ad, kind, message, source, exit_code=code)


def _removed(ad: Ad, source: str) -> Ending:
    code, why, words = number(ad, "VacateReasonCode"), word(ad, "VacateReason"), word(ad, "RemoveReason")
    both = f"{why}; {words}" if why else words
    if _is_for_memory(code, why):
        return _ending(ad, EndingKind.OUT_OF_MEMORY, both, source)
    if _ran_out_of_time(ad):
        allowed = Duration(number(ad, "AllowedJobDuration") or 0)
        return _ending(ad, EndingKind.TIMED_OUT, f"it ran for {allowed}, as long as it may; {words}", source)
    if code in NEVER_STARTS:
        return _ending(ad, EndingKind.LAUNCH_FAILED, both, source)
    if _started(ad) and "PeriodicRemove" in words and code is not None and code >= 1000:
        kind = EndingKind.NODE_FAILED if code in _NODE_LOST else EndingKind.PREEMPTED
        return _ending(ad, kind, both, source)
    return _ending(ad, EndingKind.CANCELLED, both, source)


def _ran_out_of_time(ad: Ad) -> bool:
    began, ended = number(ad, "JobCurrentStartDate"), number(ad, "LastVacateTime")
    allowed = number(ad, "AllowedJobDuration")
    return began is not None and ended is not None and allowed is not None and ended - began >= allowed


def _is_for_memory(code: float | None, reason: str) -> bool:
    # The policies that HTCondor brings say "memory usage exceeded request_memory"; a site writes its own words.
    return code == _MEMORY or (code in _POLICIES and "memory" in reason.lower())


def _started(ad: Ad) -> bool:
    return (number(ad, "NumJobStarts") or 0) > 0


def _ending(
    ad: Ad, kind: EndingKind, message: str, source: str, *, exit_code: int | None = None, signal: int | None = None
) -> Ending:
    limit, used = None, None
    if kind is EndingKind.TIMED_OUT and (allowed := number(ad, "AllowedJobDuration")) is not None:
        limit = str(Duration(allowed))
    if kind is EndingKind.OUT_OF_MEMORY:
        asked, resident = number(ad, "RequestMemory"), number(ad, "ResidentSetSize")
        limit = None if asked is None else str(Memory(asked * 2**20))
        used = None if resident is None else Memory(resident * 2**10)
    return Ending(
        kind=kind,
        message=message,
        exit_code=exit_code,
        signal=signal,
        node=node_of(ad),
        limit=limit,
        used=used,
        source=source,
    )


def _whole(ad: Ad, name: str) -> int | None:
    value = number(ad, name)
    return None if value is None else int(value)
