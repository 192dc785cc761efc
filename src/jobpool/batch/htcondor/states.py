"""What condor_q says of jobs: one ad each."""

from __future__ import annotations

from collections.abc import Sequence

from jobpool.batch.base import Answer, Tracked, Unanswered
from jobpool.batch.htcondor.ads import Ad, number, read_all, word
from jobpool.batch.htcondor.endings import hold_of, id_of, idle_ending, node_of, over_ending
from jobpool.model.command import Completed
from jobpool.model.job import Ending, Hold, JobState, Seen

__all__ = ["name_of_status", "parse_poll"]

_IDLE, _RUNNING, _HELD = 1, 2, 5

_STATES = {
    1: ("Idle", JobState.PENDING),
    2: ("Running", JobState.RUNNING),
    3: ("Removed", JobState.COMPLETING),  # it keeps its slot until its processes have ended
    4: ("Completed", JobState.ENDED),
    5: ("Held", JobState.PENDING),
    6: ("Transferring output", JobState.COMPLETING),
    7: ("Suspended", JobState.SUSPENDED),
}


def parse_poll(done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
    """Read the answer of condor_q. A name that it does not know is no failure: its jobs are absent."""
    ads = read_all(done)
    if isinstance(ads, Unanswered):
        return ads
    names = {each.name for each in submissions}
    return tuple(_seen(ad) for ad in ads if ad.get("JobBatchName") in names and isinstance(ad.get("ProcId"), int))


def name_of_status(ad: Ad) -> str:
    """Return what HTCondor's manual calls the state of a job."""
    return _known(ad)[0]


def _known(ad: Ad) -> tuple[str, JobState]:
    status = number(ad, "JobStatus")
    known = None if status is None else _STATES.get(int(status))
    return known or (f"JobStatus {ad.get('JobStatus')}", JobState.UNKNOWN)


def _seen(ad: Ad) -> Seen:
    status = ad.get("JobStatus")
    word_of_it, state = _known(ad)
    reason, hold, ending = "", None, None
    if status == _IDLE:
        reason, ending = word(ad, "LastRejMatchReason"), idle_ending(ad)
    elif status == _HELD:
        reason, why = word(ad, "HoldReason"), hold_of(ad)
        hold, ending = (why, None) if isinstance(why, Hold) else (None, why)
    elif status == _RUNNING and number(ad, "HoldReasonCode"):
        reason, state = word(ad, "HoldReason"), JobState.COMPLETING  # it is being stopped
    elif state is JobState.ENDED:
        ending = over_ending(ad, "queue")
    return _of(ad, word_of_it, state, reason, hold, ending)


def _of(ad: Ad, status: str, state: JobState, reason: str, hold: Hold | None, ending: Ending | None) -> Seen:
    return Seen(
        id=id_of(ad),
        name=ad["JobBatchName"],
        index=ad["ProcId"],
        state=state if ending is None else JobState.ENDED,
        message=f"{status}: {reason}" if reason else status,
        reason=reason,
        hold=hold,
        node=node_of(ad),
        ending=ending,
    )
